"""The place where a run works: a box with the working copy in it, made while the platforms are asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from bot.core.conversation import RunState
from bot.core.errors import ProviderError, SandboxError, SandboxGone
from bot.core.events import Boxed, Draft, Notice
from bot.core.inbound import Trigger
from bot.core.patience import patiently
from bot.core.ports import Sandbox, Services, Workshop
from bot.flows.ahead import discard, labels_of
from bot.flows.identity import Grant
from bot.flows.runlog import ConversationLog
from bot.flows.tenure import end
from bot.flows.workplace import Workplace, find_workplace, start_from

logger = logging.getLogger(__name__)

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds to wait for what starts boxes: an engine that is started anew takes all its boxes with it."""
_LOST = "The sandbox was lost. This is a new one with a fresh working copy; what was not pushed is gone."


class Site:
    """One run's box and workplace, in the hands of one worker."""

    def __init__(self, services: Services, shop: Workshop, log: ConversationLog, trigger: Trigger) -> None:
        self._services, self._shop, self._log, self._trigger = services, shop, log, trigger
        self._coming: asyncio.Task[Sandbox] | None = None
        """An empty box, until `_new_box` has furnished it."""
        self._finding: asyncio.Task[Workplace] | None = None
        """Where the work goes; `_workplace` takes it over."""
        self._box: Sandbox | None = None
        self._place: Workplace | None = None

    # --- what may be begun early

    def make_ready(self) -> None:
        """Begin an empty box."""
        self._coming = self._make_box()

    def look(self, grant: Grant) -> None:
        """Begin to read where the work goes."""
        if self._finding is None:
            self._finding = asyncio.create_task(self._find(grant))

    # --- while it works

    async def enter(self, grant: Grant) -> Sandbox:
        """Return the run's box with the working copy in it: the one it has, else a new one. Raises UserError, OnhandError."""
        if self._box is not None:
            return self._box
        lost = False
        if (boxed := self._log.state.box) is not None:
            self._place = await self.place(grant)
            try:
                box = await self._started(lambda: self._attach(boxed))
            except SandboxGone:
                if self._run.outcome is not None:
                    raise
                lost = self._run.steps > 0
            else:
                await box.resume()  # in case somebody has stopped it
                await box.interrupt()  # an earlier holder that only sleeps has its command running still
                self._box = box
                return box
        return await self._new_box(grant, lost)

    async def place(self, grant: Grant) -> Workplace:
        """Return the workplace as it was when the box was made. Raises Refused, ProviderError."""
        if self._place is None:
            place, boxed = await self._workplace(grant), self._log.state.box
            if boxed:
                inside = boxed.at_head and f"change:{boxed.branch}" not in self._log.state.topics
                inside = inside or place.inside_change
                place = replace(place, base=boxed.base, branch=boxed.branch, inside_change=inside)
            self._place = place
        return self._place

    async def lose(self) -> None:
        """Let go of a box that died: who enters has it started again with its files, or replaced where they are gone."""
        box, self._box = self._box, None
        if box is not None:
            await box.close()

    async def interrupt(self) -> None:
        """End the command that is running in the box; in one that died, none is."""
        if self._box is not None:
            with suppress(SandboxGone):
                await self._box.interrupt()

    # --- afterwards

    async def leave(self) -> None:
        """Let go of the box, which stays, and of what was begun and not used."""
        if self._finding is not None:
            await end(self._finding)
        if self._coming is not None:
            await asyncio.shield(discard(self._coming))
        await self.lose()

    async def clear(self) -> None:
        """Remove the box: whatever was worth keeping has been pushed."""
        if (boxed := self._log.state.box) is None:
            return
        try:
            await self._shop.sandboxes.remove(boxed.state)
        except SandboxError as error:
            logger.warning("the box of %s is left to the sweep: %s", self._log.conversation_id, error)
        await self._log.append(Draft(Boxed(sandbox=boxed.sandbox, state="")))

    # --- inside

    @property
    def _run(self) -> RunState:
        run = self._log.state.run
        assert run is not None, "a run has begun"
        return run

    async def _workplace(self, grant: Grant) -> Workplace:
        finding, self._finding = self._finding, None
        if finding is not None:
            with suppress(ProviderError):  # then it is asked for once more, and patiently
                return await finding
        return await patiently(lambda: self._find(grant))

    async def _find(self, grant: Grant) -> Workplace:
        return await find_workplace(self._services, self._log.state, self._trigger, grant)

    def _make_box(self) -> asyncio.Task[Sandbox]:
        return asyncio.create_task(self._shop.sandboxes.create(labels_of(self._log.conversation_id)))

    async def _arrival(self) -> Sandbox:
        """Return the box that is coming; one that could not be made is made anew. Raises as `Sandboxes.create`."""
        if self._coming is None or (self._coming.done() and self._coming.exception()):
            self._coming = self._make_box()
        return await asyncio.shield(self._coming)

    async def _attach(self, boxed: Boxed) -> Sandbox:
        """Connect to the box again. Raises SandboxGone as well where boxes are of another kind now: no other can start it."""
        if boxed.sandbox != self._shop.sandboxes.name:
            raise SandboxGone(f"the box is of {boxed.sandbox}, and boxes are of {self._shop.sandboxes.name} now")
        return await self._shop.sandboxes.attach(boxed.state)

    async def _started(self, start: Callable[[], Awaitable[Sandbox]]) -> Sandbox:
        """Return a box when it can be started. Raises SandboxGone at once; SandboxError when it could not for half a minute."""
        for pause in _PAUSES:
            try:
                return await start()
            except SandboxGone:
                raise
            except SandboxError as error:
                logger.warning("a box of %s cannot be started now: %s", self._log.conversation_id, error)
                await asyncio.sleep(pause)
        return await start()

    async def _new_box(self, grant: Grant, lost: bool) -> Sandbox:
        """Make a box, and fetch the code meanwhile."""
        checkout = self._shop.checkout
        self._coming = self._coming or self._make_box()
        try:
            place = await self._workplace(grant)
            self._place = place = await start_from(checkout, place, grant)
            self._box = box = await self._started(self._arrival)
            await checkout.put(place.source, place.base, place.branch, box, place.author, place.co_author)
        except BaseException:
            coming, self._box, self._coming = self._coming, None, None
            await asyncio.shield(discard(coming))
            raise
        self._coming = None
        kind, at_head = self._shop.sandboxes.name, place.at_head(self._log.state)
        boxed = Boxed(sandbox=kind, state=box.state, base=place.base, branch=place.branch, at_head=at_head)
        news = [Draft(Notice(content=_LOST, reason="sandbox_lost"))] if lost else []
        await self._log.append(Draft(boxed), *news)
        return box
