"""The event log. Everything that is ever appended goes through here, and is masked here."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from bot.core.errors import Conflict
from bot.core.events import Asked, Called, Calling, Closed, Draft, Event, Fact, Source
from bot.core.wire import decode, encode
from bot.store.clean import Clean, storable
from bot.store.database import Database, execute_quickly, insert_new
from bot.store.projection import project
from bot.store.tables import conversations, events
from bot.store.whisper import Whisper

_GUARDS = (Asked, Calling, Called, Closed)
"""Facts that guard a side effect: forgotten in a power loss, something would be done twice or never."""

_FEW = 64
"""Events that are read without a thread: those that came since the last look."""


class Line(NamedTuple):
    """A draft ready to be stored: masked, and encoded outside of the transaction."""

    draft: Draft
    body: str


class SqlLog:
    """Implements the port EventLog. A conversation that is not there has last seq 0; its first append makes it."""

    def __init__(self, database: Database, clock: Callable[[], float], clean: Clean, whisper: Whisper) -> None:
        self._database, self._clock, self._clean, self._whisper = database, clock, clean, whisper

    async def append(self, conversation_id: str, drafts: Sequence[Draft], *, expected: int) -> list[Event]:
        if not drafts:
            return []
        at = self._clock()
        lines = [line(draft, self._clean) for draft in drafts]
        durable = any(isinstance(draft.fact, _GUARDS) for draft in drafts)
        appended = await self._database.write(
            lambda c: _append(c, conversation_id, expected, lines, at), durable=durable
        )
        self._whisper.tell(conversation_id, appended[-1].seq)
        return appended

    async def read(self, conversation_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        found = await self._read(conversation_id, after, _FEW if limit is None else min(_FEW, limit))
        if len(found) == _FEW and limit != _FEW:  # nothing changes in what was written, so it may be read in two parts
            found += await self._read(conversation_id, found[-1].seq, limit and limit - _FEW)
        return found

    async def _read(self, conversation_id: str, after: int, limit: int | None) -> list[Event]:
        parameters = {"of": conversation_id, "past": after, "most": sys.maxsize if limit is None else limit}
        return await self._database.read(
            lambda c: [_event(*row) for row in c.execute(_READ, parameters)], few=limit is not None and limit <= _FEW
        )


def line(draft: Draft, clean: Clean) -> Line:
    """Mask a draft and encode it."""
    shape: dict[str, Any] = {"source": draft.source}
    if draft.cause is not None:
        shape["cause"] = draft.cause
    if draft.call_id:
        shape["tool_call_id"] = draft.call_id
    shape |= encode(draft.fact)
    body, cleaned = clean.document(shape)
    return Line(draft if cleaned is shape else Draft(*_parts(cleaned)), body)


def event_row(conversation_id: str, seq: int, at: float, line: Line) -> dict[str, Any]:
    """Return the row of an event."""
    kind = storable(line.draft.fact.kind)
    return {"conversation_id": conversation_id, "seq": seq, "at": at, "kind": kind, "body": line.body}


def _make_conversation(connection: Connection, conversation_id: str, first: Draft, at: float) -> bool:
    """Whether there was none of this id or thread."""
    thread, title = _name(first, conversation_id)
    times = {"created_at": at, "updated_at": at}
    return insert_new(
        connection, conversations, id=conversation_id, thread=thread, title=title, status="queued", last_seq=0, **times
    )


_READ = (
    select(events.c.seq, events.c.at, events.c.body)
    .where(events.c.conversation_id == bindparam("of"), events.c.seq > bindparam("past"))
    .order_by(events.c.seq)
    .limit(bindparam("most"))
)
_INSERT = insert(events)
_ADVANCE = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"), conversations.c.last_seq == bindparam("expected"))
    .values(last_seq=bindparam("last"), updated_at=bindparam("now"))
)


def _append(connection: Connection, conversation_id: str, expected: int, lines: list[Line], at: float) -> list[Event]:
    step = {"of": conversation_id, "expected": expected, "last": expected + len(lines), "now": at}
    if not execute_quickly(connection, _ADVANCE, [step]):
        if expected or not _make_conversation(connection, conversation_id, lines[0].draft, at):
            found = connection.execute(
                select(conversations.c.last_seq).where(conversations.c.id == conversation_id)
            ).scalar()
            raise Conflict(conversation_id, expected, found or 0)
        return _append(connection, conversation_id, expected, lines, at)
    rows = [event_row(conversation_id, seq, at, line) for seq, line in enumerate(lines, expected + 1)]
    execute_quickly(connection, _INSERT, rows)
    written = [Event(expected + n, at, d.source, d.fact, d.cause, d.call_id) for n, (d, _) in enumerate(lines, 1)]
    project(connection, conversation_id, written)
    return written


def _name(draft: Draft, conversation_id: str) -> tuple[str, str]:
    if isinstance(draft.fact, Asked):
        return storable(draft.fact.trigger.thread.key), draft.fact.trigger.title
    return conversation_id, ""


def _event(seq: int, at: float, stored: str) -> Event:
    fact, source, cause, call_id = _parts(msgspec.json.decode(stored))
    return Event(seq, at, source, fact, cause, call_id)


def _parts(body: dict[str, Any]) -> tuple[Fact, Source, int | None, str]:
    """Return what stands in a body, in the order of a draft."""
    source, cause, call_id = body.pop("source", "environment"), body.pop("cause", None), body.pop("tool_call_id", "")
    return decode(body), source, cause, call_id
