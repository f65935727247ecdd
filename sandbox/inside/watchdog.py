"""The second line of defence, for engines that set no bounds: too many processes, too much memory, too many files.

It ends the culprit, says so below the output of the command, and leaves the box alive.
"""

from __future__ import annotations

import os
import time

from sandbox.inside.processes import SIGKILL, descendants, halt, memory_kb, name_of, send
from sandbox.inside.session import Session

TICK = 0.25
ALMOST = 0.9


class Watchdog:
    """Looks at the box a few times a second. A limit of 0 is none."""

    def __init__(self, session: Session, places: list[str], pids: int, memory_mb: int, disk_mb: int) -> None:
        self._session, self._places = session, places
        self._pids, self._memory_mb, self._disk_mb = pids, memory_mb, disk_mb
        self._free = self._free_mb()
        self.next = time.monotonic() + TICK

    def tick(self, now: float) -> None:
        """Look, if it is time to."""
        if now < self.next:
            return
        below = descendants(os.getpid(), set())
        self.next = now + (TICK if self._session.run or len(below) > 1 else 4 * TICK)
        if self._pids and len(below) > self._pids * ALMOST:
            self._thin_out(below)
        elif self._memory_mb:
            self._weigh(below)
        if self._disk_mb and self._session.run and self._free - self._free_mb() > self._disk_mb:
            self._measure()

    def _thin_out(self, below: list[int]) -> None:
        """End what the latest command has started: all of it is stopped first, so that it cannot grow meanwhile."""
        young = halt(self._session.started)
        send(SIGKILL, young or [pid for pid in below if pid != self._session.shell.pid])
        self._session.notes.append(f"[ended: {len(below)} processes at once; the box allows {self._pids}]")

    def _weigh(self, pids: list[int]) -> None:
        weights = {pid: memory_kb(pid) for pid in pids}
        used = sum(weights.values()) // 1024
        if used > self._memory_mb * ALMOST:
            heaviest = max(weights, key=lambda pid: weights[pid])
            name = name_of(heaviest)
            send(SIGKILL, [heaviest])
            self._session.notes.append(f"[ended: {name}; {used} MB of memory in use, the box allows {self._memory_mb}]")

    def _free_mb(self) -> int:
        disks = {stats.f_fsid: stats.f_bavail * stats.f_frsize for stats in map(os.statvfs, self._places)}
        return sum(disks.values()) >> 20

    def _measure(self) -> None:
        """Count the box's files: the disk has shrunk by more than the box may use, but others live on it too."""
        used = sum(map(_size_kb, self._places))
        self._free = self._free_mb() + self._disk_mb // 2
        if used > self._disk_mb * 1024 and self._session.run and not self._session.run.ending:
            have = f"{used // 1024} MB of files, the box allows {self._disk_mb} MB"
            self._session.notes.append(f"[ended: {have}; remove some of them]")
            self._session.stop("interrupt")


def _size_kb(place: str) -> int:
    """Return what the files below a folder use, however deep they lie."""
    used, todo = 0, [place]
    while todo:
        for entry in _entries(todo.pop()):
            try:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    used += entry.stat(follow_symlinks=False).st_blocks // 2
            except OSError:
                pass
    return used


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
