"""PostgreSQL through psycopg's asyncio side. Every commit there is durable; the server groups them itself."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bot.core.errors import Unavailable

T = TypeVar("T")
Work = Callable[[Connection], T]
_SECONDS = 5
_LOCK_MILLISECONDS = 2500
_READ_ONLY = "25006"  # after a failover, say
"""Below Slack's limit of 3 s for an answer."""


class Postgres:
    """The driver for `postgresql://`."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=10,
            pool_timeout=_SECONDS,
            connect_args={"connect_timeout": _SECONDS, "options": f"-c lock_timeout={_LOCK_MILLISECONDS}"},
        )

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


class _Dead(Exception):
    """The server was restarted since the connection was used last. It costs nobody a request: the work is done on another.

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
