"""What was said in a thread: its newest messages, and the texts that were attached to them."""

from collections.abc import AsyncIterator
from typing import Any

from bot.core.errors import ProviderError
from bot.core.inbound import Message, Trigger
from bot.core.secret import Secret
from integrations.slack.api import Api
from integrations.slack.mrkdwn import to_markdown
from integrations.slack.webhook import address

_PAGE, _PAGES = 200, 10
"""Messages a page, and pages that are read: the list comes oldest first."""
_MESSAGES = 100
_ATTACHMENTS, LARGEST = 10, 100_000
"""Text attachments that are read, and bytes of each."""
_TEXTS = ("text/", "application/json", "application/xml", "application/x-yaml", "application/toml")


async def newest(api: Api, token: Secret, channel: str, root: str, until: str = "") -> list[dict[str, Any]]:
    """Return up to 100 messages of a thread, newest first, none of them later than `until`. Raises ProviderError."""
    said: list[dict[str, Any]] = []
    more: dict[str, Any] = {"latest": until, "inclusive": True} if until else {}
    for _ in range(_PAGES):
        found = await api.call(token, "conversations_replies", channel=channel, ts=root, limit=_PAGE, **more)
        said = (said + [m for m in found.get("messages") or [] if isinstance(m, dict)])[-_MESSAGES:]
        more["cursor"] = (found.get("response_metadata") or {}).get("next_cursor")
        if not more["cursor"]:
            break
    return said[::-1]


async def context(api: Api, token: Secret, channel: str, trigger: Trigger, us: str) -> list[Message]:
    """Return what people said before the request, newest first, and its text attachments. Our own messages are left out."""
    team = trigger.thread.place.partition("/")[0]
    said = await newest(api, token, channel, trigger.thread.item, trigger.origin.id)
    found: list[Message] = []
    room = _ATTACHMENTS
    for message in said:
        if message.get("user") == us:
            continue
        ts = str(message.get("ts", ""))
        author, at = str(message.get("user") or message.get("username") or "somebody"), _seconds(ts)
        url = address(team, channel, trigger.thread.item)
        text = to_markdown(str(message.get("text") or ""))
        if text.strip() and ts != trigger.origin.id:
            found.append(Message(author, text, at, url))
        async for name, attached in _attached(api, token, message, room):
            found.append(Message(f"{author}, file {name}", attached, at, url))
            room -= 1
    return found


async def _attached(api: Api, token: Secret, message: dict[str, Any], room: int) -> AsyncIterator[tuple[str, str]]:
    files = [f for f in message.get("files") or [] if isinstance(f, dict) and str(f.get("mimetype")).startswith(_TEXTS)]
    for file in files[:room]:
        where = str(file.get("url_private_download") or file.get("url_private") or "")
        try:
            content = await api.read(token, where, LARGEST)
        except ProviderError as error:
            if error.word == "unauthorized":
                raise
            continue  # the words of the thread are worth more than a file that cannot be had
        if content:
            yield str(file.get("name", ""))[:100], content.decode(errors="replace")


def _seconds(ts: str) -> float:
    try:
        return float(ts)
    except ValueError:
        return 0.0
