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
"""All with the same columns in the same order."""


class Overtaken(Exception):
    """Another process stored a row with the same key at this very moment; it is known when the transaction begins anew."""


def insert_all(connection: Connection, *into: tuple[Table, Rows]) -> None:
    """Insert rows. Raises Overtaken.

    Concurrent ones are waited for; sort the rows by key, so that nobody waits in a circle.
    """
    some = [(table, rows) for table, rows in into if rows]
    try:
        if connection.dialect.name == "sqlite":
            for table, rows in some:
                driver_connection(connection).executemany(_one(table, tuple(rows[0])), [_values(row) for row in rows])
        elif some:
            statement = _lists(tuple((table, tuple(rows[0])) for table, rows in some))
            connection.execute(_text(statement), {table.name: as_json(rows) for table, rows in some})
    except (IntegrityError, sqlite3.IntegrityError) as error:
        raise Overtaken from error


def insert_or(connection: Connection, otherwise: str, table: Table, rows: Rows) -> list[tuple[Any, ...]]:
    """Insert rows, or do what `otherwise`, the rest of the statement, says. Return what it returns. Locks as above."""
    if connection.dialect.name == "sqlite":
        raw, statement = driver_connection(connection), f"{_one(table, tuple(rows[0]))} {otherwise}"
        return [found for row in rows for found in raw.execute(statement, _values(row))]
    statement = f"{_list(table, tuple(rows[0]))} {otherwise}"
    return [tuple(found) for found in connection.execute(_text(statement), {table.name: as_json(rows)})]


def find(connection: Connection, *wanted: tuple[str, Table, Rows]) -> list[tuple[Any, ...]]:
    """Select these columns of the rows with these keys (at least one), of each table as many columns."""
    if connection.dialect.name == "sqlite":
        raw = driver_connection(connection)
        queries = ((_select(columns, table, tuple(keys[0])), keys) for columns, table, keys in wanted)
        return [found for query, keys in queries for key in keys for found in raw.execute(query, _values(key))]
    statement = _search(tuple((columns, table, tuple(keys[0])) for columns, table, keys in wanted))
    return [tuple(found) for found in connection.execute(_text(statement), {t.name: as_json(k) for _, t, k in wanted})]


def as_json(value: Rows) -> str:
    """Return rows as the one parameter of a statement."""
    return msgspec.json.encode(value).decode()


_text = cache(text)


def _values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values of a row in their order: to find each by its name takes the driver longer than to insert it."""
    return tuple(row.values())


@cache
def _one(table: Table, names: tuple[str, ...]) -> str:
    values = ", ".join("?" for _ in names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values})"  # noqa: S608 -- our own names


@cache
def _list(table: Table, names: tuple[str, ...]) -> str:
    columns = ", ".join(names)
    return f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {_given(table)}"  # noqa: S608 -- our own names


def _given(table: Table) -> str:
    """Name the rows that come as the parameter of the table's name."""
    return f"json_populate_recordset(CAST(NULL AS {table.name}), CAST(:{table.name} AS json))"


@cache
def _lists(into: tuple[tuple[Table, tuple[str, ...]], ...]) -> str:
    *first, last = [_list(table, names) for table, names in into]
    parts = ", ".join(f"part_{number} AS ({insert})" for number, insert in enumerate(first))
    return f"WITH {parts} {last}" if parts else last


@cache
def _select(columns: str, table: Table, names: tuple[str, ...]) -> str:
    return f"SELECT {columns} FROM {table.name} WHERE {' AND '.join(f'{name} = ?' for name in names)}"  # noqa: S608


@cache
def _search(wanted: tuple[tuple[str, Table, tuple[str, ...]], ...]) -> str:
    return " UNION ALL ".join(_join(*one) for one in wanted)


def _join(columns: str, table: Table, names: tuple[str, ...]) -> str:
    """Look for one key after the other: a plan for all at once, made while a table is small, reads it whole and is kept."""
    same = " AND ".join(f"there.{name} = wanted.{name}" for name in names)
    one = f"SELECT {columns} FROM {table.name} AS there WHERE {same} LIMIT 1"  # noqa: S608 -- our own names
    return f"SELECT found.* FROM {_given(table)} AS wanted CROSS JOIN LATERAL ({one}) AS found"  # noqa: S608
