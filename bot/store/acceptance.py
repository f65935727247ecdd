"""The transaction that makes a group of deliveries durable: a handful of statements, however many deliveries there are.

Concurrent processes take their locks in the same order: deliveries, conversations, requests, each sorted by key.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Text, bindparam, select, update

from bot.core.conversation import conversation_id
from bot.core.inbound import Delivery, Trigger
from bot.core.ports import Accepted
from bot.store.bulk import as_json, each_of, insert_all_new
from bot.store.clean import storable
from bot.store.database import execute_quickly
from bot.store.log import Line, event_row
from bot.store.projection import request_row, status_after
from bot.store.tables import conversations, deliveries, events, requests


class Wish(NamedTuple):
    """A trigger ready to be stored."""

    conversation: str
    meaning: str
    trigger: Trigger
    line: Line
    at: float


class Prepared(NamedTuple):
    """A delivery ready to be stored: masked, encoded, with only text that both databases hold."""

    service: str
    id: str
    event: str
    at: float
    wishes: tuple[Wish, ...]


class Overtaken(Exception):
    """Another process stored one of the wishes at this very moment; it is known when the transaction begins anew."""


def prepare(delivery: Delivery, asked: Iterable[tuple[Trigger, Line]], at: float) -> Prepared:
    """Name what is to be stored of a delivery."""
    wishes = tuple(Wish(conversation_id(t.thread), storable(t.meaning), t, asked_line, at) for t, asked_line in asked)
    return Prepared(storable(delivery.service), storable(delivery.id), storable(delivery.event), at, wishes)


def accept_group(connection: Connection, group: Sequence[Prepared]) -> list[Accepted]:
    """Store each delivery once by id and each wish once by meaning. Raises Overtaken."""
    firsts: dict[str, Wish] = {}
    for delivery in _new_ones(connection, group):
        for wish in delivery.wishes:
            firsts.setdefault(wish.meaning, wish)
    placed = _place(connection, firsts) if firsts else {}
    others = {w.meaning for d in group for w in d.wishes if firsts.get(w.meaning) is not w or w.meaning not in placed}
    known = _known(connection, others) if others else {}
    return [_accepted(delivery, firsts, placed, known) for delivery in group]


def _new_ones(connection: Connection, group: Sequence[Prepared]) -> Iterable[Prepared]:
    """Insert the deliveries; return those that were not there, one of each id."""
    by_key = {(d.service, d.id): d for d in reversed(group)}
    rows = [
        {"service": d.service, "id": d.id, "event": d.event, "received_at": d.at}
        for _, d in sorted(by_key.items(), key=lambda item: item[0])
    ]
    new = set(insert_all_new(connection, deliveries, rows, deliveries.c.service, deliveries.c.id))
    return (delivery for key, delivery in reversed(by_key.items()) if key in new)


def _place(connection: Connection, wishes: dict[str, Wish]) -> dict[str, int]:
    """Write the wishes that nobody had before at the ends of their conversations. Return their seqs by meaning."""
    ends = _lock(connection, wishes.values())
    before = _known(connection, wishes)
    placed: dict[str, int] = {}
    moved: dict[str, dict[str, object]] = {}
    for meaning, wish in wishes.items():
        if meaning in before:
            continue
        last, status = ends[wish.conversation]
        ends[wish.conversation] = last + 1, status_after(wish.line.draft.fact, status, {"asked"})
        placed[meaning] = last + 1
        moved[wish.conversation] = {"of": wish.conversation, "now": wish.at}
    if placed:
        _write(connection, [(wishes[meaning], seq) for meaning, seq in placed.items()])
        for conversation, step in moved.items():
            step["last"], step["after"] = ends[conversation]
        execute_quickly(connection, _ADVANCE, list(moved.values()))
    return placed


def _lock(connection: Connection, wishes: Iterable[Wish]) -> dict[str, tuple[int, str]]:
    """Make the conversations that are not there, and lock all. Return the last seq and the status of each."""
    made = {
        wish.conversation: {
            "id": wish.conversation,
            "thread": wish.trigger.thread.key,
            "title": wish.trigger.title,
            "status": "queued",
            "created_at": wish.at,
            "updated_at": wish.at,
            "last_seq": 0,
        }
        for wish in sorted(wishes, reverse=True, key=lambda wish: wish.conversation)
    }
    insert_all_new(connection, conversations, list(reversed(made.values())), conversations.c.id)
    return {row.id: (row.last_seq, row.status) for row in connection.execute(_LOCK, {"some": as_json([*made])})}


def _write(connection: Connection, asked: list[tuple[Wish, int]]) -> None:
    noted = [request_row(wish.conversation, seq, wish.trigger, wish.at) for wish, seq in asked]
    noted.sort(key=lambda row: str(row["meaning"]))
    lines = [event_row(wish.conversation, seq, wish.at, wish.line) for wish, seq in asked]
    for table, rows in ((requests, noted), (events, lines)):
        if len(insert_all_new(connection, table, rows, table.c.seq)) < len(rows):
            raise Overtaken


def _known(connection: Connection, meanings: Iterable[str]) -> dict[str, tuple[str, int, str]]:
    return {row[0]: (row[1], row[2], row[3]) for row in connection.execute(_MEANINGS, {"some": as_json([*meanings])})}


def _accepted(
    delivery: Prepared, firsts: dict[str, Wish], placed: dict[str, int], known: dict[str, tuple[str, int, str]]
) -> Accepted:
    fresh, seen = [], []
    for wish in delivery.wishes:
        if firsts.get(wish.meaning) is wish and wish.meaning in placed:
            fresh.append((wish.conversation, placed[wish.meaning]))
        elif wish.meaning in known:
            seen.append(known[wish.meaning])
    unanswered = tuple(dict.fromkeys((conversation, seq) for conversation, seq, phase in seen if phase == "asked"))
    return Accepted(tuple(fresh), tuple(dict.fromkeys(conversation for conversation, _, _ in seen)), unanswered)


_MEANINGS = select(requests.c.meaning, requests.c.conversation_id, requests.c.seq, requests.c.phase).where(
    requests.c.meaning.op("IN")(each_of(bindparam("some", type_=Text)))
)
_LOCK = (
    select(conversations.c.id, conversations.c.last_seq, conversations.c.status)
    .where(conversations.c.id.op("IN")(each_of(bindparam("some", type_=Text))))
    .order_by(conversations.c.id)
    .with_for_update()
)
_ADVANCE = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(last_seq=bindparam("last"), updated_at=bindparam("now"), status=bindparam("after"))
)
