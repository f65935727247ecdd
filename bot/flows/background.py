"""What was said in a thread before somebody asked: fetched once for a request, cut to a budget, and laid down as an event."""

import logging
from collections.abc import Iterable

from bot.core.conversation import RequestState
from bot.core.errors import ProviderError
from bot.core.events import Background, Draft
from bot.core.inbound import Image, Message
from bot.core.ports import Integration
from bot.core.untrusted import label, wrap
from bot.flows.identity import Token, patiently_with
from bot.flows.images import images_in
from bot.flows.runlog import ConversationLog

logger = logging.getLogger(__name__)

BUDGET = 8_000
"""Tokens of what is told of a thread, at about four characters each."""

_CHARACTERS_A_TOKEN = 4
_LONGEST = 16_000
"""Characters of one message; a longer one loses its middle."""
_LONGEST_NAME = 80


async def gather(log: ConversationLog, integration: Integration, request: RequestState, token: Token) -> None:
    """Lay down what was said since the last time, once for a request. A platform that does not tell is left out."""
    if log.state.background_for >= request.seq:
        return
    try:
        said = await patiently_with(token, lambda key: integration.context(request.trigger, key))
    except ProviderError as error:
        logger.warning("what was said before in %s cannot be read: %s", request.trigger.thread.key, error)
        return
    new = [message for message in said if not message.at or message.at > log.state.background_at]
    newest = max((message.at for message in new), default=log.state.background_at)
    kept, dropped = within_budget(new)
    images = _new_images(kept, {image.address for image in images_in(log.events)})
    await log.append(Draft(Background(request=request.seq, newest=newest, content=told(kept, dropped), images=images)))


def within_budget(newest_first: Iterable[Message], budget: int = BUDGET) -> tuple[list[Message], int]:
    """Return the newest messages that fit, oldest first, and how many do not."""
    left, kept, dropped = budget * _CHARACTERS_A_TOKEN, list[Message](), 0
    for message in newest_first:
        left -= len(_wrapped(message))
        if left < 0:
            dropped += 1
        else:
            kept.append(message)
    return kept[::-1], dropped


def told(messages: Iterable[Message], dropped: int) -> str:
    """Return messages as untrusted text, each whole or without its middle."""
    gap = [f"({dropped} earlier message{'s' if dropped != 1 else ''} left out to fit)"] if dropped else []
    return "\n".join([*gap, *map(_wrapped, messages)])


def _new_images(messages: Iterable[Message], known: set[str]) -> list[Image]:
    """Return each image once, under a name that can stand in a sentence of ours."""
    found = {m.image.address: m.image.name for m in messages if m.image}
    return [Image(label(name)[:_LONGEST_NAME], address) for address, name in found.items() if address not in known]


def _wrapped(message: Message) -> str:
    return wrap(f"message of {message.author}", _shortened(message.text))


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
