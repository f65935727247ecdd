"""The thread that syncs SQLite's write-ahead log. One sync makes all durable that was committed before it began.

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

from bot.core.errors import Unavailable

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

Waiting = asyncio.Future[None]


class LogSync:
    """Syncs the log at `path` for the tasks of one event loop. It is opened at the first sync: a commit has made it then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked: SimpleQueue[Waiting | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="onhand-sync", daemon=True)

    def start(self) -> None:
        """Begin to take requests."""
        self._thread.start()

    def stop(self) -> None:
        """Finish every sync that was asked for, then end. Blocks."""
        if self._thread.is_alive():
            self._asked.put(None)
            self._thread.join()

    async def all_until_now(self) -> None:
        """Return once everything that was committed is on the disk. Raises Unavailable."""
        waiting: Waiting = asyncio.get_running_loop().create_future()
        self._asked.put(waiting)
        await waiting

    def _serve(self) -> None:
        log = -1
        while batch := self._next_batch():
            error = None
            try:
                if log < 0:
                    log = os.open(self._path, os.O_RDONLY)
                _sync(log)
            except OSError as reason:
                error = Unavailable(f"the disk did not take it ({reason}); it may be stored all the same, try again")
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                batch[0].get_loop().call_soon_threadsafe(_settle, batch, error)
        if log >= 0:
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


def _settle(batch: list[Waiting], error: Unavailable | None) -> None:
    for waiting in batch:
        if waiting.done():  # cancelled meanwhile
            continue
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
