"""Boxes on this very machine: in namespaces of their own through bubblewrap, or, when told so, as plain processes.

A box outlives the worker that made it. As root, each box runs as a user that exists nowhere else; otherwise as ours.
What bubblewrap is told stands in sandbox/bubblewrap.py.
"""

import asyncio
import contextlib
import os
import platform
import select
import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bot.core.errors import ConfigError, SandboxError, SandboxGone
from bot.core.ports import BoxSpec
from sandbox import layers
from sandbox.box import Box
from sandbox.bubblewrap import Bubblewrap
from sandbox.connection import Peer, connect
from sandbox.etc import install_etc
from sandbox.home import BoxFolder, box_of, install_program, labels_of_boxes, new_box, own_python
from sandbox.inside.processes import SIGCONT, SIGKILL, descendants, halt, send
from sandbox.startup import arguments, environment, words

_START_SECONDS = 15.0


class _Machine:
    """The life of boxes that are processes of this machine; how one is started is left to the kinds below."""

    name: ClassVar[str]

    def __init__(self, spec: BoxSpec, home: Path, options: Mapping[str, str]) -> None:
        self._spec, self._home = spec, Path(home).absolute()

    @abstractmethod
    def _serve(self, folder: BoxFolder, **options: Any) -> "subprocess.Popen[bytes]":
        """Start the server of a box, a child of nobody here; `options` are Popen's. Raises OSError."""

    async def check(self) -> str:
        if platform.system() != "Linux":
            raise ConfigError(f"sandbox {self.name!r} needs Linux, this is {platform.system()}; use docker")
        return await self._describe()

    async def _describe(self) -> str:
        raise NotImplementedError

    async def create(self, labels: Mapping[str, str]) -> Box:
        folder = await asyncio.to_thread(self._lay_out, {**self._spec.labels, **labels})
        try:
            return await self._start(folder)
        except BaseException:
            await _Processes(folder).remove()
            raise

    async def attach(self, state: str) -> Box:
        """Connect to a box. One that does not answer any more is started again: its files are still there."""
        folder = box_of(self._home, state)
        processes = _Processes(folder)
        if processes.stopped:
            return Box(state, folder.socket, folder.key, processes)
        try:
            return await self._connect(folder)
        except SandboxGone:
            await processes.kill()
            return await self._start(folder)

    async def remove(self, state: str) -> None:
        await _Processes(box_of(self._home, state)).remove()

    async def list(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        return list(labels_of_boxes(self._home).items())

    async def close(self) -> None:
        """Nothing is kept open."""

    def _lay_out(self, labels: Mapping[str, str]) -> BoxFolder:
        folder = new_box(self._home, labels)
        for name in ("workspace", "home", "tmp"):
            (folder.path / name).mkdir(mode=0o700)
        return folder

    async def _start(self, folder: BoxFolder) -> Box:
        await asyncio.to_thread(self._launch, folder)
        return await self._connect(folder)

    async def _connect(self, folder: BoxFolder) -> Box:
        """Connect to the server, and note which process it is: whoever started it may not have lived to. Raises SandboxError."""
        processes = _Processes(folder)
        box = Box(folder.state, folder.socket, folder.key, processes)
        pid = (await box.connected()).peer.pid
        if pid != processes.pid:
            folder.note(**{**folder.facts(), "pid": pid, "started": _started(pid)})
        return box

    def _launch(self, folder: BoxFolder) -> None:
        """Start the server, a child of nobody here, and wait until it listens. Raises SandboxError: what it said."""
        folder.hand_over_key()
        log = folder.path / "log"
        with log.open("wb") as errors:
            child = self._serve(folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd="/")
        with child.stdout or contextlib.nullcontext() as ready:
            child.wait()
            assert ready is not None
            heard = select.select([ready], [], [], _START_SECONDS)[0] and os.read(ready.fileno(), 16)
        if not heard:
            said = log.read_text(errors="replace").strip()[-2000:]
            raise SandboxError(f"the box did not start: {said or f'no word within {_START_SECONDS:.0f} s'}")

    def _words(self, run: str, workspace: str) -> Sequence[str]:
        spec = self._spec
        more = (f"cpus={max(1, round(spec.cpus))}", f"DATA={spec.memory_mb << 20}", "NOFILE=65536")
        return [*words(spec, run, workspace), *more]


class LocalSandboxes(_Machine):
    """Boxes in namespaces of their own: no host files but programs, no network unless it is open, no rights."""

    name = "local"

    def __init__(self, spec: BoxSpec, home: Path, options: Mapping[str, str]) -> None:
        super().__init__(spec, home, options)
        self._bubblewrap = Bubblewrap(network=spec.network == "open")

    async def _describe(self) -> str:
        return f"{await asyncio.to_thread(self._bubblewrap.check)}; {await asyncio.to_thread(layers.way, self._home)}"

    def _lay_out(self, labels: Mapping[str, str]) -> BoxFolder:
        folder = super()._lay_out(labels)
        self._bubblewrap.prepare(folder.path)
        return folder

    def _serve(self, folder: BoxFolder, **options: Any) -> "subprocess.Popen[bytes]":
        python = own_python()
        shared = {"program": install_program(self._home, python), "etc": install_etc(self._home)}
        told = [*self._words("/run/onhand", "/workspace"), "beside=/home/box /tmp /run/onhand"]
        if _kernel() >= (5, 14):  # processes are counted for each user namespace from then on, before for the user
            told.append(f"NPROC={self._spec.pids}")
        server = [python, *arguments("/run/program", told)]
        return self._bubblewrap.start(folder.path, shared, server, **options)


class ProcessSandboxes(_Machine):
    """Boxes without walls: commands run as the worker's own user on this machine. For those who ask for that."""

    name = "process"

    async def _describe(self) -> str:
        if not os.access("/bin/bash", os.X_OK):
            raise ConfigError("sandbox 'process' needs /bin/bash; install bash")
        return "plain processes: NO ISOLATION, commands run on this machine as the user of the worker, network open"

    def _serve(self, folder: BoxFolder, **options: Any) -> "subprocess.Popen[bytes]":
        python, path = own_python(), folder.path
        home, run, workspace = (str(path / name) for name in ("home", "run", "workspace"))
        own = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(path / "tmp")}
        server = [python, *arguments(str(install_program(self._home, python)), self._words(run, workspace))]
        return subprocess.Popen(["setsid", "--fork", *server], env={**own, **environment(home, workspace)}, **options)


class _Processes:
    """The processes of one box, from outside. Implements Engine."""

    def __init__(self, folder: BoxFolder) -> None:
        self._folder = folder

    @property
    def pid(self) -> int:
        """The server's, 0 when it is not running."""
        try:
            facts = self._folder.facts()
        except SandboxGone:
            return 0
        pid = int(facts.get("pid", 0))
        return pid if pid and _started(pid) == facts.get("started") else 0

    @property
    def alive(self) -> bool:
        return self.pid != 0

    @property
    def stopped(self) -> bool:
        return _stat(self.pid)[:1] == ["T"]

    @property
    def lays_over(self) -> bool:
        return True

    async def lay_over(self, peer: Peer, tree: Path, own: Mapping[str, bytes]) -> bool:
        if not await asyncio.to_thread(layers.lay, self._folder, peer, tree, own):
            await asyncio.to_thread(layers.copy, tree, self._folder.path / "workspace", own, peer)
        return True

    async def lay_again(self, peer: Peer) -> bool:
        return await asyncio.to_thread(layers.lay_again, self._folder, peer)

    async def pause(self) -> None:
        pid = self._living()
        halt(lambda: [pid, *descendants(pid, set())])
        while self.alive and not self.stopped:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.001)
        self._living()

    async def resume(self) -> None:
        pid = self._living()
        send(SIGCONT, [*descendants(pid, set()), pid])

    async def remove(self) -> None:
        await self.kill()
        await asyncio.to_thread(self._folder.delete)

    async def kill(self) -> None:
        """End every process; what is gone already is fine."""
        pid = self.pid or await self._unnoted()
        await asyncio.to_thread(self._kill, pid)
        for _ in range(1000):
            if not _started(pid):
                break
            await asyncio.sleep(0.002)

    def _kill(self, pid: int) -> None:
        doomed = halt(lambda: [pid, *descendants(pid, set())]) if pid else []
        if not self.stopped:  # dead, or about to die: then what it had below it is nobody's
            doomed += halt(self._strays)
        send(SIGKILL, doomed)

    def _strays(self) -> list[int]:
        """Return what a dead server without walls has left: nobody looks after it, and it knows its home by the box's folder."""
        home = b"\0HOME=" + os.fsencode(self._folder.path / "home") + b"\0"
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if home in _environment(pid)]

    def _living(self) -> int:
        if pid := self.pid:
            return pid
        raise SandboxGone(f"box {self._folder.id} is gone: its processes have ended")

    async def _unnoted(self) -> int:
        """Return the pid of a server whose maker did not live to write it down, 0 if there is none."""
        with contextlib.suppress(SandboxError):
            connection = await connect(self._folder.socket, self._folder.key)
            pid = connection.peer.pid
            connection.close()
            return pid
        return 0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (proc(5)), none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split() if pid else []
    except OSError:
        return []


def _environment(pid: int) -> bytes:
    """Return the environment with which a process was started, none of one that is not ours."""
    try:
        return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _started(pid: int) -> int:
    """Return when a living process was started, in ticks of this machine; with the pid it names one process for ever."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else 0


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
