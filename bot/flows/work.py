"""A run: take the lease, prepare the box, let the agent work, deliver, show the ending, look for more."""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace as with_fields
from typing import Any, TypeVar

import msgspec

from bot.agent import loop
from bot.core.conversation import RequestState, RunState, State
from bot.core.errors import (
    LeaseLost,
    NeedsAccount,
    OnhandError,
    ProviderError,
    SandboxError,
    SandboxGone,
    Unavailable,
    UserError,
)
from bot.core.events import Closed, Draft, RunEnded, RunStarted
from bot.core.outbound import Outcome, Status
from bot.core.patience import patiently
from bot.core.ports import Limits, Model, Sandbox, Services, Workshop
from bot.flows import images
from bot.flows.background import gather
from bot.flows.deliver import Delivered, deliver, hand_out, handed_out
from bot.flows.desk import answer_late_ones
from bot.flows.identity import Grant, Token, admit, bots_token
from bot.flows.landing import Landing
from bot.flows.report import TROUBLE, Reporter, keep_posted, post_no_more, quiet_minutes, standing, stop_outcome
from bot.flows.runlog import ConversationLog
from bot.flows.site import Site
from bot.flows.tenure import end, under_lease
from bot.flows.whereabouts import known
from bot.flows.workplace import Workplace

logger = logging.getLogger(__name__)

T = TypeVar("T")

COMES_BACK = 3600.0
"""Seconds since something new last happened for which a run comes back to a platform that may come right again."""
_REVIVALS = 3
"""How often a box that died is started again, for a run's work and for handing it out: something in it may kill it each time."""

_WAITING = "the platform is busy or away; I try again by myself"
_DISK_FULL = "My disk is full. Whoever runs onhand has to make room; then write `retry`."


async def run(services: Services, shop: Workshop, conversation_id: str, worker: str) -> float:
    """Work off everything that is admitted in a conversation, in the name of a worker.

    Returns 0.0 when nothing is left, else the seconds after which another holder's lease may be free.
    """

    async def work(holder: str) -> None:
        log = await ConversationLog.open(services.log, conversation_id, holder)
        while requests := to_answer(log.state):
            await Run(services, shop, log, requests).carry_out()
            await log.refresh()
        await answer_late_ones(services, log)

    while True:
        busy_for = await under_lease(services, conversation_id, worker, work)
        state = (await ConversationLog.open(services.log, conversation_id)).state
        if busy_for:  # where all is answered, several that come to see so need not stand in line for it
            return busy_for if state.open("admitted") else 0.0
        if not to_answer(state):
            return 0.0


def to_answer(state: State) -> list[RequestState]:
    """Return the requests that a run has to answer now: those of a run that was cut off, else the next ones."""
    if state.running() and state.run is not None:
        return [state.requests[seq] for seq in state.run.requests if state.requests[seq].phase != "closed"]
    return state.for_one_run()


class Run:
    """One run in this worker's hands, from its first event or from where another worker was cut off."""

    def __init__(self, services: Services, shop: Workshop, log: ConversationLog, requests: list[RequestState]) -> None:
        self._services, self._shop, self._log = services, shop, log
        self._requests, self._main = requests, requests[0]
        self._integration = services.integrations[requests[0].trigger.thread.service]
        self._site = Site(services, shop, log, requests[0].trigger)

    async def carry_out(self) -> None:
        """Take the run to its one ending. Raises ProviderError when that cannot be shown now; carried out again, it goes on."""
        await self._begin()
        if self._log.state.box is None and self._state.outcome is None and not self._log.state.stop_asked():
            self._site.make_ready()
        try:
            grant, delivered = await self._patient_work()
            await self._show_ending(grant, delivered)
        except UserError as error:  # the right or the account was taken away meanwhile
            await self._refuse(error)
        finally:
            await self._site.leave()
            for integration in self._services.integrations.values():
                await integration.give_back(self._state.id)
        if not to_answer(self._log.state):
            await self._site.clear()

    @property
    def _state(self) -> RunState:
        state = self._log.state.run
        assert state is not None, "a run has begun"
        return state

    async def _begin(self) -> None:
        resumed = self._log.state.running()
        run_id = self._state.id if resumed else f"{self._log.conversation_id[:8]}-{self._main.seq}"
        requests = [r.seq for r in self._requests]
        started = RunStarted(run=run_id, holder=self._log.holder, requests=requests, resumed=resumed)
        await self._log.append(Draft(started))
        logger.info("run %s %s", run_id, "goes on" if resumed else "begins", extra={"run": run_id})

    async def _admit(self) -> Grant:
        """Ask again who may, and read beside it where the work goes: whether it is done is then up to the answer."""
        repository = known(self._log.state, self._main.trigger)
        return await admit(self._services, self._main.trigger, repository, self._state.id, self._site.look)

    async def _refuse(self, error: UserError) -> None:
        """Say why it does not go on. Raises ProviderError where that cannot be said now: we may be let in again."""
        logger.info("run %s is refused: %s", self._state.id, error)
        if token := await bots_token(self._services, self._main.trigger.thread, self._state.id):
            text = error.ended if isinstance(error, NeedsAccount) else error.text
            delivered = Delivered(Outcome("refused", error.word, text))
            await self._reporter(token).show(self._main, self._standing(delivered))
        elif self._services.clock() - self._log.news_at < COMES_BACK:
            raise ProviderError("forbidden", f"run {self._state.id} cannot be ended with a word: {error}")
        else:
            logger.warning("run %s ends without a word in %s: %s", self._state.id, self._main.trigger.thread.key, error)
        await self._log.append(Draft(Closed(requests=[self._main.seq], ending="refused")))

    # --- the agent at work

    async def _patient_work(self) -> tuple[Grant, Delivered]:
        """Ask who may, and work; where the platform has to be waited for, say so, if it takes that. Raises UserError."""
        grant = None
        try:
            grant = await patiently(self._admit)
            return grant, await self._work(grant)
        except ProviderError:
            with suppress(ProviderError):
                thread, status = self._main.trigger.thread, msgspec.structs.replace(self._standing(), step=_WAITING)
                if token := grant.token if grant else await bots_token(self._services, thread, self._state.id):
                    await self._reporter(token).show(self._main, status)
            raise

    async def _work(self, grant: Grant) -> Delivered:
        """Let the agent come to its outcome (unless it has), then deliver what it made."""
        if self._state.outcome is None:
            outcome = await self._guarded(self._agent_outcome(grant))
            await self._log.append(Draft(RunEnded(run=self._state.id, outcome=outcome)))
        outcome, landing = self._state.outcome or Outcome("failed", "internal"), None
        try:
            if self._log.state.box is None:
                return Delivered(outcome)
            place = await self._site.place(grant)
            landing = await self._landing(place, grant, outcome)
            return await deliver(self._services, self._log, place, landing, grant, outcome)
        except Exception as error:  # noqa: BLE001  the request must have an ending whatever happens
            return Delivered(self._naming_the_branch(self._outcome_of(error), landing))

    def _naming_the_branch(self, outcome: Outcome, landing: Landing | None) -> Outcome:
        """Return the ending of work that could not be shown, with where it is if it was pushed."""
        landed = landing or self._state.landed
        if landed is None or not landed.branch:
            return outcome
        return msgspec.structs.replace(outcome, text=f"{outcome.text} The work is on the branch `{landed.branch}`.")

    async def _landing(self, place: Workplace, grant: Grant, outcome: Outcome) -> Landing | None:
        checkout = self._shop.checkout
        if before := await handed_out(checkout, self._log.state, place):
            return before
        if not self._wants_changes():
            return None
        return await self._surviving(
            grant, lambda box: hand_out(self._services, checkout, self._log, place, box, grant, outcome)
        )

    def _wants_changes(self) -> bool:
        """Whether anything beside a plan was asked for, of what this run answers."""
        return any(r.needs_run and r.trigger.request.verb != "plan" for r in self._answered())

    async def _guarded(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        try:
            return await work
        except Exception as error:  # noqa: BLE001  the request must have an ending whatever happens
            return self._outcome_of(error)

    def _outcome_of(self, error: Exception) -> Outcome:
        """Say an error as an ending. Raises it again when this run is not ours to end, or when coming back later helps."""
        if isinstance(error, LeaseLost | Unavailable) or self._may_come_right(error):
            raise error
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full and self._state.outcome:
            raise Unavailable("the worker's disk is full, and work is to be delivered") from error
        logger.warning("run %s: %s", self._state.id, error, exc_info=not isinstance(error, OnhandError))
        match error:
            case UserError(word=word, text=text):
                return Outcome("refused", word, text)
            case ProviderError(word=word):
                return Outcome("failed", f"provider_{word}", TROUBLE[word])
            case SandboxError():
                return Outcome("failed", "sandbox", "The sandbox failed. Write `retry` to start again in a new one.")
            case OSError() if full:
                return Outcome("failed", "disk_full", _DISK_FULL)
        return Outcome("failed", "internal", f"Something went wrong on my side. The run is {self._state.id}.")

    def _may_come_right(self, error: Exception) -> bool:
        """Whether to come back for a platform that is busy or away: not for ever, and not where somebody wants an end."""
        if not isinstance(error, ProviderError) or not error.worth_retrying or self._log.state.stop_asked():
            return False
        return self._services.clock() - self._log.news_at < COMES_BACK

    async def _agent_outcome(self, grant: Grant) -> Outcome:
        if stop := self._log.state.stop_asked():
            return stop_outcome(stop)
        model = self._shop.model(self._main.trigger.request.options.get("model", ""))
        shown = asyncio.create_task(keep_posted(self._log, lambda: self._show_progress(grant)))
        stopped = asyncio.create_task(self._until_stop())
        agent = asyncio.create_task(self._agent(grant, model))
        try:
            done, _ = await asyncio.wait({agent, stopped, shown}, return_when=asyncio.FIRST_COMPLETED)
            if stopped in done and agent not in done:
                await end(agent)
                await self._site.interrupt()
                return stopped.result()
            return agent.result() if agent in done else _never(shown.result())
        finally:
            await end(agent, stopped)
            await post_no_more(shown)

    async def _agent(self, grant: Grant, model: Model) -> Outcome:
        told = asyncio.create_task(self._told(grant))
        limits, tools, clock = _limits(self._shop.limits, self._main), self._shop.tools, self._services.clock

        async def at_work(box: Sandbox) -> Outcome:
            return await loop.work(self._log, model, tools, box, limits, clock, await told)

        try:
            return await self._surviving(grant, at_work)
        finally:
            await end(told)

    async def _surviving(self, grant: Grant, work: Callable[[Sandbox], Awaitable[T]]) -> T:
        """Do something in the run's box, again where the box dies meanwhile. Raises SandboxGone when it dies ever again."""
        for _ in range(_REVIVALS):
            try:
                return await work(await self._site.enter(grant))
            except SandboxGone as gone:
                logger.warning("the box of run %s died: %s", self._state.id, gone)
                await self._site.lose()
        return await work(await self._site.enter(grant))

    async def _told(self, grant: Grant) -> Mapping[str, str]:
        """Have what was said in the thread before in the log, and return its images."""
        await gather(self._log, self._integration, self._main, grant.token)
        return await images.fetch(self._log, self._integration, grant.token)

    async def _until_stop(self) -> Outcome:
        async for _ in self._services.bus.follow(self._log.conversation_id):
            try:
                await self._log.refresh()
            except Unavailable as error:  # a database away for a moment need not cut a command off
                logger.warning("cannot look for a stop: %s", error)
            if stop := self._log.state.stop_asked():
                return stop_outcome(stop)
        raise AssertionError("the bus never stops")

    # --- what people see

    async def _show_progress(self, grant: Grant) -> None:
        quiet = quiet_minutes(self._log.news_at, self._services.clock())
        status = msgspec.structs.replace(self._standing(), quiet_minutes=quiet)
        await self._reporter(grant.token).show(self._main, status)

    async def _show_ending(self, grant: Grant, delivered: Delivered) -> None:
        """Show the ending once for every request that this run has answered, then close them."""
        answered = self._answered()
        status = self._standing(delivered)
        reporter = self._reporter(grant.token)
        for request in answered:
            if request is self._main or f"status:{request.seq}" in self._log.state.topics:
                await reporter.show(request, status)
                status = msgspec.structs.replace(status, patch="", commits=())  # said once
        await self._log.append(Draft(Closed(requests=[r.seq for r in answered], ending=delivered.outcome.ending)))

    def _answered(self) -> list[RequestState]:
        """The run's own requests, those that the model still took in or that came before a stop, and the stops."""
        more = self._log.state.open("admitted")
        stop = self._log.state.stop_asked()
        known = stop.seq if stop and self._state.outcome and self._state.outcome.ending == "stopped" else 0
        more = [r for r in more if not r.needs_run or r.admitted_seq <= self._state.known_seq or r.seq < known]
        return self._requests + [r for r in more if r not in self._requests]

    def _standing(self, delivered: Delivered | None = None) -> Status:
        run, tasks = self._state, self._log.state.tasks
        shown = standing(run, tasks)
        if delivered is not None:
            shown = standing(run, tasks, delivered.outcome, delivered.change_url, delivered.patch, delivered.patch_flaw)
        message = self._log.state.topics.get(f"status:{self._main.seq}")
        commits = [*run.heads, delivered.commit] if delivered and delivered.commit else run.heads
        url = message.url if message else ""
        return msgspec.structs.replace(shown, message_url=url, commits=tuple(dict.fromkeys(commits)))

    def _reporter(self, token: Token) -> Reporter:
        return Reporter(self._log, self._integration, token, self._services.clock)


def _limits(limits: Limits, request: RequestState) -> Limits:
    try:
        budget = float(request.trigger.request.options.get("budget", "").lstrip("$"))
    except ValueError:
        return limits
    return with_fields(limits, cost_usd=min(limits.cost_usd, budget)) if budget > 0 else limits


def _never(_: None) -> Outcome:
    raise AssertionError("progress is shown until it is cancelled")
