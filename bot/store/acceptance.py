"""The transaction that makes a group of deliveries durable: a look at what is there, and two writes, however many they are.

Concurrent processes take their locks in the same order: conversations, then one statement's rows, each sorted by key.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from bot.core.conversation import conversation_id
from bot.core.inbound import Delivery, Trigger
from bot.core.ports import Accepted
from bot.store.bulk import find, insert_all, insert_or
from bot.store.clean import storable
from bot.store.log import Line, event_row
from bot.store.projection import request_row
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


def prepare(delivery: Delivery, asked: Iterable[tuple[Trigger, Line]], at: float) -> Prepared:
    """Name what is to be stored of a delivery."""
    wishes = tuple(Wish(conversation_id(t.thread), storable(t.meaning), t, asked_line, at) for t, asked_line in asked)
    return Prepared(storable(delivery.service), storable(delivery.id), storable(delivery.event), at, wishes)


def accept_group(connection: Connection, group: Sequence[Prepared]) -> list[Accepted]:
    """Store each delivery once by id and each wish once by meaning. Raises Overtaken."""
    stored, known = _seen(connection, group)
    new: dict[tuple[str, str], Prepared] = {}
    for delivery in group:
        if (delivery.service, delivery.id) not in stored:
            new.setdefault((delivery.service, delivery.id), delivery)
    firsts: dict[str, Wish] = {}
    for wish in (wish for delivery in new.values() for wish in delivery.wishes):
        if wish.meaning not in known:
            firsts.setdefault(wish.meaning, wish)
    asked = _place(connection, firsts.values()) if firsts else []
    _write(connection, new, asked)
    known |= {wish.meaning: (wish.conversation, seq, "asked") for wish, seq in asked}
    return [_accepted(delivery, firsts, known) for delivery in group]


Known = dict[str, tuple[str, int, str]]
"""Conversation, seq and phase of requests, by their meanings."""


def _seen(connection: Connection, group: Sequence[Prepared]) -> tuple[set[tuple[str, str]], Known]:
    """Return what is there: services and ids of deliveries, and wishes."""
    found = find(
        connection,
        ("id, service, 0, ''", deliveries, [{"service": delivery.service, "id": delivery.id} for delivery in group]),
        (
            "meaning, conversation_id, seq, phase",
            requests,
            [{"meaning": wish.meaning} for delivery in group for wish in delivery.wishes],
        ),
    )
    stored = {(service, name) for name, service, seq, _ in found if seq == 0}
    return stored, {meaning: (conversation, seq, phase) for meaning, conversation, seq, phase in found if seq > 0}


_ADVANCE = """
ON CONFLICT (id) DO UPDATE SET
    last_seq = conversations.last_seq + excluded.last_seq,
    updated_at = excluded.updated_at,
    status = CASE conversations.status WHEN 'running' THEN 'running' ELSE 'queued' END
RETURNING id, last_seq
"""
"""Makes room in conversations that are there; their status follows as `status_after` has it."""


def _place(connection: Connection, wishes: Iterable[Wish]) -> list[tuple[Wish, int]]:
    """Lock the conversations, made if need be, with room for the wishes at their ends. Return each wish with its seq."""
    by_conversation: dict[str, list[Wish]] = {}
    for wish in wishes:
        by_conversation.setdefault(wish.conversation, []).append(wish)
    rows = [_conversation_row(own) for _, own in sorted(by_conversation.items())]
    ends = dict(insert_or(connection, _ADVANCE, conversations, rows))
    return [
        (wish, seq)
        for conversation, own in by_conversation.items()
        for seq, wish in enumerate(own, ends[conversation] - len(own) + 1)
    ]


def _conversation_row(wishes: Sequence[Wish]) -> dict[str, Any]:
    first = wishes[0]
    return {
        "id": first.conversation,
        "thread": first.trigger.thread.key,
        "title": first.trigger.title,
        "status": "queued",
        "created_at": first.at,
        "updated_at": wishes[-1].at,
        "last_seq": len(wishes),
    }


def _write(connection: Connection, new: dict[tuple[str, str], Prepared], asked: Sequence[tuple[Wish, int]]) -> None:
    brought = [
        {"service": service, "id": name, "event": delivery.event, "received_at": delivery.at}
        for (service, name), delivery in sorted(new.items())
    ]
    noted = [request_row(wish.conversation, seq, wish.trigger, wish.at) for wish, seq in asked]
    noted.sort(key=lambda row: str(row["meaning"]))
    lines = [event_row(wish.conversation, seq, wish.at, wish.line) for wish, seq in asked]
    insert_all(connection, (deliveries, brought), (requests, noted), (events, lines))


def _accepted(delivery: Prepared, firsts: dict[str, Wish], known: Known) -> Accepted:
    there = [wish for wish in delivery.wishes if wish.meaning in known]
    fresh = [known[wish.meaning] for wish in there if firsts.get(wish.meaning) is wish]
    seen = [known[wish.meaning] for wish in there if firsts.get(wish.meaning) is not wish]
    return Accepted(
        tuple([(conversation, seq) for conversation, seq, _ in fresh]),
        tuple(dict.fromkeys(conversation for conversation, _, _ in seen)),
        tuple(dict.fromkeys((conversation, seq) for conversation, seq, phase in seen if phase == "asked")),
    )
