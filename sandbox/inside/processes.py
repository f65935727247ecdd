"""The processes of a box as /proc shows them, and signals to them."""
# ruff: noqa: SIM105 - contextlib would cost a third of the server's start

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing for it would cost a tenth of the server's start
if TYPE_CHECKING:
    from collections.abc import Callable

SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP, SIGXFSZ = 2, 9, 13, 15, 17, 18, 19, 25
_LIGHT_KB = 64 * 1024


def children(pid: int) -> list[int]:
    """Return the living children of a process, those of all its threads."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def open_children(pid: int) -> int:
    """Return a descriptor for `has_only` of a process of one thread. Raises OSError."""
    return os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)


def has_only(opened: int, child: int | None) -> bool:
    """Whether a process has this child and no other (None: no child), a fiftieth of `children`'s price."""
    try:
        return os.pread(opened, 64, 0) == (b"" if child is None else b"%d " % child)
    except OSError:
        return False


def descendants(pid: int, spare: set[int]) -> list[int]:
    """Return everything below a process, except those to spare and what is below them."""
    found, todo = [], [pid]
    while todo:
        for child in children(todo.pop()):
            if child not in spare:
                found.append(child)
                todo.append(child)
    return found


def send(signal: int, pids: list[int]) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        try:
            os.kill(pid, signal)
        except OSError:
            pass


def bury() -> dict[int, int]:
    """Reap this process's children that have ended, so that they count no more; return their wait statuses by pid."""
    ended: dict[int, int] = {}
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    except ChildProcessError:
        pass
    return ended


def halt(found: Callable[[], list[int]]) -> list[int]:
    """Stop what is found, and what is found after that, until there is nothing new; return all of it."""
    seen: list[int] = []
    for _ in range(50):
        fresh = [pid for pid in found() if pid not in seen]
        if not fresh:
            break
        send(SIGSTOP, fresh)
        seen += fresh
    return seen


def memory_kb(pid: int) -> int:
    """Return the memory of a process in KiB: its own and, for a heavy one, its share of what it shares."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared = file.read().split()[:3]
        own = (int(resident) - int(shared)) * (os.sysconf("SC_PAGE_SIZE") // 1024)
        if own < _LIGHT_KB:
            return own
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith((b"Pss:", b"SwapPss:")))
    except (OSError, ValueError):
        return 0


def name_of(pid: int) -> str:
    """Return the short name of a process."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"
