"""Many rows at once, in the way that is cheap on each database.

SQLite takes them one after the other, straight on its driver. PostgreSQL takes them as one parameter, a JSON list: a
statement that grows with its rows costs the driver more than the rows do.
https://www.sqlite.org/json1.html, https://www.postgresql.org/docs/current/functions-json.html
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Table, Text, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from bot.store.sqlite import driver_connection


def insert_all_new(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *key: Column[Any]
) -> list[tuple[Any, ...]]:
    """Insert those rows, all with the same columns, whose keys are not there yet. Return the columns `key` of those that were new.

    Concurrent ones are waited for; sort the rows by key, so that nobody waits in a circle.
    """
    statement = _insert_all_new(connection.dialect.name, table, tuple(rows[0]), key)
    if connection.dialect.name == "sqlite":
        raw = driver_connection(connection)
        return [new for row in rows for new in raw.execute(statement, row)]
    return [tuple(new) for new in connection.execute(_text(statement), {"rows": as_json(rows)})]


@cache
def _insert_all_new(dialect: str, table: Table, names: tuple[str, ...], key: tuple[Column[Any], ...]) -> str:
    columns = ", ".join(names)
    if dialect == "sqlite":
        rows = "VALUES (" + ", ".join(f":{name}" for name in names) + ")"
    else:
        rows = f"SELECT {columns} FROM json_populate_recordset(CAST(NULL AS {table.name}), CAST(:rows AS json))"  # noqa: S608 -- our own names
    returned = ", ".join(column.name for column in key)
    return f"INSERT INTO {table.name} ({columns}) {rows} ON CONFLICT DO NOTHING RETURNING {returned}"


_text = cache(text)


def as_json(value: Sequence[Any]) -> str:
    """Return rows or texts as the one parameter of a statement."""
    return msgspec.json.encode(value).decode()


class each_of(FunctionElement[str]):  # noqa: N801 -- reads as an SQL function where it is used
    """The texts of a JSON list, for IN."""

    type = Text()
    inherit_cache = True


@compiles(each_of, "sqlite")
def _sqlite_each(element: Any, compiler: Any, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"  # noqa: S608 -- a parameter


@compiles(each_of, "postgresql")
def _postgres_each(element: Any, compiler: Any, **options: Any) -> str:
    return f"(SELECT json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json)))"
