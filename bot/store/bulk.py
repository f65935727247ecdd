"""Many rows at once, in the way that is cheap on each database.

SQLite takes them one after the other, straight on its driver. PostgreSQL takes them as one parameter, a JSON list: a
statement that grows with its rows costs the driver more than the rows do, and a round trip more than a statement.
https://www.sqlite.org/json1.html, https://www.postgresql.org/docs/current/functions-json.html
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import IntegrityError

from bot.store.sqlite import driver_connection

Rows = Sequence[Mapping[str, Any]]


class Overtaken(Exception):
    """Another process stored a row with the same key at this very moment; it is known when the transaction begins anew."""


def insert_all(connection: Connection, *into: tuple[Table, Rows]) -> None:
    """Insert rows, all of a table with the same columns. Raises Overtaken.

    Concurrent ones are waited for; sort the rows by key, so that nobody waits in a circle.
    """
    some = [(table, rows) for table, rows in into if rows]
    try:
        if connection.dialect.name == "sqlite":
            for table, rows in some:
                driver_connection(connection).executemany(_one(table, tuple(rows[0])), rows)
        elif some:
            statement = _lists(tuple((table, tuple(rows[0])) for table, rows in some))
            connection.execute(_text(statement), {table.name: as_json(rows) for table, rows in some})
    except (IntegrityError, sqlite3.IntegrityError) as error:
        raise Overtaken from error


def insert_or(connection: Connection, otherwise: str, table: Table, rows: Rows) -> list[tuple[Any, ...]]:
    """Insert rows, or do what `otherwise`, the rest of the statement, says. Return what it returns. Locks as above."""
    if connection.dialect.name == "sqlite":
        raw, statement = driver_connection(connection), f"{_one(table, tuple(rows[0]))} {otherwise}"
        return [found for row in rows for found in raw.execute(statement, row)]
    statement = f"{_list(table, tuple(rows[0]))} {otherwise}"
    return [tuple(found) for found in connection.execute(_text(statement), {table.name: as_json(rows)})]


def find(connection: Connection, statement: str, **lists: Sequence[str]) -> list[tuple[Any, ...]]:
    """Select; in the statement, `{name}` after a column stands for: is one of the texts in that list."""
    given = {name: as_json(texts) for name, texts in lists.items()}
    query = _with_lists(connection.dialect.name, statement, tuple(given))
    if connection.dialect.name == "sqlite":
        found: list[tuple[Any, ...]] = driver_connection(connection).execute(query, given).fetchall()
        return found
    return [tuple(row) for row in connection.execute(_text(query), given)]


def as_json(value: Sequence[Any]) -> str:
    """Return rows or texts as the one parameter of a statement."""
    return msgspec.json.encode(value).decode()


_text = cache(text)


@cache
def _one(table: Table, names: tuple[str, ...]) -> str:
    values = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values})"  # noqa: S608 -- our own names


@cache
def _list(table: Table, names: tuple[str, ...]) -> str:
    columns = ", ".join(names)
    rows = f"json_populate_recordset(CAST(NULL AS {table.name}), CAST(:{table.name} AS json))"
    return f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {rows}"  # noqa: S608 -- our own names


@cache
def _lists(into: tuple[tuple[Table, tuple[str, ...]], ...]) -> str:
    *first, last = [_list(table, names) for table, names in into]
    parts = ", ".join(f"part_{number} AS ({insert})" for number, insert in enumerate(first))
    return f"WITH {parts} {last}" if parts else last


@cache
def _with_lists(dialect: str, statement: str, names: tuple[str, ...]) -> str:
    return statement.format(**{name: _IS_ONE_OF[dialect].format(name) for name in names})


_IS_ONE_OF = {
    "sqlite": "IN (SELECT value FROM json_each(:{0}))",
    # as an array, which always goes by the index: of a joined list the planner expects more and may read the whole table
    "postgresql": "= ANY (ARRAY(SELECT json_array_elements_text(CAST(:{0} AS json))))",
}
