"""The jobs. Each is a few lines: it opens the door, calls a flow, and says when to come back."""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from arq import Retry

from bot.core.conversation import fold
from bot.core.errors import ProviderError, SandboxError
from bot.flows import desk, work
from bot.logs import bound

log = logging.getLogger(__name__)

SWEEP_AFTER = 15.0
"""Seconds after which a request that nobody holds is rung for again."""

_LONGEST_PAUSE = 300.0


async def acknowledge(ctx: dict[str, Any], conversation_id: str, seq: int) -> None:
    """Admit one request and say so where it was asked."""
    async with _door(ctx, conversation_id):
        await desk.acknowledge(ctx["services"], conversation_id, seq)


async def run_conversation(ctx: dict[str, Any], conversation_id: str) -> None:
    """Work off what is admitted in a conversation."""
    async with _door(ctx, conversation_id):
        holder = f"{ctx['worker']}/{uuid.uuid4().hex[:8]}"
        if busy_for := await work.run(ctx["services"], ctx["shop"], conversation_id, holder):
            raise Retry(defer=busy_for)


async def sweep(ctx: dict[str, Any]) -> None:
    """Ring again for requests that were left: after a lost Redis, a killed process, a provider that was away."""
    bus = ctx["services"].bus
    for conversation_id, seq, phase in await ctx["services"].inbox.unanswered(older_than=SWEEP_AFTER):
        if phase == "asked":
            await bus.acknowledge(conversation_id, seq)
        elif phase == "admitted":
            await bus.run(conversation_id, seq)


async def sweep_boxes(ctx: dict[str, Any]) -> None:
    """Remove the boxes that no run is using: of a worker that was killed between its run's end and the clearing up."""
    sandboxes = ctx["shop"].sandboxes
    for state, labels in await sandboxes.list():
        conversation_id = labels.get("conversation", "")
        with bound(conversation=conversation_id):
            events = await ctx["services"].log.read(conversation_id)
            if not events or fold(events).running():
                continue
            log.info("a box that nobody uses is removed")
            with suppress(SandboxError):
                await (await sandboxes.attach(state)).remove()


@asynccontextmanager
async def _door(ctx: dict[str, Any], conversation_id: str) -> AsyncIterator[None]:
    """The one catch-all of a job: log it with the conversation's id and come back later, ever more seldom."""
    pause = min(2.0 ** min(ctx["job_try"], 10), _LONGEST_PAUSE)
    with bound(conversation=conversation_id):
        try:
            yield
        except Retry:
            raise
        except ProviderError as error:
            log.warning("the provider refused, trying again in %.0f s: %s", error.retry_after or pause, error)
            raise Retry(defer=error.retry_after or pause) from error
        except Exception as error:
            log.exception("job failed, trying again in %.0f s", pause)
            raise Retry(defer=pause) from error
