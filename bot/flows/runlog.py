"""One conversation's log in the hands of one writer: appends at the end, and notices when another holder has taken over."""

import asyncio
import logging
from collections.abc import Sequence

from bot.core.conversation import State
from bot.core.errors import Conflict, LeaseLost, Unavailable
from bot.core.events import Called, Calling, Closed, Draft, Event, RunStarted
from bot.core.ports import EventLog

logger = logging.getLogger(__name__)

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds to wait for a database that is away, each beside what it takes to find that out."""


class ConversationLog:
    """Implements the port RunLog. `holder` names the run attempt; without one the writer is the front desk, which is never fenced.

    The log itself is the fence: once a RunStarted of another holder stands in it, every write of this one raises LeaseLost.
    """

    def __init__(self, log: EventLog, conversation_id: str, holder: str = "") -> None:
        self.conversation_id, self.holder = conversation_id, holder
        self.events: list[Event] = []
        self.state = State()
        self.changed = asyncio.Event()
        """Set whenever events came in; whoever waits for it clears it."""
        self._successor = ""
        """The holder that has gone on in our place."""
        self._log = log
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def open(cls, log: EventLog, conversation_id: str, holder: str = "") -> "ConversationLog":
        """Read a conversation's log from its beginning."""
        opened = cls(log, conversation_id)
        await opened.refresh()
        opened.holder = holder  # what stands there already was written before us
        return opened

    @property
    def news_at(self) -> float:
        """When something new last happened, in Unix seconds: to make a call, or to go on with a run, is nothing new."""
        return next((event.at for event in reversed(self.events) if _is_news(event)), 0.0)

    async def refresh(self) -> list[Event]:
        """Take in and return what others have added."""
        async with self._one_at_a_time:
            return await self._catch_up()

    async def append(self, *drafts: Draft) -> list[Event]:
        """Add events at the end, wherever that has moved to. A run waits for a database that is away: what it has was paid for.

        Raises Unavailable, LeaseLost.
        """
        async with self._one_at_a_time:
            pauses = iter(_PAUSES if self.holder else ())
            doubtful = behind = False
            while True:
                try:
                    if behind:
                        added = (await self._catch_up())[: len(drafts)]
                        if doubtful and len(added) == len(drafts) and all(map(_are_one, added, drafts)):
                            return added  # it was stored, and only the answer was lost
                        doubtful = behind = False
                    return await self._append(drafts)
                except Conflict:
                    behind = True
                except Unavailable as error:
                    if (pause := next(pauses, None)) is None:
                        raise
                    logger.warning(
                        "what conversation %s was told waits for the database: %s", self.conversation_id, error
                    )
                    doubtful = doubtful or not behind
                    await asyncio.sleep(pause)

    async def claim(self, topic: str) -> bool:
        """Note that the call of this topic is about to be made. False if somebody has noted it before."""
        async with self._one_at_a_time:
            while topic not in self.state.topics:
                try:
                    await self._append([Draft(Calling(topic=topic))])
                    return True
                except Conflict:
                    await self._catch_up()
        return False

    async def _append(self, drafts: Sequence[Draft]) -> list[Event]:
        self._require_lease()
        return self._take(await self._log.append(self.conversation_id, drafts, expected=self.state.seq))

    async def _catch_up(self) -> list[Event]:
        return self._take(await self._log.read(self.conversation_id, after=self.state.seq))

    def _take(self, events: list[Event]) -> list[Event]:
        for event in events:
            self.state.apply(event)
            self.events.append(event)
            if self.holder and isinstance(event.fact, RunStarted) and event.fact.holder != self.holder:
                self._successor = event.fact.holder
        if events:
            self.changed.set()
        self._require_lease()
        return events

    def _require_lease(self) -> None:
        """Raise LeaseLost from when another holder was seen on: each task of this one has to hear of it."""
        if self._successor:
            raise LeaseLost(f"{self._successor} goes on with conversation {self.conversation_id}")


def _are_one(event: Event, draft: Draft) -> bool:
    """Whether the event is what became of the draft; words may be masked in it, but nobody else writes those of a run."""
    alike = event.fact.kind == draft.fact.kind and not isinstance(draft.fact, Calling | Called | Closed)
    return event.cause == draft.cause and event.call_id == draft.call_id and (alike or event.fact == draft.fact)


def _is_news(event: Event) -> bool:
    goes_on = isinstance(event.fact, RunStarted) and event.fact.resumed
    return not goes_on and not isinstance(event.fact, Calling | Called)
