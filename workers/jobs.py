"""The jobs. Each is a few lines: it opens the door, calls a flow, and says when to come back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import Retry

from bot.core.errors import ProviderError, Unavailable
from bot.flows import desk, work
from bot.flows.tenure import LEFT_WHILE_RENEWED
from bot.logs import bound

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 300.0
_OUR_OWN_PAUSE = 10.0
"""The longest pause when it was our own database or Redis that was away: asking it is cheap, and people wait."""
_UNAUTHORIZED_PAUSE = 3600.0
"""The longest pause when the token was not accepted: nothing can be said with it, and only a person can change that."""
_TOLD_PAUSE = 3600.0
"""The longest pause that a platform can ask for: a limit's window is an hour, and a time far off may be a mistake."""


async def acknowledge(ctx: dict[str, Any], conversation_id: str, seq: int) -> None:
    """Admit one request and say so where it was asked."""
    async with _door(ctx, conversation_id):
        await desk.acknowledge(ctx["services"], conversation_id, seq, ctx.get("boxes"))


async def run_conversation(ctx: dict[str, Any], conversation_id: str) -> None:
    """Work off what is admitted in a conversation.

    One that another works on is left to it. Where that one is gone, the end of its lease is waited for right here: whoever
    steps back gives up its room to those that wait, and may get another only when a run of theirs has ended.
    """
    async with _door(ctx, conversation_id):
        while busy_for := await work.run(ctx["services"], ctx["shop"], conversation_id, ctx["worker"]):
            if busy_for >= LEFT_WHILE_RENEWED:
                ctx["step_back"]()
                raise Retry(defer=busy_for)
            await asyncio.sleep(busy_for)


@asynccontextmanager
async def _door(ctx: dict[str, Any], conversation_id: str) -> AsyncIterator[None]:
    """The one catch-all of a job: log it with the conversation's id and come back later, ever more seldom."""
    with bound(conversation=conversation_id):
        try:
            yield
        except Retry:
            raise
        except Exception as error:
            wait = _pause(error, ctx["job_try"])
            if isinstance(error, ProviderError | Unavailable):
                log.warning("trying again in %.0f s: %s", wait, error)
            else:
                log.exception("job failed, trying again in %.0f s", wait)
            raise Retry(defer=wait) from error


def _pause(error: Exception, tries: int) -> float:
    """Return the seconds after which to come back, after so many tries: the platform's own if it names any."""
    named = error.retry_after if isinstance(error, ProviderError) else None
    return min(named, _TOLD_PAUSE) if named else min(2.0 ** min(tries, 12), _longest_pause(error))


def _longest_pause(error: Exception) -> float:
    if isinstance(error, Unavailable):
        return _OUR_OWN_PAUSE
    refused = isinstance(error, ProviderError) and error.word == "unauthorized"
    return _UNAUTHORIZED_PAUSE if refused else _LONGEST_PAUSE
