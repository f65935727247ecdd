"""SQLite in WAL mode: a writer thread that groups commits, a shortcut past it for small writes, a few reader threads.

Handing work to a thread and back costs more than a commit that is not synced to the disk. So what need not survive
power loss is written at once, on the event loop, when the write lock is free; everything else goes to the writer.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from bot.core.errors import Unavailable
from bot.store.sqlite_writer import Writer

T = TypeVar("T")
_READERS = 4
_CONNECT_SECONDS = 10.0
"""How long a new connection waits for others: whoever closes a database last has it for itself for a moment."""
_CHECKPOINT_EVERY = 1000
"""Quick writes between two checkpoints, which sync and therefore happen on a thread."""


class Sqlite:
    """The driver for `sqlite:///path`."""

    def __init__(self, url: URL, busy_seconds: float) -> None:
        self._quick = sqlite_engine(url, 0, begin="BEGIN IMMEDIATE", synchronous="NORMAL", checkpoints=False)
        self._writer = Writer(sqlite_engine(url, busy_seconds, begin="BEGIN IMMEDIATE", synchronous="FULL"))
        self._reader = sqlite_engine(url, busy_seconds, begin="BEGIN", synchronous="NORMAL")
        self._threads = ThreadPoolExecutor(_READERS, "onhand-read")
        self._connection: Connection | None = None
        self._since_checkpoint = 0

    async def open(self) -> None:
        with unavailable_sqlite():
            self._connection = self._quick.connect()
        self._writer.start()

    async def close(self) -> None:
        connection, self._connection = self._connection, None  # no write begins from here on
        await asyncio.to_thread(self._writer.stop)
        self._threads.shutdown()
        if connection is not None:
            connection.close()
        self._quick.dispose()
        self._reader.dispose()

    async def write(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        if self._connection is None:
            raise Unavailable("the database is closed")
        with unavailable_sqlite():
            if not durable:
                with suppress(_Busy):
                    return self._write_at_once(self._connection, work)
            return await self._writer.do(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        with unavailable_sqlite():
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._reader.begin() as connection:
            return work(connection)

    def _write_at_once(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        try:
            with connection.begin():
                result = work(connection)
        except DBAPIError as error:
            if "locked" in str(error.orig):
                raise _Busy from error
            raise
        self._since_checkpoint += 1
        if self._since_checkpoint == _CHECKPOINT_EVERY:
            self._since_checkpoint = 0
            self._threads.submit(self._checkpoint)
        return result

    def _checkpoint(self) -> None:
        with self._reader.connect() as connection:
            # FULL keeps writers away until all is in the database file; PASSIVE would never catch up with a busy log
            driver_connection(connection).execute("PRAGMA wal_checkpoint(FULL)")


class _Busy(Exception):
    """Another connection holds the write lock right now."""


class unavailable_sqlite:  # noqa: N801 -- reads as a statement where it is used
    """Inside, what SQLite refuses is raised as Unavailable."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, DBAPIError):
            raise Unavailable(f"SQLite did not take it ({error.orig}); nothing was stored, try again") from error


def driver_connection(connection: Connection) -> Any:
    """Return the plain sqlite3 connection beneath."""
    return connection.connection.driver_connection


def _use_wal(raw: Any, deadline: float) -> None:
    """Turn write-ahead logging on. SQLite does not wait for another process that does the same at this moment, so we do."""
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def sqlite_engine(
    url: URL, busy_seconds: float, *, begin: str, synchronous: Literal["NORMAL", "FULL"], checkpoints: bool = True
) -> Engine:
    """Return an engine whose transactions start with `begin`, DDL included; its connections may change threads."""
    engine = create_engine(url, connect_args={"timeout": busy_seconds, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _set_up(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # no hidden BEGIN of the driver's
        _use_wal(raw, time.monotonic() + max(busy_seconds, _CONNECT_SECONDS))
        raw.execute(f"PRAGMA synchronous = {synchronous}")
        raw.execute("PRAGMA foreign_keys = ON")
        if not checkpoints:
            raw.execute("PRAGMA wal_autocheckpoint = 0")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
