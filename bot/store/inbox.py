"""Deliveries on their way to become work: stored once by id and once by meaning, before the provider is answered."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, select, update

from bot.core.conversation import conversation_id
from bot.core.events import Asked, Draft
from bot.core.inbound import Account, Delivery, Thread, Trigger
from bot.core.ports import Accepted
from bot.store.clean import Clean, storable
from bot.store.database import Database, clock_of_database, insert_new
from bot.store.log import Line, line, make_conversation, write_events
from bot.store.projection import note_request, status_after
from bot.store.tables import conversations, deliveries, requests
from bot.store.whisper import Whisper


class SqlInbox:
    """Implements the port Inbox."""

    def __init__(self, database: Database, clock: Callable[[], float], clean: Clean, whisper: Whisper) -> None:
        self._database, self._clock, self._clean, self._whisper = database, clock, clean, whisper

    async def accept(self, delivery: Delivery) -> Accepted:
        """See the port. Raises Unavailable: then nothing of it is stored."""
        at = self._clock()
        asked = [self._prepare(trigger) for trigger in sorted(delivery.triggers, key=lambda t: t.thread.key)]
        accepted = await self._database.write(lambda connection: _accept(connection, delivery, asked, at))
        for conversation, seq in accepted.fresh:
            self._whisper.tell(conversation, seq)
        return accepted

    async def unanswered(self, older_than: float) -> list[tuple[str, int, str]]:
        now = self._clock()
        query = (
            select(requests.c.conversation_id, requests.c.seq, requests.c.phase)
            .join(conversations, conversations.c.id == requests.c.conversation_id)
            .where(
                requests.c.phase != "closed",
                # one that was asked in the future was stored by a machine whose clock is ahead, nobody knows how old it is
                (requests.c.asked_at <= now - older_than) | (requests.c.asked_at > now),
                conversations.c.lease_until.is_(None) | (conversations.c.lease_until <= clock_of_database()),
            )
            .order_by(requests.c.asked_at, requests.c.conversation_id, requests.c.seq)
        )
        return await self._database.read(lambda connection: [tuple(row) for row in connection.execute(query)])

    async def waiting_for(self, account: Account) -> list[tuple[str, int]]:
        query = (
            select(requests.c.conversation_id, requests.c.seq)
            .where(
                requests.c.phase == "waiting", requests.c.service == account.service, requests.c.account == account.id
            )
            .order_by(requests.c.asked_at, requests.c.seq)
        )
        return await self._database.read(lambda connection: [tuple(row) for row in connection.execute(query)])

    async def forget(self, older_than: float) -> int:
        old = delete(deliveries).where(deliveries.c.received_at < self._clock() - older_than)
        return await self._database.write(lambda connection: connection.execute(old).rowcount, durable=False)

    def _prepare(self, trigger: Trigger) -> tuple[Trigger, Line]:
        thread = trigger.thread
        thread = Thread(storable(thread.service), storable(thread.place), storable(thread.item))
        trigger = replace(trigger, thread=thread, title=self._clean(trigger.title))
        return trigger, line(Draft(Asked(trigger=trigger), source="user"), self._clean)


def _accept(connection: Connection, delivery: Delivery, asked: list[tuple[Trigger, Line]], at: float) -> Accepted:
    event = storable(delivery.event)
    key = {"service": storable(delivery.service), "id": storable(delivery.id)}
    if not insert_new(connection, deliveries, **key, event=event, received_at=at):
        return _seen_before(connection, delivery.triggers)
    fresh, known = [], []
    for trigger, asked_line in asked:
        conversation = conversation_id(trigger.thread)
        seq = _ask(connection, conversation, trigger, asked_line, at)
        if seq:
            fresh.append((conversation, seq))
        else:
            known.append(trigger)
    return replace(_seen_before(connection, known), fresh=tuple(fresh))


def _ask(connection: Connection, conversation: str, trigger: Trigger, asked: Line, at: float) -> int:
    """Return the seq of the new Asked event, 0 if the same was asked before. Locks the conversation's row."""
    make_conversation(connection, conversation, trigger.thread.key, trigger.title, at)
    last, status = connection.execute(_LOCK, {"of": conversation}).one()
    if not note_request(connection, conversation, last + 1, trigger, at):
        return 0
    status = status_after(asked.draft.fact, status, {"asked"})
    connection.execute(_ADVANCE, {"of": conversation, "last": last + 1, "now": at, "after": status})
    [event] = write_events(connection, conversation, last, [asked], at)
    return event.seq


_LOCK = (
    select(conversations.c.last_seq, conversations.c.status)
    .where(conversations.c.id == bindparam("of"))
    .with_for_update()
)
_ADVANCE = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(last_seq=bindparam("last"), updated_at=bindparam("now"), status=bindparam("after"))
)


def _seen_before(connection: Connection, triggers: Sequence[Trigger]) -> Accepted:
    if not triggers:
        return Accepted()
    query = select(requests.c.conversation_id, requests.c.seq, requests.c.phase)
    found = connection.execute(query.where(requests.c.meaning.in_([storable(t.meaning) for t in triggers]))).all()
    unanswered = tuple((conversation, seq) for conversation, seq, phase in found if phase == "asked")
    return Accepted(known=tuple(dict.fromkeys(row[0] for row in found)), unanswered=unanswered)
