"""The jobs. Each is a few lines: it opens the door, calls a flow, and says when to come back."""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import Retry

from bot.core.errors import ProviderError
from bot.flows import desk, work
from bot.logs import bound

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 300.0
_LONGEST_PAUSE_OF_A_TOKEN = 3600.0
"""Seconds between two tries with a token that is not accepted: somebody has to renew it first."""


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


@asynccontextmanager
async def _door(ctx: dict[str, Any], conversation_id: str) -> AsyncIterator[None]:
    """The one catch-all of a job: log it with the conversation's id and come back later, ever more seldom."""
    growing = 2.0 ** min(ctx["job_try"], 12)
    pause = min(growing, _LONGEST_PAUSE)
    with bound(conversation=conversation_id):
        try:
            yield
        except Retry:
            raise
        except ProviderError as error:
            if error.word == "unauthorized":
                pause = min(growing, _LONGEST_PAUSE_OF_A_TOKEN)
            log.warning("the provider refused, trying again in %.0f s: %s", error.retry_after or pause, error)
            raise Retry(defer=error.retry_after or pause) from error
        except Exception as error:
            log.exception("job failed, trying again in %.0f s", pause)
            raise Retry(defer=pause) from error
