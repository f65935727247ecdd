"""The thread that commits: what comes while it syncs is its next batch, committed together and synced once.

https://www.sqlite.org/pragma.html#pragma_synchronous says what FULL promises.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

T = TypeVar("T")
_LARGEST_BATCH = 256


class _Job(NamedTuple):
    work: Callable[[Connection], Any]
    future: "asyncio.Future[Any]"


class _Done(NamedTuple):
    job: _Job
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Commits work for the tasks of one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="onhand-write", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def stop(self) -> None:
        """Finish every job that was handed in, then end. Blocks."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        self._engine.dispose()

    async def do(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, once that is on the disk. What it raises undoes its own part alone."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, future))
        return await future

    def _serve(self) -> None:
        while batch := self._next_batch():
            try:
                done = self._commit(batch)
            except BaseException as error:  # noqa: BLE001 -- raised by the tasks that wait
                done = [_Done(job, error=error) for job in batch]
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                batch[0].future.get_loop().call_soon_threadsafe(_settle, done)

    def _next_batch(self) -> list[_Job]:
        """Return what waits now, at least one job; none at the end."""
        job = self._jobs.get()
        batch: list[_Job] = []
        with suppress(Empty):
            while job is not None:
                batch.append(job)
                if len(batch) == _LARGEST_BATCH:
                    return batch
                job = self._jobs.get_nowait()
            if batch:
                self._jobs.put(None)
        return batch

    def _commit(self, batch: list[_Job]) -> list[_Done]:
        with self._engine.begin() as connection:
            if len(batch) == 1:
                return [_Done(batch[0], batch[0].work(connection))]
            return [_in_savepoint(connection, job) for job in batch]


def _in_savepoint(connection: Connection, job: _Job) -> _Done:
    try:
        with connection.begin_nested():
            return _Done(job, job.work(connection))
    except Exception as error:  # noqa: BLE001 -- raised by the task that waits
        return _Done(job, error=error)


def _settle(done: list[_Done]) -> None:
    for job, result, error in done:
        if job.future.done():  # cancelled meanwhile
            continue
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
