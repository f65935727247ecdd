"""What was said in a thread before somebody asked: fetched once for a request, cut to a budget, and laid down as an event."""

import logging
from collections.abc import Iterable

from bot.core.conversation import RequestState
from bot.core.errors import ProviderError
from bot.core.events import Background, Draft
from bot.core.inbound import Message
from bot.core.ports import Integration
from bot.core.untrusted import wrap
from bot.flows.identity import Token
from bot.flows.report import patiently
from bot.flows.runlog import ConversationLog

logger = logging.getLogger(__name__)

BUDGET = 8_000
"""Tokens of what is told of a thread, at about four characters each."""

_CHARACTERS_A_TOKEN = 4
_LONGEST = 16_000
"""Characters of one message; a longer one loses its middle."""


async def gather(log: ConversationLog, integration: Integration, request: RequestState, token: Token) -> None:
    """Lay down what was said since the last time, once for a request. A platform that does not tell is left out."""
    if log.state.background_for >= request.seq:
        return
    try:
        said = await patiently(lambda: _context(integration, request, token))
    except ProviderError as error:
        logger.warning("what was said before in %s cannot be read: %s", request.trigger.thread.key, error)
        return
    new = [message for message in said if not message.at or message.at > log.state.background_at]
    newest = max((message.at for message in new), default=log.state.background_at)
    await log.append(Draft(Background(request=request.seq, newest=newest, content=within_budget(new))))


async def _context(integration: Integration, request: RequestState, token: Token) -> Iterable[Message]:
    return await integration.context(request.trigger, await token())


def within_budget(newest_first: Iterable[Message], budget: int = BUDGET) -> str:
    """Return the messages as untrusted text, oldest first: the newest ones that fit, each whole or without its middle."""
    left, kept, dropped = budget * _CHARACTERS_A_TOKEN, list[str](), 0
    for message in newest_first:
        text = wrap(f"message of {message.author}", _shortened(message.text))
        left -= len(text)
        if left < 0:
            dropped += 1
        else:
            kept.append(text)
    if dropped:
        kept.append(f"({dropped} earlier message{'s' if dropped != 1 else ''} left out to fit)")
    return "\n".join(reversed(kept))


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
