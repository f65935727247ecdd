"""`onhand doctor`: one line a check, and what to do about what is wrong."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import click
from msgspec import Struct

from bot import bootstrap
from bot.config import Settings
from bot.core.errors import OnhandError, Rejected
from bot.core.ports import Integration, Listener, Sweep, as_sent
from bot.core.secret import Redactor

_WORKER_HEARD_WITHIN = 60.0
"""Seconds within which a worker has done some sweep: the most frequent is done every 10 s."""

_TURNS_MISSED = 4

_CLOCKS_APART = 30.0
"""Seconds by which the clock that a sweep was noted by may be ahead of ours without a word."""

_FOUND = {
    "requests": "requests that nobody was working on, rung for again",
    "positions": "places in the line, shown anew",
    "boxes": "boxes and containers that no run used, removed",
    "leases": "leases that killed workers left, cleared",
    "missed": "deliveries that had not arrived, sent again or fetched",
    "deliveries": "deliveries that no platform sends again any more, forgotten",
    "mirrors": "mirrors of repositories and left-over files in them that nobody used, removed",
}
"""What each sweep counts."""


class Finding(Struct, frozen=True):
    """What one check found."""

    check: str
    ok: bool
    detail: str


async def doctor(settings: Settings, as_json: bool) -> int:
    """Print every finding; return 1 if one is bad."""
    redactor = Redactor()
    bad = 0
    async for finding in _findings(settings, redactor):
        bad += not finding.ok
        detail = redactor(finding.detail)
        row = {"check": finding.check, "ok": finding.ok, "detail": detail}
        click.echo(json.dumps(row) if as_json else f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check:<18} {detail}")
    return 1 if bad else 0


async def _findings(settings: Settings, redactor: Redactor) -> AsyncIterator[Finding]:
    try:
        async with bootstrap.build(settings, redactor) as built:
            yield Finding("settings", True, f"data folder {settings.home}")
            for part, state in (await built.check()).items():
                yield Finding(part, state == "ok", state)
            yield _queue([phase for _, _, phase in await built.services.inbox.unanswered(older_than=600)])
            for finding in of_sweeps(await built.services.sweeps.list(), time.time()):
                yield finding
            for name, integration in built.services.integrations.items():
                async for finding in _platform(name, integration):
                    yield finding
            if not built.services.integrations:
                yield Finding(
                    "platforms", False, "none is configured; begin with ONHAND_GITHUB__WEBHOOK_SECRET and __TOKEN"
                )
    except OnhandError as error:
        yield Finding("settings", False, str(error))
    yield await _tried("sandbox", lambda: bootstrap.open_sandboxes(settings).check())
    model = settings.llm.model
    yield Finding("model", bool(model), model or "none; set ONHAND_LLM__MODEL and ONHAND_LLM__API_KEY")


def _queue(phases: Sequence[str]) -> Finding:
    """Say how many requests have been open for long. Those that wait for a person are none of the operator's."""
    waiting = phases.count("waiting")
    ours = len(phases) - waiting
    advice = "; where a token is not accepted, they are tried once an hour" if ours else ""
    people = f"; {waiting} wait for a person's account or answer" if waiting else ""
    return Finding("queue", not ours, f"{ours} requests unanswered for ten minutes{advice}{people}")


def of_sweeps(swept: Sequence[Sweep], now: float) -> Iterator[Finding]:
    """Say when each sweep was done last. The latest of all tells whether a worker is there, the others are compared with it."""
    from workers.sweeps import TURNS, every

    if not swept:
        yield Finding("worker", False, "none has swept here yet; start one: onhand up, or onhand worker")
        return
    future = [sweep for sweep in swept if sweep.at - now > _CLOCKS_APART]
    yield from (_future(sweep, now) for sweep in future)
    latest = max((sweep.at for sweep in swept if sweep not in future), default=0.0)
    is_there = now - latest < _WORKER_HEARD_WITHIN
    advice = "" if is_there else "; start one: onhand up, or onhand worker"
    heard = (
        f"the last sweep of any worker was {_ago(now - latest)}{advice}" if latest else "all sweeps lie in the future"
    )
    yield Finding("worker", is_there, heard)
    known = {sweep.name: sweep for sweep in swept}
    for sweep, turn in TURNS:
        if (last := known.get(sweep.__name__)) not in future:
            yield _sweep(sweep.__name__, last, every(turn), latest, now)


def _sweep(name: str, last: Sweep | None, every: float, latest: float, now: float) -> Finding:
    if last is None:
        return Finding(f"sweep {name}", True, f"not yet; its turn is every {every:.0f} s")
    detail = f"{_ago(now - last.at)}: found {last.found}, {last.total} in all ({_FOUND[name]})"
    if last.trouble:
        return Finding(f"sweep {name}", False, f"{detail}; it could not finish: {last.trouble}")
    if latest - last.at > _TURNS_MISSED * every + _WORKER_HEARD_WITHIN:
        return Finding(f"sweep {name}", False, f"{detail}; expected every {every:.0f} s; the worker's log says why not")
    return Finding(f"sweep {name}", True, detail)


def _future(last: Sweep, now: float) -> Finding:
    advice = "check the clock here and on the workers' machines (timedatectl); after one was set, the next turn puts it right"
    return Finding(f"sweep {last.name}", False, f"its last turn lies {_long(last.at - now)} in the future; {advice}")


def _ago(seconds: float) -> str:
    return f"{_long(max(seconds, 0.0))} ago"


def _long(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


async def _platform(name: str, integration: Integration) -> AsyncIterator[Finding]:
    if integration.receives:
        yield _signed_test(name, integration)
    elif isinstance(integration, Listener) and integration.listens:
        yield Finding(f"{name} intake", True, "over a connection of its own")
    else:
        yield Finding(f"{name} intake", False, f"no endpoint; set ONHAND_{name.upper()}__WEBHOOK_SECRET")
    yield await _tried(f"{name} token", integration.check)


def _signed_test(name: str, integration: Integration) -> Finding:
    """Sign an empty event as the platform would, and check it as the endpoint would; to read `{}` is not asked of a platform."""
    now = time.time()
    try:
        integration.verify(as_sent(integration, b"{}", "ping", "doctor", now), now)
    except Rejected as error:
        return Finding(f"{name} intake", False, str(error))
    return Finding(f"{name} intake", True, "a signed test event is accepted")


async def _tried(check: str, action: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(check, True, await action())
    except OnhandError as error:
        return Finding(check, False, str(error))
