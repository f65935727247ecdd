"""What the log's events do to the rows that lists and sweeps read. Part of the transaction that appends them."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from bot.core.events import Admitted, Asked, Closed, Event, Fact, RunStarted, Waiting
from bot.core.inbound import Trigger
from bot.store.clean import storable
from bot.store.database import insert_new
from bot.store.tables import conversations, requests

_PROJECTED = (Asked, Admitted, Waiting, Closed, RunStarted)


def project(connection: Connection, conversation_id: str, events: Iterable[Event]) -> None:
    """Carry the phases of requests and the status of the conversation on."""
    for event in events:
        if isinstance(event.fact, _PROJECTED):
            _note_phase(connection, conversation_id, event)
            _note_status(connection, conversation_id, event)


def request_row(conversation_id: str, seq: int, trigger: Trigger, at: float) -> dict[str, Any]:
    """Return the row that notes what was asked."""
    return {
        "conversation_id": conversation_id,
        "seq": seq,
        "meaning": storable(trigger.meaning),
        "service": storable(trigger.actor.service),
        "account": storable(trigger.actor.id),
        "place": storable(trigger.thread.place),
        "verb": trigger.request.verb,
        "phase": "asked",
        "asked_at": at,
        "admitted_at": None,
    }


def _note_phase(connection: Connection, conversation_id: str, event: Event) -> None:
    match event.fact:
        case Asked(trigger=trigger):
            insert_new(connection, requests, **request_row(conversation_id, event.seq, trigger, event.at))
        case Admitted(request=seq):
            _set_phase(connection, conversation_id, [seq], "admitted", admitted_at=event.at)
        case Waiting(request=seq):
            _set_phase(connection, conversation_id, [seq], "waiting")
        case Closed(requests=seqs):
            _set_phase(connection, conversation_id, seqs, "closed")


def _set_phase(connection: Connection, conversation_id: str, seqs: Sequence[int], phase: str, **more: float) -> None:
    row = (requests.c.conversation_id == conversation_id) & requests.c.seq.in_(seqs) & (requests.c.phase != "closed")
    connection.execute(update(requests).where(row).values(phase=phase, **more))


def _note_status(connection: Connection, conversation_id: str, event: Event) -> None:
    before = connection.execute(_STATUS, {"of": conversation_id}).scalar_one()
    phases = set(connection.execute(_OPEN_PHASES, {"of": conversation_id}).scalars())
    after = status_after(event.fact, before, phases)
    if after != before:
        connection.execute(_SET_STATUS, {"of": conversation_id, "after": after})


def status_after(fact: Fact, before: str, phases: set[str]) -> str:
    """Return a conversation's status after a fact, given the phases of the requests that are open then."""
    if isinstance(fact, RunStarted):
        return "running"
    if not phases:
        return (isinstance(fact, Closed) and fact.ending) or before
    if phases == {"waiting"}:
        return "waiting"
    return before if before == "running" else "queued"


_STATUS = select(conversations.c.status).where(conversations.c.id == bindparam("of"))
_SET_STATUS = update(conversations).where(conversations.c.id == bindparam("of")).values(status=bindparam("after"))
_OPEN_PHASES = (
    select(requests.c.phase)
    .distinct()
    .where(requests.c.conversation_id == bindparam("of"), requests.c.phase != "closed")
)
