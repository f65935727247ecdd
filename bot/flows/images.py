"""The images of a thread that a run's model is shown: fetched when the run begins or goes on, and kept nowhere.

The log holds their addresses alone. What cannot be shown is noted once, for the model and for the person who asked.
"""

import asyncio
from collections.abc import Iterable, Sequence

from bot.core.errors import ProviderError, UserError
from bot.core.events import Background, Draft, Event, Notice
from bot.core.images import LARGEST, LEFT_OUT, MOST, REFUSED, as_url
from bot.core.inbound import Image
from bot.core.ports import Illustrated, Integration
from bot.flows.identity import Token, patiently_with
from bot.flows.runlog import ConversationLog


def images_in(events: Iterable[Event]) -> list[Image]:
    """Return every image that a conversation knows of, oldest first."""
    return [image for event in events if isinstance(event.fact, Background) for image in event.fact.images]


async def fetch(log: ConversationLog, integration: Integration, token: Token) -> dict[str, str]:
    """Return the newest images as data URLs by their addresses; none where this run's model has refused them before."""
    newest = images_in(log.events)[-MOST:]
    if not newest or not isinstance(integration, Illustrated) or _refused(log):
        return {}
    answers = await asyncio.gather(*(_fetched(integration, image, token) for image in newest))
    troubles = [f"{image.name} ({why})" for image, (_, why) in zip(newest, answers, strict=True) if why]
    if older := _images_now(log.events)[:-MOST]:
        troubles.append(f"{len(older)} older image{'s' if len(older) > 1 else ''} (only the newest {MOST} are)")
    if troubles:
        await _note(log, f"Not looked at: {', '.join(troubles)}.")
    return {image.address: url for image, (url, _) in zip(newest, answers, strict=True) if url}


async def _fetched(integration: Illustrated, image: Image, token: Token) -> tuple[str, str]:
    """Return an image's data URL, or why there is none."""
    try:
        return as_url(await patiently_with(token, lambda key: integration.image(image, LARGEST + 1, key))), ""
    except UserError as error:
        return "", error.text
    except ProviderError:
        return "", "could not be fetched"


async def _note(log: ConversationLog, text: str) -> None:
    if not any(isinstance(event.fact, Notice) and event.fact.content == text for event in log.events):
        await log.append(Draft(Notice(reason=LEFT_OUT, content=text)))


def _images_now(events: Sequence[Event]) -> list[Image]:
    """Those that came with the latest request."""
    return next((event.fact.images for event in reversed(events) if isinstance(event.fact, Background)), [])


def _refused(log: ConversationLog) -> bool:
    since = log.state.run.seq if log.state.run else 0
    return any(isinstance(event.fact, Notice) and event.fact.reason == REFUSED for event in log.events[since:])
