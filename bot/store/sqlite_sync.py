"""Syncs SQLite's write-ahead log. One sync makes all durable that was committed before it began.

Handing a sync to a thread and back costs as much as a quick disk needs for it. So whoever waits alone has it done on the
event loop, while the disk answers within a millisecond; a slower one, or several who share a sync, leave the loop to others.

That is what `PRAGMA synchronous = FULL` does at the end of a commit, there with the write lock held and on the thread
that commits. SQLite itself syncs the head of the log and whatever moves from the log into the database file:
https://www.sqlite.org/pragma.html#pragma_synchronous
"""

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter

from bot.core.errors import Unavailable

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

_QUICK = 0.001
"""Seconds for which a sync may keep the event loop."""

Waiting = asyncio.Future[None]


class LogSync:
    """Syncs the log at `path` for the tasks of one event loop."""

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, -1
        self._asked: SimpleQueue[Waiting | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="onhand-sync", daemon=True)
        self._committed = self._durable = 0
        self._seconds = float("inf")  # that the last sync took: a disk has to show that it is quick

    def start(self) -> None:
        """Open the log, which the connection that writes has opened before, and begin to take requests. Raises Unavailable.

        What is found at the path later on may be another's: who finds no log makes a new one.
        """
        try:
            self._log = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            raise Unavailable(self._deleted()) from None
        if not _is_open_twice(self._log):
            os.close(self._log)
            self._log = -1
            raise Unavailable(self._deleted())
        self._thread.start()

    def stop(self) -> None:
        """Finish every sync that was asked for, then end. Blocks."""
        if self._thread.is_alive():
            self._asked.put(None)
            self._thread.join()

    def check(self) -> None:
        """Raise Unavailable when the log was deleted while it was open: what is committed to it ends with this process."""
        if self._log >= 0 and not os.fstat(self._log).st_nlink:
            raise Unavailable(self._deleted())

    def _deleted(self) -> str:
        return f"{self._path} was deleted while it was in use; start all processes of onhand again"

    async def all_until_now(self) -> None:
        """Return once everything that was committed is on the disk. Raises Unavailable."""
        self._committed += 1
        mine = self._committed
        await asyncio.sleep(0)  # whoever commits in this turn of the loop is made durable along with it
        if mine <= self._durable:
            return
        if self._seconds < _QUICK and self._committed == self._durable + 1:
            self._durable = self._sync()
        else:
            waiting: Waiting = asyncio.get_running_loop().create_future()
            self._asked.put(waiting)
            await waiting

    def _sync(self) -> int:
        """Return how many commits are on the disk now. Raises Unavailable."""
        committed, begun, log = self._committed, perf_counter(), self._log
        try:
            _sync(log)
        except OSError as reason:
            raise Unavailable(
                f"the disk did not take it ({reason}); it may be stored all the same, try again"
            ) from reason
        self._seconds = perf_counter() - begun
        return committed

    def _serve(self) -> None:
        while batch := self._next_batch():
            try:
                end: int | Unavailable = self._sync()
            except Unavailable as error:
                end = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                batch[0].get_loop().call_soon_threadsafe(self._settle, batch, end)
        log, self._log = self._log, -1
        os.close(log)

    def _next_batch(self) -> list[Waiting]:
        """Return who waits now, at least one; nobody at the end."""
        waiting = self._asked.get()
        batch: list[Waiting] = []
        with suppress(Empty):
            while waiting is not None:
                batch.append(waiting)
                waiting = self._asked.get_nowait()
            if batch:
                self._asked.put(None)
        return batch

    def _settle(self, batch: list[Waiting], end: int | Unavailable) -> None:
        if not isinstance(end, Unavailable):
            self._durable = max(self._durable, end)
        for waiting in batch:
            if waiting.done():  # cancelled meanwhile
                continue
            if isinstance(end, Unavailable):
                waiting.set_exception(end)
            else:
                waiting.set_result(None)


def _is_open_twice(file: int) -> bool:
    """Whether this process has the very file open once more; True where the system does not tell."""
    mine = os.fstat(file)
    try:
        others = [int(name) for name in os.listdir("/proc/self/fd") if int(name) != file]
    except OSError:  # not Linux
        return True
    for other in others:
        with suppress(OSError):  # closed meanwhile
            if os.path.samestat(mine, os.fstat(other)):
                return True
    return False
