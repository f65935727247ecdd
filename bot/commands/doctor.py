"""`onhand doctor`: one line a check, and what to do about what is wrong."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import click
from msgspec import Struct

from bot import bootstrap
from bot.config import Settings
from bot.core.errors import OnhandError, Rejected
from bot.core.inbound import Inbound
from bot.core.ports import Integration
from bot.core.secret import Redactor


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
            unanswered = await built.services.inbox.unanswered(older_than=600)
            yield Finding("queue", not unanswered, f"{len(unanswered)} requests unanswered for ten minutes")
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


async def _platform(name: str, integration: Integration) -> AsyncIterator[Finding]:
    if integration.receives:
        yield _signed_test(name, integration)
    else:
        yield Finding(f"{name} intake", False, f"no endpoint; set ONHAND_{name.upper()}__WEBHOOK_SECRET")
    yield await _tried(f"{name} token", integration.check)


def _signed_test(name: str, integration: Integration) -> Finding:
    """Sign an empty event as the platform would, and take it in as the endpoint would."""
    now = time.time()
    body = b"{}"
    try:
        headers = {key.lower(): value for key, value in integration.sign(body, "ping", "doctor", now).items()}
        integration.parse(integration.verify(Inbound(headers, body), now))
    except Rejected as error:
        return Finding(f"{name} intake", False, str(error))
    return Finding(f"{name} intake", True, "a signed test event is accepted")


async def _tried(check: str, action: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(check, True, await action())
    except OnhandError as error:
        return Finding(check, False, str(error))
