"""Brings the tables of a database to this version's, from nothing or from any earlier one."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from bot.core.errors import Unavailable
from bot.store.database import parse, revision
from bot.store.migrations import HEAD
from bot.store.sqlite import sqlite_engine

if TYPE_CHECKING:
    from alembic.config import Config

_BUSY_SECONDS = 30.0
_LOCK = 0x6F6E68616E64
"""PostgreSQL advisory lock: two processes that start at once upgrade one after the other."""


async def upgrade(url: str) -> None:
    """Apply what is missing, all or nothing; doing it twice is harmless. Raises ConfigError, Unavailable."""
    await asyncio.to_thread(_upgrade, parse(url))


def _upgrade(url: URL) -> None:
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            if revision(connection) == HEAD:
                return
        with engine.begin() as connection:
            _apply(connection)
    except DBAPIError as error:
        raise Unavailable(
            f"the tables could not be upgraded ({str(error.orig).strip()}); nothing was changed"
        ) from error
    finally:
        engine.dispose()


def _apply(connection: Connection) -> None:
    from alembic import command

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    configuration = alembic_config()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")


def alembic_config() -> "Config":
    """Return what Alembic's own commands need to find the migrations; the caller adds `attributes["connection"]`."""
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return configuration


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url, _BUSY_SECONDS, begin="BEGIN IMMEDIATE")
    return create_engine(url)
