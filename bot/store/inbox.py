"""Deliveries on their way to become work: stored once by id and once by meaning, before the provider is answered."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace
from sqlalchemy import ColumnElement, case, delete, select

from bot.core.batches import Batches
from bot.core.errors import Unavailable
from bot.core.events import Asked, Draft
from bot.core.inbound import Account, Delivery, Thread, Trigger
from bot.core.ports import Accepted
from bot.store import leases
from bot.store.acceptance import Prepared, accept_group, prepare
from bot.store.bulk import Overtaken
from bot.store.clean import Clean, storable
from bot.store.database import Database
from bot.store.log import Line, line
from bot.store.tables import conversations, deliveries, requests
from bot.store.whisper import Whisper

_LARGEST_GROUP = 256
_TRIES = 10
_PATIENCE = 6.0
"""A database that has not taken a delivery by then says nothing: one that is locked is given up before. GitHub waits 10 s."""


class SqlInbox:
    """Implements the port Inbox."""

    def __init__(self, database: Database, clock: Callable[[], float], clean: Clean, whisper: Whisper) -> None:
        self._database, self._clock, self._clean, self._whisper = database, clock, clean, whisper
        self._groups = Batches(self._store_all, _LARGEST_GROUP, _PATIENCE)

    async def accept(self, delivery: Delivery) -> Accepted:
        """See the port. Deliveries that come at once share a commit."""
        at = self._clock()
        asked = [self._prepare(trigger) for trigger in delivery.triggers]
        try:
            accepted = await self._groups.do(prepare(delivery, asked, at))
        except TimeoutError:
            silent = f"the database has said nothing for {_PATIENCE:.0f} s; it may be stored, send it again"
            raise Unavailable(silent) from None
        for conversation, seq in accepted.fresh:
            self._whisper.tell(conversation, seq)
        return accepted

    async def unanswered(self, older_than: float) -> list[tuple[str, int, str]]:
        now = self._clock()
        query = (
            select(requests.c.conversation_id, requests.c.seq, _phase_of_open())
            .join(conversations, conversations.c.id == requests.c.conversation_id)
            .where(
                requests.c.phase != "closed",
                # one that was asked in the future was stored by a machine whose clock is ahead, nobody knows how old it is
                (requests.c.asked_at <= now - older_than) | (requests.c.asked_at > now),
                leases.free(),
            )
            .order_by(requests.c.asked_at, requests.c.conversation_id, requests.c.seq)
        )
        return await self._database.read(lambda connection: [tuple(row) for row in connection.execute(query)])

    async def waiting_for(self, account: Account) -> list[tuple[str, int]]:
        query = (
            select(requests.c.conversation_id, requests.c.seq)
            .where(
                requests.c.phase.in_(("waiting", "connected")),
                requests.c.service == account.service,
                requests.c.account == account.id,
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

    async def _store_all(self, group: Sequence[Prepared]) -> Sequence[Accepted | Exception]:
        try:
            return await self._store(group)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 -- raised to whose delivery it was; it spoils no other
            if len(group) == 1:
                return [error]
            return [one for delivery in group for one in await self._store_all([delivery])]

    async def _store(self, group: Sequence[Prepared]) -> list[Accepted]:
        for _ in range(_TRIES):
            with suppress(Overtaken):
                return await self._database.write(lambda connection: accept_group(connection, group))
        raise Unavailable(f"other processes were quicker {_TRIES} times with the same requests; try again")


def _phase_of_open() -> ColumnElement[str]:
    begun = (requests.c.phase == "admitted") & (conversations.c.status == "running")
    return case((begun, "begun"), else_=requests.c.phase)
