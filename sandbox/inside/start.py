"""How the action server begins: it listens first, so that the worker is on its way while the rest of it is imported.

It wants to be the first process of its box, which no command can then kill.
"""

from __future__ import annotations

import _socket
import os

_PR_SET_CHILD_SUBREAPER = 36


def main(words: list[str]) -> None:
    """Serve. The words are `name=value`: socket, key, workspace; pids, memory_mb, disk_mb, beside for the watchdog; limits.

    `beside` are the folders, with a space between them, that lie on the same disk as the workspace.
    """
    settings = dict(word.split("=", 1) for word in words)
    os.umask(0o022)
    socket = listen(settings["socket"])
    os.chdir(settings["workspace"])
    os.write(1, b"ready\n")
    if os.getpid() != 1:
        adopt_orphans()
    limit(settings)
    from sandbox.inside.server import Server

    server = Server(socket, settings)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    server.serve()


def listen(path: str) -> _socket.socket:
    """Return a socket that listens at the path."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    folder, name = os.path.split(path)
    os.chdir(folder)  # the path may be longer than the 107 bytes that a socket's address has room for
    socket.bind(f"{name}.new")
    os.chmod(f"{name}.new", 0o666)  # noqa: S103 - the folder around it is what keeps others out
    socket.listen(16)
    os.rename(f"{name}.new", name)  # whoever sees it can connect
    return socket


def adopt_orphans() -> None:
    """Become the parent of those whose own has ended, as the first process of a box is anyhow (prctl(2))."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit(settings: dict[str, str]) -> None:
    """Set what the kernel allows each process, as far as it is asked for (getrlimit(2))."""
    import resource
    import time

    for name in ("DATA", "FSIZE", "NPROC", "NOFILE", "CORE"):
        if name in settings:
            kind, value = getattr(resource, f"RLIMIT_{name}"), int(settings[name])
            hard = resource.getrlimit(kind)[1]
            value = value if hard < 0 else min(value, hard)
            resource.setrlimit(kind, (value, value))
    cpus = sorted(os.sched_getaffinity(0))
    wanted = int(settings.get("cpus", "0"))
    if 0 < wanted < len(cpus):
        first = time.monotonic_ns() // 1000 % len(cpus)
        os.sched_setaffinity(0, (cpus + cpus)[first : first + wanted])
