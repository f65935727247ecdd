"""PostgreSQL through psycopg's asyncio side. Every commit there is durable; the server groups them itself.

A connection can lose its bytes and stay open: a firewall forgot it, a pooler hangs. Nobody says so, so whoever takes one out
of the pool has a limited time to bring it back. Then its socket is shut, which ends the wait for an answer wherever that is,
and SQLAlchemy closes all connections that are as old before it gives them out again.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeVar

from psycopg import AsyncConnection as DriverConnection
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bot.core.errors import Unavailable

T = TypeVar("T")
Work = Callable[[Connection], T]
logger = logging.getLogger(__name__)
_SECONDS = 5
_ASLEEP_MILLISECONDS = 5000
"""For which a transaction may stand still before the server ends it: a worker that sleeps, or whose machine is gone, would else
keep its rows from the one that takes over. Below the 6 s of a lease."""
_READ_ONLY = "25006"  # after a failover, say
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}
"""The system finds an idle connection dead within 20 s: https://www.postgresql.org/docs/current/libpq-connect.html"""
_LIMIT = "onhand_limit"


class Postgres:
    """The driver for `postgresql://`. A transaction that has not ended after `silent_seconds` is given up."""

    def __init__(self, url: URL, busy_seconds: float, silent_seconds: float) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=10,
            pool_timeout=_SECONDS,
            connect_args={
                "connect_timeout": _SECONDS,
                "options": f"-c lock_timeout={int(busy_seconds * 1000)} "
                f"-c idle_in_transaction_session_timeout={_ASLEEP_MILLISECONDS}",
                "tcp_user_timeout": int(silent_seconds * 1000),
                **_KEEPALIVES,
            },
        )
        _limit_silence(self._engine.sync_engine, silent_seconds)

    async def open(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def close(self) -> None:
        await self._engine.dispose()

    async def write(self, work: Work[T], *, durable: bool) -> T:
        return await self._transact(self._engine.begin, work)

    async def read(self, work: Work[T], *, few: bool) -> T:
        return await self._transact(self._engine.connect, work)

    async def _transact(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]], work: Work[T]) -> T:
        with _unavailable():
            with suppress(_Dead):
                return await _once(begin(), work)
            return await _once(begin(), work)


async def _once(begun: AbstractAsyncContextManager[AsyncConnection], work: Work[T]) -> T:
    """Return what the work returns, once it is committed. Raises _Dead when nothing was, because the connection is gone."""
    async with begun as connection:
        try:
            return await connection.run_sync(work)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _Dead(error.orig) from error
            raise


def _limit_silence(engine: Engine, seconds: float) -> None:
    """Shut each connection of the engine that is out of its pool for longer: statements, commit and rollback are within that."""

    def begin(raw: Any, record: Any, *_: Any) -> None:
        end(raw, record)
        record.info[_LIMIT] = asyncio.get_running_loop().call_later(seconds, _shut, raw.driver_connection, seconds)

    def end(_raw: Any, record: Any) -> None:
        if limit := record.info.pop(_LIMIT, None):
            limit.cancel()

    event.listen(engine, "connect", begin, insert=True)  # before SQLAlchemy asks the server who it is
    event.listen(engine, "checkout", begin)
    event.listen(engine, "checkin", end)


def _shut(connection: DriverConnection[Any], seconds: float) -> None:
    """Have whoever waits for an answer on the connection find it closed, now. The peer is not waited for."""
    if connection.closed:
        return
    logger.warning("PostgreSQL has not ended a transaction within %.0f s; its connections are made anew", seconds)
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as line, suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


class _Dead(Exception):
    """The server was restarted, or fell silent, since the connection was used last.

    It costs nobody a request: the work is done on another.

    To ask every connection beforehand whether it lives would cost as much as a statement.
    """


class _unavailable:  # noqa: N801 -- reads as a statement where it is used
    """Inside, a server that is away, overloaded or takes only reads is raised as Unavailable."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        away = isinstance(error, DBAPIError) and (
            error.connection_invalidated or getattr(error.orig, "sqlstate", "") == _READ_ONLY
        )
        if away or isinstance(error, _Dead | OperationalError | InterfaceError | PoolTimeoutError):
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise Unavailable(f"PostgreSQL did not take it ({str(reason).strip()}); try again") from error
