"""`onhand config`, `show` and `replay`: looking at what is there, and sending what was recorded."""

import json
import textwrap
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import click
import httpx

from bot import bootstrap, config
from bot.config import Settings
from bot.core.conversation import conversation_id, fold
from bot.core.errors import ConfigError, UserError
from bot.core.inbound import Thread
from bot.core.platform import endpoint
from bot.core.ports import as_sent
from bot.core.secret import Redactor
from bot.core.wire import to_wire


def show_settings(settings: Settings, as_json: bool) -> None:
    """Print every setting in force."""
    bootstrap.check(settings)
    rows = [*config.rows(settings, settings.origins)]
    for name, integration in bootstrap.integration_settings(settings).items():
        rows += config.rows(integration, settings.origins, f"{name}.")
    if as_json:
        names = ("name", "value", "from", "meaning")
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
        return
    width = max(len(row[0]) for row in rows)
    for name, value, origin, _ in rows:
        click.echo(f"{name:<{width}}  {value or '-'}  ({origin})")


async def show_conversation(settings: Settings, name: str, as_json: bool) -> None:
    """Print the events of a conversation."""
    async with bootstrap.build(settings, Redactor()) as built:
        wanted = conversation_id(_thread(name)) if "#" in name else name
        record = await built.services.conversations.get(wanted)
        if record is None:
            raise UserError("missing", f"there is no conversation {name!r}")
        events = await built.services.log.read(wanted)
    if as_json:
        for event in events:
            click.echo(json.dumps(to_wire(event)))
        return
    state = fold(events)
    click.echo(f"{record.thread}  {record.title}\n{record.status}, {len(events)} events, {state.cost_usd:.4f} USD\n")
    for event in events:
        wire = to_wire(event)
        kind = wire.get("action") or wire.get("observation")
        said = wire.get("content") or json.dumps(wire.get("args") or wire.get("extras"))
        text = textwrap.shorten(said, 160, placeholder=" ...")
        click.echo(f"{event.seq:>5}  {wire['timestamp'][11:19]}  {event.source:<11} {kind:<16} {text}")


async def replay(
    settings: Settings, service: str, files: Sequence[Path], event: str | None, url: str | None
) -> list[tuple[Path, int, str]]:
    """Sign each file as the platform would and post it; return (file, HTTP status, answer)."""
    integrations = bootstrap.integrations(settings)
    if service not in integrations:
        raise ConfigError(f"{service!r} is not configured; set ONHAND_{service.upper()}__WEBHOOK_SECRET")
    target = url or endpoint(f"http://{settings.host}:{settings.port}", service)
    answers = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for file in files:
            name = event or file.name.partition("__")[0].partition(".")[0]
            sent = as_sent(integrations[service], file.read_bytes(), name, str(uuid.uuid4()), time.time())
            try:
                answer = await client.post(target, content=sent.body, headers=dict(sent.headers))
            except httpx.HTTPError as error:
                raise UserError("unreachable", f"{target} does not answer: {error}") from error
            answers.append((file, answer.status_code, answer.text))
    return answers


def _thread(name: str) -> Thread:
    service, _, rest = name.partition(":")
    place, _, item = rest.rpartition("#")
    return Thread(service, place, item)
