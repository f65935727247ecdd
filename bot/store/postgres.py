"""PostgreSQL through psycopg's asyncio side. Every commit there is durable; the server groups them itself."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from bot.core.errors import Unavailable

T = TypeVar("T")
_SECONDS = 5
_LOCK_MILLISECONDS = 2500
"""Below Slack's limit of 3 s for an answer."""


class Postgres:
    """The driver for `postgresql://`."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=10,
            pool_timeout=_SECONDS,
            pool_pre_ping=True,  # a restarted server costs nobody a request
            connect_args={"connect_timeout": _SECONDS, "options": f"-c lock_timeout={_LOCK_MILLISECONDS}"},
        )

    async def open(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def close(self) -> None:
        await self._engine.dispose()

    async def write(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        with _unavailable():
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)

    async def read(self, work: Callable[[Connection], T], *, few: bool) -> T:
        with _unavailable():
            async with self._engine.connect() as connection:
                return await connection.run_sync(work)


class _unavailable:  # noqa: N801 -- reads as a statement where it is used
    """Inside, a server that is away or overloaded is raised as Unavailable."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        gone = isinstance(error, DBAPIError) and error.connection_invalidated
        if gone or isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise Unavailable(f"PostgreSQL did not take it ({str(reason).strip()}); try again") from error
