"""Showing how things stand, at the provider: each topic once, edits coalesced. The one place that knows about receipts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from bot.core.conversation import RequestState, RunState
from bot.core.errors import ProviderError, Unavailable, UserError
from bot.core.events import Called, Draft
from bot.core.outbound import Call, OpenChange, Outcome, React, Receipt, Status, Task
from bot.core.ports import Integration
from bot.core.secret import Secret
from bot.flows.identity import Token, patiently_with
from bot.flows.runlog import ConversationLog
from bot.flows.tenure import end

log = logging.getLogger(__name__)

EDIT_EVERY = 5.0
"""Seconds between two edits of a status message; GitHub allows about 500 content-creating requests an hour."""

HEARTBEAT = 20 * 60.0
"""Seconds of silence after which a status is shown again; Linear takes an agent for dead after 30 minutes."""

_LAST_WORD = 25.0
"""Seconds that an edit which is under way may hold an ending up: as long as a platform's client waits for an answer."""

_REFUSED = 30.0
"""Seconds for which an ending is said again to a platform that refuses it: it may be in the middle of something."""
_IN_FLIGHT = 10.0
"""Seconds for which a call that was begun may yet be carried out, though its answer was lost and nothing is to be found."""
_ANOTHERS = 7.0
"""The same for a call that another has begun, from when it is met: 2 to 3 s have passed since that one was last seen alive."""

TROUBLE = {
    "unauthorized": "My token was not accepted. Whoever runs onhand has to renew it; then write `retry`.",
    "forbidden": "My token does not have the right for this. Whoever runs onhand has to widen it; then write `retry`.",
    "missing": "The repository or branch could not be found with my token.",
    "conflict": "Somebody else pushed to the branch meanwhile. I never overwrite work; write `retry` to start from the new state.",
    "invalid": "The platform did not accept what I sent. Whoever runs onhand finds the reason in the log.",
    "limited": "The platform's rate limit is used up. Write `retry` a little later.",
    "unavailable": "The platform did not answer. Write `retry` when it is back.",
}
"""What to tell people when a provider's API refuses for good, by the error's word."""


def standing(
    run: RunState,
    tasks: tuple[Task, ...],
    outcome: Outcome | None = None,
    change_url: str = "",
    patch: str = "",
    patch_flaw: str = "",
) -> Status:
    """Return what people see of a run: how far it is, or with an outcome how it ended."""
    return Status(
        "ended" if outcome else "running",
        run_id=run.id,
        tasks=tasks,
        step=run.last_step,
        steps=run.steps,
        cost_usd=run.cost_usd,
        outcome=outcome,
        change_url=change_url,
        patch=patch,
        patch_flaw=patch_flaw,
        unseen=run.unseen,
    )


def stop_outcome(stop: RequestState) -> Outcome:
    """Return the ending of what somebody has stopped."""
    return Outcome("stopped", "stop_requested", f"Stopped, as {stop.trigger.actor.shown} asked.")


class Reporter:
    """Performs the calls of one conversation with one token."""

    def __init__(
        self, log: ConversationLog, integration: Integration, token: Token, clock: Callable[[], float]
    ) -> None:
        self._log, self._integration, self._token, self._clock = log, integration, token, clock
        self._tried: dict[str, float] = {}
        """When what was begun was last given up without an answer, or met here, by topic; 0.0 where it was refused."""

    async def perform(self, call: Call) -> Receipt:
        """Do a call so that its topic has its effect exactly once, however often this is repeated and wherever it was cut off.

        A topic with a receipt is renewed (edited), by a run alone: the front desk begins a message and leaves it to the run. One
        that was begun without a receipt, by this very call too, is looked for first, and made again only when it can hardly be
        under way any more. Raises ProviderError, LeaseLost.
        """
        return await patiently_with(self._token, lambda token: self._try(call, token))

    async def _try(self, call: Call, token: Secret) -> Receipt:
        """One try. What stands in the log is read just before, so that a holder that slept through its lease says nothing."""
        await self._log.refresh()
        known = self._log.state.topics.get(call.topic)
        if known is not None and not self._log.holder:
            return known
        found = None
        if known is None and not await self._log.claim(call.topic):
            found = await self._lookup(call, token)
        if found is not None and isinstance(call, OpenChange):
            done = found  # merged or closed meanwhile, it is the one that was wanted all the same
        else:
            done = await self._perform(call, known or found, token)
        if done != known:
            await self._log.append(Draft(Called(topic=call.topic, receipt=done)))
        return done

    async def _perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        try:
            return await self._integration.perform(call, receipt, token)
        except ProviderError as error:
            self._tried[call.topic] = self._clock() if error.word == "unavailable" else 0.0
            raise

    async def _lookup(self, call: Call, token: Secret) -> Receipt | None:
        receipt = self._log.state.topics.get(call.topic)  # it may have come with the refused claim
        if receipt is not None:
            return receipt
        met_before, now = call.topic in self._tried, self._clock()
        # since when another is at it only that one's clock says, which may be another time of day
        rest = self._tried.setdefault(call.topic, now + _ANOTHERS - _IN_FLIGHT) + _IN_FLIGHT - now
        in_flight = 0 < rest <= _IN_FLIGHT
        if self._log.holder or met_before or not in_flight:  # else somebody else is at it
            receipt = await self._integration.find(call, token)
        if receipt is None and in_flight:
            raise ProviderError("unavailable", f"{call.topic} may be under way still", retry_after=rest)
        return receipt

    async def say(self, call: Call, since: float = 0.0) -> None:
        """Perform a call that only tells something. A thread that will never take it (locked, deleted) is given up, and logged.

        `since` is when there was this to say, in Unix seconds, where no later message would say it: then it is given up only
        _REFUSED seconds later. Raises ProviderError where coming back later may help, a token that was not accepted among it.
        """
        try:
            await self.perform(call)
        except ProviderError as error:
            if error.may_pass or self._clock() - since < _REFUSED:
                raise
            log.error("%s cannot be said in %s: %s", call.topic, call.thread.key, error)

    async def show(self, request: RequestState, status: Status, topic: str = "") -> None:
        """Make the status message of a request (or the message of another topic) say how it stands. Raises ProviderError."""
        topic = topic or f"status:{request.seq}"
        lasts = status.state in ("ended", "asking")
        for call in self._integration.render(request.trigger, status, topic):
            await self.say(call, self._log.news_at if lasts and call.topic == topic else 0.0)

    async def react(self, request: RequestState) -> None:
        """Put the eyes on the message that asked. Twice is harmless there, and a provider that cannot is no reason to stop."""
        trigger = request.trigger
        call = React(topic=f"react:{request.seq}", thread=trigger.thread, origin=trigger.origin)
        if call.topic not in self._log.state.topics:
            with suppress(ProviderError):
                receipt = await self._integration.perform(call, None, await self._token())
                await self._log.append(Draft(Called(topic=call.topic, receipt=receipt)))


def quiet_minutes(since: float, now: float) -> int:
    """Return the whole heartbeats from one Unix time to the other, in minutes."""
    return int(max(0.0, now - since) // HEARTBEAT * HEARTBEAT) // 60


async def _to_its_end(show: Callable[[], Awaitable[None]]) -> None:
    """Call `show`; cancelled meanwhile, wait for what cannot be called back: it must not arrive after the ending."""
    showing = asyncio.ensure_future(show())
    try:
        await asyncio.shield(showing)
    except asyncio.CancelledError:
        await asyncio.wait({showing}, timeout=_LAST_WORD)
        raise
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def post_no_more(posting: "asyncio.Task[Any]") -> None:
    """End what `keep_posted` does, when the edit that is under way has arrived. Who is cancelled meanwhile ends it soon."""
    posting.cancel()
    try:
        await asyncio.wait({posting}, timeout=2 * _LAST_WORD)
    finally:
        await end(posting)


async def keep_posted(
    log_: ConversationLog,
    show: Callable[[], Awaitable[None]],
    every: float = EDIT_EVERY,
    heartbeat: float = HEARTBEAT,
) -> None:
    """Call `show` at once and then whenever the log has grown, at most once in `every` seconds, until cancelled.

    When the log has not grown for a `heartbeat`, in seconds, it is called as well. A platform that asks to wait is left alone
    for as long, at most for a heartbeat.
    """
    while True:
        log_.changed.clear()
        pause = every
        try:
            await _to_its_end(show)
        except (
            ProviderError,
            UserError,
            Unavailable,
        ) as error:  # progress is a courtesy; the ending is not shown from here
            log.warning("the status message could not be edited: %s", error)
            if isinstance(error, ProviderError) and error.retry_after:  # whoever does not wait may be shut out
                pause = max(every, min(error.retry_after, heartbeat))
        await asyncio.sleep(pause)
        with suppress(TimeoutError):
            async with asyncio.timeout(heartbeat):
                await log_.changed.wait()
