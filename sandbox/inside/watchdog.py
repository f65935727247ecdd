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
MORE = 0.1
"""What a box that holds too much may add before something is ended for it again, of what it may hold."""
LAID = ".git/onhand-config"
"""Written last before a working copy is laid over the workspace: what is older than it is not the box's own."""


class Watchdog:
    """Looks at the box a few times a second. A limit of 0 is none."""

    def __init__(self, session: Session, places: list[str], pids: int, memory_mb: int, disk_mb: int) -> None:
        self._session, self._places = session, places
        self._pids, self._memory_mb, self._disk_mb = pids, memory_mb, disk_mb
        self._disks: dict[str, tuple[int, float]] = {}
        """The file system that was last seen at each place, and since when files on it are the box's own."""
        self._free: dict[str, int] = {}
        self._too_much_kb = 0.0
        """Once something was ended for the box's files: from where on that happens again, not merely while they lie there."""
        self._shrunk_mb()
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
        run = self._session.run
        may_write = not run.hands_out if run else len(below) > 1
        if self._disk_mb and may_write and self._shrunk_mb() > self._disk_mb:
            self._measure()

    def _thin_out(self, below: list[int]) -> None:
        """End what the latest command has started, or all when most of it is older; stopped first, so that it cannot grow."""
        young = halt(self._session.started)
        if 2 * len(young) < len(below):
            young = halt(lambda: [pid for pid in descendants(os.getpid(), set()) if pid != self._session.shell.pid])
        send(SIGKILL, young)
        self._session.notes.append(f"[ended: {len(below)} processes at once; the box allows {self._pids}]")

    def _weigh(self, pids: list[int]) -> None:
        weights = {pid: memory_kb(pid) for pid in pids}
        used = sum(weights.values()) // 1024
        if used > self._memory_mb * ALMOST:
            heaviest = max(weights, key=lambda pid: weights[pid])
            name = name_of(heaviest)
            send(SIGKILL, [heaviest])
            self._session.notes.append(f"[ended: {name}; {used} MB of memory in use, the box allows {self._memory_mb}]")

    def _shrunk_mb(self) -> int:
        """Return by how much there is less room than when it was last measured; where another disk appears, that begins anew."""
        shrunk = 0
        for place in self._places:
            free, disk = _room(place)
            if self._disks.get(place, (None, 0.0))[0] != disk:
                self._disks[place] = disk, _laid(place) if place in self._disks else 0.0
                self._free[place] = free
            self._free[place] = max(self._free[place], free)  # room that others make hides nothing of what comes next
            shrunk = max(shrunk, self._free[place] - free)
        return shrunk

    def _measure(self) -> None:
        """Count the box's files: the disk has shrunk by more than the box may use, but others live on it too."""
        used = sum(_size_kb(place, since) for place, (_, since) in self._disks.items())
        self._free = {place: _room(place)[0] + self._disk_mb // 2 for place in self._free}
        allowed = self._disk_mb * 1024
        if used <= allowed:
            self._too_much_kb = 0
        elif used > self._too_much_kb:
            self._too_much_kb = used + MORE * allowed
            have = f"{used // 1024} MB of files, the box allows {self._disk_mb} MB"
            self._session.notes.append(f"[ended: {have}; remove some of them]")
            self._session.stop_all()


def _room(place: str) -> tuple[int, int]:
    """Return how many MB are free at a place, and on which file system; where it was deleted there is no end of it."""
    try:
        stats = os.statvfs(place)
        return stats.f_bavail * stats.f_frsize >> 20, os.stat(place).st_dev
    except OSError:
        return 1 << 40, 0


def _laid(place: str) -> float:
    """Return when a working copy was laid over a place (st_ctime, which nobody in the box can set back)."""
    try:
        return os.stat(f"{place}/{LAID}").st_ctime
    except OSError:
        return os.stat(place).st_ctime


def _size_kb(place: str, since: float) -> int:
    """Return what the files below a folder use that were changed since then, however deep they lie."""
    used, todo = 0, [place]
    while todo:
        for entry in _entries(todo.pop()):
            try:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                    continue
                stats = entry.stat(follow_symlinks=False)
                used += stats.st_blocks // 2 if stats.st_ctime >= since else 0
            except OSError:
                pass
    return used


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
