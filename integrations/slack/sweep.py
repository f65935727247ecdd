"""What was said to us and did not arrive. Slack sends an event three times within some minutes, and then never again.

Seen are the channels that the bot is in: their messages since then, and answers in threads that began since then. A worker
does not know whether Slack reaches the web process, so it looks however well all seems to go.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

from bot.core import deliveries
from bot.core.errors import ProviderError
from bot.core.in_turn import each, given_up
from bot.core.inbound import Delivery, Thread
from bot.core.patience import patiently
from bot.core.ports import CaughtUp
from bot.core.secret import Secret
from integrations.slack import webhook
from integrations.slack.api import Api

AWAY = 1800.0
"""Seconds that a look goes back at least: each channel is a call, and Slack itself tries for some minutes."""

_KINDS = ("public_channel", "private_channel", "im", "mpim")
_PAGES, _PAGE = 5, 200
_LONGEST_PAUSE = 60.0
"""Slack lets some 50 channels a minute be read, and says how long to wait then."""


async def missed(api: Api, token: Secret, team: str, us: str, since: float) -> CaughtUp:
    """Return what asks for work among the messages since then (Unix seconds), oldest first. Raises ProviderError."""
    where = {"types": list(_KINDS), "exclude_archived": True}
    channels = [str(row.get("id", "")) async for row in _pages(api, token, "users_conversations", "channels", where)]
    found, failed = await each((_in_channel(api, token, channel, since) for channel in channels), given_up())
    said = sorted(chain(*found), key=lambda message: str(message.get("ts", "")))
    read = deliveries.missed(said, lambda message: _understood(team, us, message))
    begun = {Thread(webhook.SERVICE, f"{team}/{m['channel']}", str(m.get("ts"))) for m in said if m.get("user") == us}
    return CaughtUp(read=tuple(_said_to_us(read, begun)), failed=failed)


def _said_to_us(read: Iterable[Delivery], begun: set[Thread]) -> Iterator[Delivery]:
    """Leave out, of what is said oldest first, what was said in a thread before we were called into it, or began it."""
    for delivery in read:
        (trigger,) = delivery.triggers
        if trigger.by != "follow_up":
            begun.add(trigger.thread)
        if trigger.thread in begun:
            yield delivery


async def _in_channel(api: Api, token: Secret, channel: str, since: float) -> list[dict[str, Any]]:
    return [message async for message in _said_in(api, token, channel, since)]


async def _said_in(api: Api, token: Secret, channel: str, since: float) -> AsyncIterator[dict[str, Any]]:
    after = {"channel": channel, "oldest": f"{since:.6f}"}
    async for message in _pages(api, token, "conversations_history", "messages", after):
        yield {**message, "channel": channel}
        if message.get("reply_count"):
            thread = {**after, "ts": str(message.get("ts", ""))}
            async for reply in _pages(api, token, "conversations_replies", "messages", thread):
                if reply.get("ts") != message.get("ts"):
                    yield {**reply, "channel": channel}


def _understood(team: str, us: str, message: Mapping[str, Any]) -> Delivery:
    """Read a message as if it had just been delivered."""
    kind = "im" if message["channel"].startswith("D") else "channel"
    event = {**message, "type": "message", "channel_type": kind}
    ours = [{"user_id": us, "is_bot": True}]
    outer = {"type": "event_callback", "team_id": team, "event": event, "authorizations": ours}
    return webhook.parse(webhook.over_socket(outer))


async def _pages(
    api: Api, token: Secret, method: str, part: str, arguments: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    cursor = None
    for _ in range(_PAGES):
        ask = partial(api.call, token, method, **arguments, limit=_PAGE, cursor=cursor)
        try:
            page = await patiently(ask, _LONGEST_PAUSE)
        except ProviderError as error:
            if error.word not in ("missing", "forbidden") or part == "channels":
                raise
            return  # a channel that cannot be read hides no other
        for row in page.get(part) or []:
            yield row
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return
