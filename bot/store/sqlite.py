"""SQLite in WAL mode: one connection that writes on the event loop, a thread that syncs, a few threads that read.

Handing work to a thread and back costs more than a commit that is not synced to the disk, so a transaction is carried
out at once, on the event loop, when the write lock is free; a thread waits for the lock when it is not. What must
survive power loss is synced after the commit (sqlite_sync.py). That keeps the order of FULL: whoever reads a commit
before it is synced, and lets something durable follow from it, syncs it along with that.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from bot.core.errors import Unavailable
from bot.store.sqlite_sync import LogSync

T = TypeVar("T")
_READERS = 4
_OPEN_SECONDS = 30.0
"""How long a new connection waits for another process that is making the tables."""
CHECKPOINT_EVERY = 2000
"""Rows written between two checkpoints, which sync and therefore happen on a thread."""


class Sqlite:
    """The driver for `sqlite:///path`."""

    def __init__(self, url: URL, busy_seconds: float) -> None:
        self._quick = sqlite_engine(url, 0, begin="", checkpoints=False)
        self._patient = sqlite_engine(url, busy_seconds, begin="BEGIN IMMEDIATE")
        self._reader = sqlite_engine(url, busy_seconds, begin="BEGIN")
        self._waiting = ThreadPoolExecutor(1, "onhand-write")
        self._threads = ThreadPoolExecutor(_READERS, "onhand-read")
        self._sync = LogSync(Path(f"{url.database}-wal"))
        self._connection: Connection | None = None
        self._next_checkpoint = CHECKPOINT_EVERY

    async def open(self) -> None:
        with unavailable_sqlite():
            self._connection = self._quick.connect()
        self._sync.start()

    async def close(self) -> None:
        connection, self._connection = self._connection, None  # no write begins from here on
        await asyncio.to_thread(self._waiting.shutdown)
        await asyncio.to_thread(self._sync.stop)
        self._threads.shutdown()
        if connection is not None:
            connection.close()
        for engine in (self._quick, self._patient, self._reader):
            engine.dispose()

    async def write(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        if self._connection is None:
            raise Unavailable("the database is closed")
        with unavailable_sqlite():
            try:
                result = self._write_at_once(self._connection, work)
            except _Busy:
                result = await asyncio.get_running_loop().run_in_executor(self._waiting, _transact, self._patient, work)
            if durable:
                await self._sync.all_until_now()
        return result

    async def read(self, work: Callable[[Connection], T], *, few: bool) -> T:
        with unavailable_sqlite():
            if few and self._connection is not None:
                with suppress(OperationalError):  # somebody repairs the log at this moment: the thread waits for that
                    return work(self._connection)
            return await asyncio.get_running_loop().run_in_executor(self._threads, _transact, self._reader, work)

    def _write_at_once(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        """Carry out a transaction on the plain connection: SQLAlchemy's begin and commit cost as much as an insert."""
        raw = driver_connection(connection)
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise _Busy from error
            raise
        try:
            result = work(connection)
            raw.commit()
        except BaseException:
            raw.rollback()
            raise
        if raw.total_changes >= self._next_checkpoint:
            self._next_checkpoint = raw.total_changes + CHECKPOINT_EVERY
            self._threads.submit(self._checkpoint)
        return result

    def _checkpoint(self) -> None:
        with self._reader.connect() as connection:
            # FULL keeps writers away until all is in the database file; PASSIVE would never catch up with a busy log
            driver_connection(connection).execute("PRAGMA wal_checkpoint(FULL)")


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


class _Busy(Exception):
    """Another connection holds the write lock right now."""


_OF_THE_CALLER = (
    *(DataError, IntegrityError, InterfaceError, ProgrammingError),
    *(sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError),
)
"""What SQLite will refuse again however often it is tried."""


class unavailable_sqlite:  # noqa: N801 -- reads as a statement where it is used
    """Inside, what SQLite refuses is raised as Unavailable."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, DBAPIError | sqlite3.DatabaseError) and not isinstance(error, _OF_THE_CALLER):
            reason = getattr(error, "orig", error)
            raise Unavailable(f"SQLite did not take it ({reason}); nothing was stored, try again") from error


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


def sqlite_engine(url: URL, busy_seconds: float, *, begin: str, checkpoints: bool = True) -> Engine:
    """Return an engine whose transactions start with `begin`, DDL included; its connections may change threads."""
    engine = create_engine(url, connect_args={"timeout": busy_seconds, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _set_up(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # no hidden BEGIN of the driver's
        _use_wal(raw, time.monotonic() + _OPEN_SECONDS)
        raw.execute("PRAGMA synchronous = NORMAL")
        raw.execute("PRAGMA foreign_keys = ON")
        if not checkpoints:
            raw.execute("PRAGMA wal_autocheckpoint = 0")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if begin:
            connection.exec_driver_sql(begin)

    return engine
