"""The bash session of a box: one command after the other, each with its own output, its time limit and its ending."""

from __future__ import annotations

import os
import time

from sandbox.inside.output import Output
from sandbox.inside.processes import (
    SIGCONT,
    SIGINT,
    SIGKILL,
    SIGTERM,
    bury,
    descendants,
    halt,
    has_only,
    open_children,
    send,
)
from sandbox.inside.shell import Shell

TYPE_CHECKING = False  # importing typing for it would cost a tenth of the server's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    Answer = Callable[[dict[str, object], bytes], None]

    class Watcher(Protocol):
        """Calls back when a descriptor can be read."""

        def watch(self, fd: int, call: Callable[[], object]) -> None: ...

        def forget(self, fd: int) -> None: ...


STAGES = ((SIGINT, 1.0), (SIGTERM, 1.0), (SIGKILL, 0.5))
"""What a command gets that has to end, and the seconds until the next."""
QUIET, LATEST = 0.01, 0.05
"""Seconds in which output of what a command leaves running is still taken: when nothing comes, and at most."""
COME_UP = 5.0
"""Seconds within which a new shell is ready, or it never will be."""
FOREVER = float("inf")


class Run:
    """One command on its way."""

    def __init__(self, command: bytes, stdin: bytes, timeout: float, answer: Answer, owner: object) -> None:
        self.command, self.stdin, self.timeout, self.answer, self.owner = command, stdin, timeout, answer, owner
        self.output, self.ending, self.stage = Output(), "", 0
        self.status: int | None = None
        self.hands_out = False
        """Whether it is the first after a restart, the one that takes the work out: how much lies on the disk may not end it."""
        self.began = self.deadline = 0.0
        self._files: list[int] = []

    def file(self, data: bytes) -> int:
        """Return a descriptor from which `data` can be read until the run is closed."""
        fd = os.memfd_create("onhand")
        self._files.append(fd)
        fill(fd, data)
        return fd

    def close(self) -> None:
        """Let go of the files."""
        while self._files:
            os.close(self._files.pop())


def fill(file: int, data: bytes) -> None:
    """Have a file hold this and nothing else."""
    view, at = memoryview(data), 0
    while at < len(data):
        at += os.pwrite(file, view[at:], at)
    os.ftruncate(file, at)


class Session:
    """The kept shell and the commands that wait for it."""

    def __init__(self, loop: Watcher, workspace: str) -> None:
        self._loop = loop
        self._queue: list[Run] = []
        self.run: Run | None = None
        self.notes: list[str] = []
        """Sentences that the next answer will carry below its output."""
        self.older: set[int] = set()
        """What was running before the latest command began."""
        self._hands_out = False
        self._command = os.memfd_create("onhand-command")
        """What the shell is to run; it has read it before it runs it. A new file each time would take longer."""
        self._state = os.memfd_create("onhand-state")
        self._anew = ""
        """Where the next shell begins, when it is to know nothing of this one."""
        self._patience = FOREVER
        """When the shell that is not ready yet will be given up."""
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._children = open_children(os.getpid())
        self._reader = self._writer = -1
        self.shell = self._spawn(workspace)

    # commands

    def add(self, run: Run) -> None:
        """Run a command when those before it are done."""
        if b"\0" in run.command:
            run.output.add(b"bash: a command cannot hold a NUL byte\n")
            run.status = 2
            self._answer(run)
        else:
            self._queue.append(run)
            self._next()

    def stop(self, ending: str) -> None:
        """End the command that is running, kindly at first."""
        run = self.run
        if run:
            self._told()  # it may have ended by itself just now
            if run.status is None and not run.ending:
                run.ending = ending
                self._press(run)
        elif self._queue:  # the shell is not even up
            self._queue[0].ending = ending
            self._answer(self._queue.pop(0))

    def stop_all(self) -> None:
        """End the command that is running, kindly at first, and everything else but the shell at once."""
        if self.run:
            self.stop("interrupt")

        def others() -> list[int]:
            spare = {self.shell.pid, *(self.started() if self.run else ())}
            return [pid for pid in descendants(os.getpid(), set()) if pid not in spare]

        send(SIGKILL, halt(others))

    def drop(self, owner: object) -> None:
        """Nobody waits for the owner's commands any more."""
        self._queue = [run for run in self._queue if run.owner is not owner]
        if self.run and self.run.owner is owner:
            self.stop("interrupt")

    def restart(self, cwd: str) -> None:
        """End all that runs, the shell and what it was told too. The next one begins in `cwd`, and nobody is told of it."""
        self._anew, self.shell.ready, self._hands_out = cwd, False, True
        self._loop.forget(self.shell.statuses)  # that it came up just now would be heard after its end
        os.ftruncate(self._state, 0)
        # The first process of a box reaches all others in one stroke, which processes that multiply cannot outrun (kill(2)).
        send(SIGKILL, [-1] if os.getpid() == 1 else halt(lambda: descendants(os.getpid(), set())))

    def started(self) -> list[int]:
        """Return the processes that the latest command has started and that are still there."""
        spare = self.older | {self.shell.pid}
        return descendants(os.getpid(), spare) + descendants(self.shell.pid, spare)

    def _next(self) -> None:
        if self.run or not self._queue or not self.shell.ready:
            return
        run = self.run = self._queue.pop(0)
        run.hands_out, self._hands_out = self._hands_out, False
        run.began = time.monotonic()
        run.deadline = run.began + run.timeout
        alone = self.shell.is_alone() and has_only(self._children, self.shell.pid)
        self.older = {self.shell.pid} if alone else set(descendants(os.getpid(), set()))
        try:
            # the shell opens it anew, and so writes patiently
            self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            fill(self._command, run.command)
            self.shell.start(self._command, run.file(run.stdin) if run.stdin else self._nothing, self._writer)
        except OSError as error:  # it may open nothing more: the one that is started in its place may
            raise SystemExit(f"the server cannot go on: {error}") from None
        self._loop.watch(self._reader, self._more)

    def _more(self) -> bool:
        """Take output in; whether there may be more of it at once."""
        try:
            data = os.read(self._reader, 1 << 18)
        except OSError:
            return False
        if not data:
            self._end(closed=True)
        elif self.run:
            self.run.output.add(data)
        return bool(data)

    def _ended(self, run: Run, status: int) -> None:
        """The command is done: take what it has written, but do not wait for what it has left running."""
        run.status = status
        if run.ending:
            send(SIGKILL, self.started())
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        latest = time.monotonic() + LATEST
        while self.run is run and time.monotonic() < latest and self._more():
            pass
        run.deadline = time.monotonic() + QUIET

    def _end(self, *, closed: bool) -> None:
        """Answer. Whoever still holds the output may go on writing; nobody will see it."""
        run, self.run, reader = self.run, None, self._reader
        if run:
            self._answer(run)  # before all else: they wait for it, and tidy up at the same time
            run.close()
        if closed:
            self._loop.forget(reader)
            os.close(reader)
        else:
            self._loop.watch(reader, lambda: self._drain(reader))
        self._next()

    def _drain(self, reader: int) -> None:
        try:
            if os.read(reader, 1 << 18):
                return
        except BlockingIOError:
            return
        self._loop.forget(reader)
        os.close(reader)

    def _answer(self, run: Run) -> None:
        output = run.output.whole()
        for note in self.notes:
            output += b"" if not output or output.endswith(b"\n") else b"\n"
            output += note.encode("utf-8", "surrogateescape") + b"\n"
        self.notes.clear()
        cwd = os.fsencode(self.shell.where())
        fields: dict[str, object] = {
            "exit": "none" if run.ending else run.status,
            "seconds": f"{time.monotonic() - run.began if run.began else 0:.6f}",
            "ending": run.ending or "none",
            "cwd": len(cwd),
        }
        run.answer(fields, cwd + output)

    # time

    def due(self) -> float:
        """Return when `tick` wants to be called."""
        return min(self.run.deadline if self.run else FOREVER, self._patience)

    def tick(self, now: float) -> None:
        """Do what time asks for: end what takes too long, answer when the last output is in."""
        if now >= self._patience:
            self._patience = now + COME_UP
            send(SIGKILL, [self.shell.pid])
        run = self.run
        if not run or now < run.deadline:
            return
        if run.status is not None:
            run.deadline = now + QUIET
            if self.shell.ready:
                self._end(closed=False)
        elif run.ending:
            self._press(run)
        else:
            self.stop("timeout")

    def _press(self, run: Run) -> None:
        """Send the next stronger signal, to the shell as well: it has to leave its loops. At last it is killed too."""
        # All are stopped first: nobody is to see another one end before its own signal, or to be missed.
        everybody = halt(lambda: [self.shell.pid, *self.started()])
        self._told()
        if run.status is not None:  # it has ended at this moment: what is sent now would hit the next one
            send(SIGCONT, everybody)
            return
        if run.stage == len(STAGES):
            self.shell.where()
            run.deadline = time.monotonic() + STAGES[-1][1]
            send(SIGKILL, everybody)
            return
        signal, wait = STAGES[run.stage]
        run.stage += 1
        run.deadline = time.monotonic() + wait
        send(signal, everybody[1:])
        send(SIGTERM if signal == SIGTERM else SIGINT, everybody[:1])
        send(SIGCONT, everybody)

    # the shell

    def _spawn(self, cwd: str) -> Shell:
        while True:
            try:
                shell = Shell(cwd, self._state)
            except OSError:  # no more processes to be had: nothing in the box matters more than its shell
                send(SIGKILL, descendants(os.getpid(), set()))
                time.sleep(0.02)
                bury()  # until then they count
            else:
                self._patience = time.monotonic() + COME_UP
                self._loop.watch(shell.statuses, self._told)
                return shell

    def _told(self) -> None:
        for line in self.shell.heard():
            if line == "ready":
                self.shell.ready, self._patience = True, FOREVER
                if self.run and self.run.status is not None:
                    self._ended(self.run, self.run.status)
            elif self.run and self.run.status is None and line.isdigit():
                self._ended(self.run, int(line))
        self._next()

    def died(self, status: int) -> None:
        """The shell has ended with this wait status: set up another in its place, and end what it was doing."""
        cwd, last = self.shell.where(), self.shell.heard()
        self._loop.forget(self.shell.statuses)
        self.shell.close()
        if not self.shell.ready:  # what the one before has left it kept it from that, and would keep the next
            os.ftruncate(self._state, 0)
        if self._anew:
            cwd, self._anew = self._anew, ""
        elif not os.fstat(self._state).st_size:
            self.notes.append(f"[the shell was replaced by a new one in {cwd}; what was set before is gone]")
        self.shell = self._spawn(cwd)
        if self.run and self.run.status is None:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            self.run.status = next((int(line) for line in last if line.isdigit()), code)
            self.run.deadline = time.monotonic() + QUIET
