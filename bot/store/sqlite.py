"""SQLite in WAL mode: one connection that writes on the event loop, a thread that syncs, a few threads that read.

Handing work to a thread and back costs more than a commit that is not synced to the disk, so a transaction is carried
out at once, on the event loop, when the write lock is free; a thread waits for the lock when it is not. What must
survive power loss is synced after the commit (sqlite_sync.py). That keeps the order of FULL: whoever reads a commit
before it is synced, and lets something durable follow from it, syncs it along with that.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
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
CHECKPOINT_EVERY = 1500
"""Pages written, by a guess, between two checkpoints, which sync and therefore happen on a thread. The log begins anew after
each: one that grows takes twice as long to sync."""
_PAGES_A_COMMIT = 4

CLOCK = "onhand_clock"
"""The function of SQL that tells the time for leases. SQLite's own follows the time of day, which may be set."""


class Sqlite:
    """The driver for `sqlite:///path`."""

    def __init__(self, url: URL, busy_seconds: float) -> None:
        self._quick = sqlite_engine(url, 0, begin="", checkpoints=False)
        self._patient = sqlite_engine(url, busy_seconds, begin="BEGIN IMMEDIATE")
        self._reader = sqlite_engine(url, busy_seconds, begin="BEGIN")
        self._waiting = ThreadPoolExecutor(1, "onhand-write")
        self._threads = ThreadPoolExecutor(_READERS, "onhand-read")
        self._path = Path(str(url.database))
        self._opened: os.stat_result | None = None
        """Of the file, when it was opened. To hold it open ourselves and close it would let go of SQLite's own locks on it."""
        self._sync = LogSync(Path(f"{url.database}-wal"))
        self._connection: Connection | None = None
        self._pages, self._catching_up = 0, False
        self._moving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        try:
            self._connection = self._quick.connect()
        except _REFUSED as error:
            _say_unavailable(error)
            raise
        self._opened = self._path.stat()
        self._sync.start()

    async def close(self) -> None:
        connection, self._connection = self._connection, None  # no write begins from here on
        if self._moving is not None:
            await self._moving
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
        self._check(whole=durable)
        raw = driver_connection(self._connection)
        before = raw.total_changes
        try:
            try:
                result = self._write_at_once(raw, self._connection, work)
                rows = raw.total_changes - before
            except _Busy:
                loop = asyncio.get_running_loop()
                result, rows = await loop.run_in_executor(
                    self._waiting, _transact, self._patient, partial(_counted, work)
                )
        except _REFUSED as error:
            _say_unavailable(error)
            raise
        self._count(rows)
        if durable:
            await self._sync.all_until_now()
        return result

    async def read(self, work: Callable[[Connection], T], *, few: bool) -> T:
        self._check(whole=True)
        try:
            if few and self._connection is not None:
                with suppress(OperationalError):  # somebody repairs the log at this moment: the thread waits for that
                    return work(self._connection)
            return await asyncio.get_running_loop().run_in_executor(self._threads, _transact, self._reader, work)
        except _REFUSED as error:
            _say_unavailable(error)
            raise

    def _check(self, *, whole: bool) -> None:
        """Raise Unavailable when the log or, where it is asked for, the file is not in its place any more.

        What is committed then is lost with it.
        """
        self._sync.check()
        if not whole:  # a look costs a tenth of what it takes to append what guards nothing
            return
        try:
            in_its_place = self._opened is None or os.path.samestat(self._opened, os.stat(self._path))
        except OSError:
            in_its_place = False
        if not in_its_place:
            raise Unavailable(
                f"{self._path} was deleted or replaced while it was in use; start all processes of onhand again"
            )

    def _write_at_once(self, raw: Any, connection: Connection, work: Callable[[Connection], T]) -> T:
        """Carry out a transaction on the plain connection: SQLAlchemy's begin and commit cost as much as an insert."""
        if self._catching_up:
            raise _Busy
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise _Busy from error
            raise
        try:
            result = work(connection)
            raw.execute("COMMIT")
        except BaseException:
            raw.rollback()
            raise
        return result

    def _count(self, rows: int) -> None:
        """Note a commit of so many rows; move the log into the database file when it has become long."""
        self._pages += _PAGES_A_COMMIT + rows
        if self._pages < CHECKPOINT_EVERY or self._connection is None:
            return
        if self._moving is None or self._moving.done():
            self._pages, self._moving = 0, asyncio.create_task(self._move_log())

    async def _move_log(self) -> None:
        """Have the log begin anew: PASSIVE keeps nobody away, FULL waits for writers and does the rest; ours stand behind it."""
        loop = asyncio.get_running_loop()
        with suppress(DBAPIError, sqlite3.Error):  # it is tried again after as much
            await loop.run_in_executor(self._threads, self._checkpoint, "PASSIVE")
            self._catching_up = True
            try:
                await loop.run_in_executor(self._waiting, self._checkpoint, "FULL")
            finally:
                self._catching_up = False

    def _checkpoint(self, mode: str) -> None:
        with self._reader.connect() as connection:
            driver_connection(connection).execute(f"PRAGMA wal_checkpoint({mode})")


def _counted(work: Callable[[Connection], T], connection: Connection) -> tuple[T, int]:
    """Return what the work returns, and how many rows it wrote."""
    raw = driver_connection(connection)
    before = raw.total_changes
    return work(connection), raw.total_changes - before


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


class _Busy(Exception):
    """Another connection holds the write lock right now, or is about to."""


_REFUSED = (DBAPIError, sqlite3.DatabaseError)
_OF_THE_CALLER = (
    *(DataError, IntegrityError, InterfaceError, ProgrammingError),
    *(sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError),
)
"""What SQLite will refuse again however often it is tried."""


def _say_unavailable(error: DBAPIError | sqlite3.DatabaseError) -> None:
    """Raise Unavailable for what SQLite refuses, unless it would refuse it again however often it is tried."""
    if not isinstance(error, _OF_THE_CALLER):
        reason = getattr(error, "orig", error)
        raise Unavailable(f"SQLite did not take it ({reason}); nothing was stored, try again") from error


def driver_connection(connection: Connection) -> Any:
    """Return the plain sqlite3 connection beneath."""
    return connection.connection.dbapi_connection


def _uptime() -> float:
    """Return for how many seconds this machine runs; all processes that share a file agree on that, whoever sets the clock."""
    try:
        return float(Path("/proc/uptime").read_text().split()[0])
    except OSError:  # not Linux
        return time.monotonic()


def _use_wal(raw: Any, deadline: float) -> None:
    """Turn write-ahead logging on, and open the log. SQLite does not wait for another process that does the same, so we do."""
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute("SELECT 1 FROM sqlite_master").fetchone()  # it is the first read that opens the log
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
        raw.create_function(CLOCK, 0, _uptime)
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
