"""What operators and load balancers look at: /health, /ready, /metrics, and the page behind a connect link."""

import shlex
from html import escape
from typing import Annotated

from litestar import HttpMethod, MediaType, Response, get, route
from litestar.datastructures import State
from litestar.params import QueryParameter

from bot.auth import multi_user, tickets
from bot.core.errors import Refused
from bot.web.gauges import gauges
from bot.web.metrics import Metrics
from bot.web.webhooks import RETRY

_PROBED = (HttpMethod.GET, HttpMethod.HEAD)
"""Load balancers ask for one or the other."""


@route("/health", http_method=_PROBED, tags=["service"])
async def health() -> dict[str, str]:
    """Say that the process is alive."""
    return {"status": "ok"}


@route("/ready", http_method=_PROBED, tags=["service"])
async def ready(state: State) -> Response[dict[str, str]]:
    """Say whether the database and Redis take what they are given."""
    found = await state.built.check()
    well = all(v == "ok" for v in found.values())
    return Response(found, status_code=200 if well else 503, headers={} if well else RETRY)


@get("/metrics", media_type=MediaType.TEXT, tags=["service"])
async def metrics(state: State) -> bytes:
    """Return what this process counted and what is open, in Prometheus' text format."""
    counters: Metrics = state.metrics
    return counters.text() + await gauges(state.services, state.built.bus)


@get("/api/auth/connect", media_type=MediaType.HTML, tags=["service"])
async def connect(state: State, ticket: Annotated[str, QueryParameter(max_length=2000)] = "") -> Response[str]:
    """Show how the account named in a signed link is connected."""
    try:
        subject = tickets.redeem(state.built.key, multi_user.CONNECT, ticket, state.services.clock())
        account = multi_user.from_subject(subject)
    except Refused as error:
        return Response(_page(escape(error.text)), status_code=400)
    command = f"onhand users link {shlex.quote(f'{account.service}:{account.login}')} --id {shlex.quote(account.id)}"
    named = f"<b>{escape(account.login)}</b> ({escape(account.service)} {escape(account.id)})"
    text = f"To connect the account {named}, ask whoever runs onhand for:"
    return Response(_page(f"{text}<pre>{escape(command)}</pre>What you asked for goes on by itself after that."))


def _page(text: str) -> str:
    return f"<!doctype html><meta charset=utf-8><title>onhand</title><h1>onhand</h1><p>{text}</p>"
