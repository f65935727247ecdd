"""Many rows as one parameter, a JSON list: a statement that grows with its rows costs the drivers more than the rows do.

https://www.sqlite.org/json1.html, https://www.postgresql.org/docs/current/functions-json.html
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Row, Table, Text, TextClause, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


def insert_all_new(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *key: Column[Any]
) -> Sequence[Row[Any]]:
    """Insert those whole rows whose keys are not there yet. Return the columns `key` of those that were new.

    Concurrent ones are waited for; sort the rows by key, so that nobody waits in a circle.
    """
    return connection.execute(_insert_all_new(connection.dialect.name, table, key), {"rows": as_json(rows)}).all()


@cache
def _insert_all_new(dialect: str, table: Table, key: tuple[Column[Any], ...]) -> TextClause:
    names = table.columns.keys()
    if dialect == "sqlite":
        values = ", ".join(f"json_extract(value, '$.{name}')" for name in names)
        source = "json_each(:rows) WHERE true"  # without WHERE, ON would belong to a join
    else:
        values = ", ".join(names)
        source = f"json_populate_recordset(CAST(NULL AS {table.name}), CAST(:rows AS json))"
    into, returned = f"{table.name} ({', '.join(names)})", ", ".join(column.name for column in key)
    return text(
        f"INSERT INTO {into} SELECT {values} FROM {source} ON CONFLICT DO NOTHING RETURNING {returned}"  # noqa: S608 -- of our own names
    )


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
