"""The sweeps: what goes over the whole field every now and then and finds what was left lying. Each notes what it found."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any

from arq import cron
from arq.cron import CronJob

from bot.core.conversation import fold
from bot.core.errors import OnhandError, ProviderError, SandboxGone, Unavailable
from bot.core.in_turn import in_turn
from bot.core.inbound import Delivery
from bot.core.ports import InLine, Services, Workshop
from bot.flows import intake, positions
from bot.flows.report import HEARTBEAT
from bot.logs import bound

log = logging.getLogger(__name__)

ANSWERED_WITHIN = 15.0
"""Seconds after which a request that nobody holds is rung for again."""

DELIVERIES_KEPT = 7 * 86_400.0
"""Seconds for which a delivery is remembered; GitHub sends one again for up to 3 days."""

LEASE_FORGOTTEN = 60.0
"""Seconds after its end for which a lease may still be renewed by a holder that was held up."""

MIRRORS_KEPT = 30 * 86_400.0
"""Seconds for which the mirror of a repository is kept that nobody asks for."""

SHOWN_AFTER = 10.0
"""Seconds that a request waits before its place in the line is renewed."""

_SHOWN_AT_ONCE = 3
"""Places renewed in a turn: GitHub wants few edits a minute, whoever was not renewed for longest comes first."""

_LOOK_BACK = 3 * 86_400.0
"""Seconds that a look for missed deliveries goes back at most: what fails again and again is let go of then."""
_OVERLAP = 600.0
"""Seconds that a look for missed deliveries goes back before the last one: some fail late."""

Sweep = Callable[[Services, Workshop], Awaitable[int]]
"""Goes over its field once; returns how much it found to do."""


async def requests(services: Services, shop: Workshop) -> int:
    """Ring again for requests that were left: after a lost Redis, a killed process, a provider that was away.

    One that waits is rung for once its account is connected, and waits quietly again where that is not enough.
    """
    left = await services.inbox.unanswered(older_than=ANSWERED_WITHIN)
    for conversation_id, seq, phase in left:
        if phase in ("asked", "connected"):
            await services.bus.acknowledge(conversation_id, seq)
        elif phase in ("admitted", "begun"):
            await services.bus.run(conversation_id, seq, begun=phase == "begun")
    return sum(phase != "waiting" for _, _, phase in left)


async def boxes(services: Services, shop: Workshop) -> int:
    """Remove the boxes that no run is using: of a worker that was killed between its run's end and the clearing up."""
    found = await shop.sandboxes.list()
    return await in_turn(_removed(services, shop, box, labels.get("conversation", "")) for box, labels in found)


async def _removed(services: Services, shop: Workshop, box: str, conversation_id: str) -> bool:
    """Remove a box unless it is in use, or begun for the run that comes next."""
    with bound(conversation=conversation_id):
        events = await services.log.read(conversation_id)
        if not events or (state := fold(events)).running() or state.open("asked", "admitted"):
            return False
        log.info("a box that nobody uses is removed")
        with suppress(SandboxGone):  # its run was quicker
            await shop.sandboxes.remove(box)
            return True
        return False


class Positions:
    """Renews the place in the line in the status of requests that wait. What it showed last, it remembers for this worker alone."""

    __name__ = "positions"

    def __init__(self) -> None:
        self._shown: dict[InLine, tuple[float, int]] = {}
        """When, and which place."""
        self._tried: dict[InLine, float] = {}
        """When, whatever came of it."""
        self._not_before: dict[str, float] = {}
        """Until when, in Unix seconds, a platform wants to be left alone."""

    async def __call__(self, services: Services, shop: Workshop) -> int:
        line, now = await services.queue.line(), services.clock()
        self._shown = {waiting: self._shown[waiting] for waiting in line if waiting in self._shown}
        changed = [
            (waiting, ahead)
            for ahead, waiting in enumerate(line)
            if waiting.since < now - SHOWN_AFTER and self._is_news(waiting, ahead, now)
        ]
        self._tried = {waiting: self._tried.get(waiting, 0.0) for waiting in line}
        changed.sort(key=lambda place: self._tried[place[0]])
        await in_turn(self._show(services, waiting, ahead, now) for waiting, ahead in changed[:_SHOWN_AT_ONCE])
        return len(changed)

    async def _show(self, services: Services, waiting: InLine, ahead: int, now: float) -> bool:
        if now < self._not_before.get(waiting.service, 0.0):  # it has said so in this turn
            return False
        self._tried[waiting], shown = now, False
        with bound(conversation=waiting.conversation_id):
            try:
                shown = await positions.show(services, waiting, ahead)
            except ProviderError as error:
                log.info("the place in the line could not be shown: %s", error)
                self._not_before[waiting.service] = now + min(error.retry_after or 0.0, HEARTBEAT)
        if shown:
            self._shown[waiting] = (now, ahead)
        return shown

    def _is_news(self, waiting: InLine, ahead: int, now: float) -> bool:
        at, shown = self._shown.get(waiting, (0.0, -1))
        return now >= self._not_before.get(waiting.service, 0.0) and (shown != ahead or now - at >= HEARTBEAT)


async def deliveries(services: Services, shop: Workshop) -> int:
    """Forget deliveries that no provider sends again any more."""
    return await services.inbox.forget(DELIVERIES_KEPT)


async def leases(services: Services, shop: Workshop) -> int:
    """Clear the leases of workers that were killed and whose conversations nobody had to go on with."""
    return await services.leases.clear(LEASE_FORGOTTEN)


async def mirrors(services: Services, shop: Workshop) -> int:
    """Tidy this machine's mirrors of repositories."""
    return await shop.checkout.tidy(MIRRORS_KEPT)


async def missed(services: Services, shop: Workshop) -> int:
    """Have the platforms send again what did not reach us while we were away.

    What was said before the first look at a platform is nobody's wish of us; after that each look begins where the last
    good one at the same platform ended.
    """
    looked = {sweep.name: sweep.at for sweep in await services.sweeps.list()}
    return await in_turn(_missed_at(services, platform, looked) for platform in services.integrations)


async def _missed_at(services: Services, platform: str, looked: Mapping[str, float]) -> int:
    name, now = f"missed at {platform}", services.clock()
    if name not in looked:
        await services.sweeps.note(name, 0)
    since = min(looked.get(name, now), now) - _OVERLAP  # it lies in the future when the clock was set back
    caught = await services.integrations[platform].catch_up(max(since, now - _LOOK_BACK))
    again = caught.sent_again + await in_turn(_taken(services, delivery) for delivery in caught.read)
    if caught.failed is not None:
        raise caught.failed
    if not caught.put_off:
        await services.sweeps.note(name, again)
    return again


async def _taken(services: Services, delivery: Delivery) -> bool:
    return (await intake.accept(services, delivery)).status == "accepted"


TURNS: tuple[tuple[Sweep, dict[str, Any]], ...] = (
    (requests, {"second": set(range(0, 60, 10)), "run_at_startup": True}),
    (Positions(), {"second": set(range(0, 60, 10)), "run_at_startup": True}),
    (boxes, {"second": 5}),
    (leases, {"second": 5}),
    (missed, {"minute": set(range(0, 60, 5)), "second": 15, "run_at_startup": True}),
    (deliveries, {"minute": 7, "second": 25}),
    (mirrors, {"minute": 37, "second": 45}),
)
"""Every sweep, and when it is its turn."""


def cron_jobs() -> list[CronJob]:
    """Return the sweeps as arq's cron jobs: of all workers together, one does each turn.

    Neighbours that have the same turn are one job: each job is twenty commands to Redis, found something or not.
    """
    shared = [(turn, [sweep for sweep, _ in rows]) for turn, rows in groupby(TURNS, itemgetter(1))]
    return [cron(_job(sweeps), name=f"sweep:{'+'.join(s.__name__ for s in sweeps)}", **turn) for turn, sweeps in shared]


def every(turn: Mapping[str, Any]) -> float:
    """Return the seconds between two turns."""
    seconds, minutes = turn["second"], turn.get("minute")
    if minutes is not None:
        return 3600.0 / (len(minutes) if isinstance(minutes, set) else 1)
    return 60.0 / (len(seconds) if isinstance(seconds, set) else 1)


def _job(sweeps: Sequence[Sweep]) -> Any:
    """Return the coroutine function of the job, as arq wants it."""

    async def job(ctx: dict[str, Any]) -> None:
        for sweep in sweeps:
            await _sweep(sweep, ctx["services"], ctx["shop"])

    return job


async def _sweep(sweep: Sweep, services: Services, shop: Workshop) -> None:
    """Do it and note what it found, or what kept it from it."""
    found, trouble = 0, ""
    try:
        found = await sweep(services, shop)
    except Exception as error:
        trouble = f"{type(error).__name__}: {error}"
        known = isinstance(error, OnhandError)
        log.warning("the sweep of %s was cut short: %s", sweep.__name__, trouble, exc_info=not known)
    try:
        await services.sweeps.note(sweep.__name__, found, trouble)
    except Unavailable as error:
        log.warning("what the sweep of %s found cannot be noted: %s", sweep.__name__, error)
