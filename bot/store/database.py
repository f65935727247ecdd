"""The database behind every port of this room: one way to write, one way to read, on SQLite and on PostgreSQL.

Work is a plain function of a SQLAlchemy Connection. It runs in one transaction that commits when it returns.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Double, Insert, Table, Update, make_url, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from bot.core.errors import ConfigError
from bot.store.migrations import HEAD
from bot.store.sqlite import CLOCK, Sqlite, driver_connection

T = TypeVar("T")


class _Driver(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, work: Callable[[Connection], T], *, durable: bool) -> T: ...

    async def read(self, work: Callable[[Connection], T], *, few: bool) -> T: ...


class Database:
    """One database, used from one event loop. Reads and writes raise Unavailable when it cannot take them now.

    `busy_seconds` is how long a write waits for another's lock; Slack wants its answer within 3 s.
    `silent_seconds` is how long a transaction on PostgreSQL may take: far longer than any of ours that is answered, its wait
    for a lock included.
    """

    def __init__(self, url: str, busy_seconds: float = 2.5, silent_seconds: float = 10.0) -> None:
        self.url = parse(url)
        self._driver = _driver(self.url, busy_seconds, silent_seconds)

    async def connect(self) -> None:
        """Open it. Raises ConfigError when its tables are not of this version, Unavailable when it is out of reach."""
        try:
            await self._driver.open()
            await self.read(_check)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was begun and let go."""
        await self._driver.close()

    async def check(self) -> None:
        """Write what stands there already: a database that can be read may take no writes. Raises Unavailable, and why."""
        same = text("UPDATE alembic_version SET version_num = version_num")
        await self.write(lambda connection: connection.execute(same), durable=False)

    def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> Awaitable[T]:
        """Return what `work` returns, once it is committed. What `work` raises undoes it and is raised here.

        `durable`: survives power loss. Without it, a commit on SQLite survives any kill of processes and is quicker.
        """
        return self._driver.write(work, durable=durable)

    async def read(self, work: Callable[[Connection], T], *, few: bool = False) -> T:
        """Return what `work` finds, as of one moment (SQLite) or of each statement (PostgreSQL).

        `few`: it is one look at few rows, for which SQLite needs less time than handing the work to a thread.
        """
        return await self._driver.read(work, few=few)


def _driver(url: URL, busy_seconds: float, silent_seconds: float) -> _Driver:
    if url.get_backend_name() == "sqlite":
        return Sqlite(url, busy_seconds)
    from bot.store.postgres import Postgres  # it brings SQLAlchemy's ORM along: a fifth of a start that does without

    return Postgres(url, busy_seconds, silent_seconds)


def parse(url: str) -> URL:
    """Return the URL with the driver that we use. Raises ConfigError, without the URL in it: it may hold a password."""
    expected = "ONHAND_DATABASE_URL: expected sqlite:///path or postgresql://user@host/name"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(f"{expected}; what is set cannot be read") from None
    if parsed.drivername.partition("+")[0] in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(f"{expected}; {parsed.get_backend_name()} is not known here")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"{expected}; a SQLite database needs a file")
    Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    return parsed.set(drivername="sqlite+pysqlite")


def revision(connection: Connection) -> str:
    """Return what the tables are at; "" where there are none. The transaction may be of no use afterwards."""
    try:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")
    except (OperationalError, ProgrammingError) as error:
        if "alembic_version" not in str(error.orig):
            raise
        return ""


def _check(connection: Connection) -> None:
    found = revision(connection)
    if found != HEAD:
        raise ConfigError(f"the database's tables are at {found or 'nothing'}, expected {HEAD}; run: onhand db upgrade")


def insert_new(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a whole row unless one with an equal key is there. Whether it was new; a concurrent one is waited for."""
    return execute_quickly(connection, _insert_new(connection.dialect.name, table), [values]) > 0


@cache
def _insert_new(dialect: str, table: Table) -> Insert:
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql  # a start on SQLite does without

    return postgresql.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def execute_quickly(connection: Connection, statement: Update | Insert, rows: Sequence[Mapping[str, Any]]) -> int:
    """Execute a constant statement for each row; return how many rows it changed in all.

    On SQLite straight on the driver: there, SQLAlchemy's part of an append costs more than SQLite's.
    """
    if connection.dialect.name != "sqlite":
        return connection.execute(statement, rows if len(rows) > 1 else rows[0]).rowcount
    sql, values = _compiled(statement, tuple(rows[0]))
    changed: int = driver_connection(connection).executemany(sql, map(values, rows)).rowcount
    return changed


@cache
def _compiled(statement: Update | Insert, names: tuple[str, ...]) -> tuple[str, Callable[[Any], Any]]:
    """Return the SQL and what takes its values, more than one, out of a row in their order."""
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=names)
    return str(compiled), itemgetter(*(compiled.positiontup or ()))


class clock_of_database(FunctionElement[float]):  # noqa: N801 -- reads as an SQL function where it is used
    """The database's own clock at this moment, in seconds: for how long something is yet to last, not when it was."""

    type = Double()
    inherit_cache = True


@compiles(clock_of_database, "sqlite")
def _sqlite_clock(_element: Any, _compiler: Any, **_: Any) -> str:
    return f"{CLOCK}()"


@compiles(clock_of_database, "postgresql")
def _postgres_clock(_element: Any, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
