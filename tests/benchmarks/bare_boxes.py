"""The same program in a box without any of our own around it: what the Docker engine and bubblewrap cost alone."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker

BARE_SERVER = """
import os, socket, subprocess, sys
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
door.listen()
bash = subprocess.Popen(["bash", "--norc", "--noprofile"], stdin=-1, stdout=-1, stderr=-2, bufsize=0)
line, _ = door.accept()
while command := line.recv(1 << 16):
    bash.stdin.write(command + b"\\necho end $?\\n")
    said = b""
    while b"end " not in said:
        said += bash.stdout.read(1 << 16)
    line.send(said)
"""
"""A server with a kept bash and nothing else: no limits, no key, no time limits, no processes looked after."""


class Bare:
    """One bare box; `remove` ends it."""

    def __init__(self, place: Path, remove: Callable[[], object]) -> None:
        self.remove = remove
        self._line = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._line.connect(str(place))
            except OSError:
                time.sleep(0.0005)
            else:
                break

    def run(self, command: str) -> bytes:
        """Run a command; return what it printed."""
        self._line.sendall(command.encode())
        return self._line.recv(1 << 16)


def in_docker(folder: Path, image: str) -> Bare:
    """Create and start a container through the engine's API."""
    api = docker.from_env().api
    folder.chmod(0o777)
    made = api.create_container(
        image,
        ["-I", "-S", "-c", BARE_SERVER, "/run/bare/socket"],
        entrypoint=["python3"],
        user="1000:1000",
        host_config=api.create_host_config(binds=[f"{folder}:/run/bare:rw"], network_mode="none"),
    )
    api.start(made["Id"])
    return Bare(folder / "socket", lambda: api.remove_container(made["Id"], force=True))


def in_bubblewrap(folder: Path, image: str) -> Bare:
    """Start bubblewrap with its own namespaces and few mounts."""
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--bind", str(folder), str(folder), "/usr/bin/python3", "-I", "-S", "-c", BARE_SERVER]
    child = subprocess.Popen([*command, str(folder / "socket")])

    def remove() -> None:
        child.kill()
        child.wait()

    return Bare(folder / "socket", remove)
