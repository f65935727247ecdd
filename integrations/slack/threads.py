"""What was said in a thread: its newest messages, and the texts and images that were attached to them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from bot.core.errors import ProviderError
from bot.core.images import LARGEST as LARGEST_IMAGE
from bot.core.inbound import Image, Message, Trigger
from bot.core.secret import Secret
from integrations.slack.api import Api, table
from integrations.slack.mrkdwn import to_markdown
from integrations.slack.webhook import address

_PAGE, _PAGES = 200, 10
"""Messages a page, and pages that are read: the list comes oldest first."""
_MESSAGES = 100
_ATTACHMENTS, LARGEST = 10, 100_000
"""Text attachments that are read, and bytes of each."""
_THUMBS = ("thumb_1024", "thumb_960", "thumb_800", "thumb_720", "thumb_480", "thumb_360")
"""Smaller ones that Slack makes of an image, their longest side in pixels."""
_LONGEST_SIDE = 8_000
"""Pixels that Anthropic takes: https://docs.claude.com/en/docs/build-with-claude/vision"""
_SHOWABLE = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("text/", "application/json", "application/xml", "application/x-yaml", "application/toml")


async def newest(api: Api, token: Secret, channel: str, root: str, until: str = "") -> list[dict[str, Any]]:
    """Return up to 100 messages of a thread, newest first, none of them later than `until`. Raises ProviderError."""
    said: list[dict[str, Any]] = []
    more: dict[str, Any] = {"latest": until, "inclusive": True} if until else {}
    for _ in range(_PAGES):
        found = await api.call(token, "conversations_replies", channel=channel, ts=root, limit=_PAGE, **more)
        said = (said + [m for m in found.get("messages") or [] if isinstance(m, dict)])[-_MESSAGES:]
        more["cursor"] = table(found.get("response_metadata")).get("next_cursor")
        if not more["cursor"]:
            break
    return said[::-1]


async def context(api: Api, token: Secret, channel: str, trigger: Trigger, us: str) -> list[Message]:
    """Return what people said before the request, newest first, and what they attached. Our own messages are left out."""
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
        for image, about in _images(message):
            found.append(Message(f"{author}, image {image.name}", about, at, url, image))
    return found


async def _attached(api: Api, token: Secret, message: dict[str, Any], room: int) -> AsyncIterator[tuple[str, str]]:
    for file in _files(message, _TEXTS)[:room]:
        where = str(file.get("url_private_download") or file.get("url_private") or "")
        try:
            content = await api.read(token, where, LARGEST)
        except ProviderError as error:
            if error.word == "unauthorized":
                raise
            continue  # the words of the thread are worth more than a file that cannot be had
        if content:
            yield _name(file), content.decode(errors="replace")


def _images(message: dict[str, Any]) -> Iterator[tuple[Image, str]]:
    """Yield the images of a message, and what is said about each. Of one that cannot be shown as it is Slack has smaller ones."""
    for file in _files(message, ("image/",)):
        too_large = _number(file, "size") > LARGEST_IMAGE
        too_long = max(_number(file, "original_w"), _number(file, "original_h")) > _LONGEST_SIDE
        smaller = next((file[name] for name in _THUMBS if file.get(name)), "")
        as_it_is = file.get("mimetype") in _SHOWABLE and not too_large and not too_long
        address = str((not as_it_is and smaller) or file.get("url_private") or "")
        if address:
            yield Image(_name(file), address), str(file.get("alt_txt") or "(an image)")


def _files(message: dict[str, Any], kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the files of some kinds, as their sender calls them."""
    return [f for f in message.get("files") or [] if isinstance(f, dict) and str(f.get("mimetype")).startswith(kinds)]


def _name(file: dict[str, Any]) -> str:
    return str(file.get("name") or file.get("title") or "without a name")[:100]


def _number(file: dict[str, Any], name: str) -> int:
    found = file.get(name)
    return found if isinstance(found, int) else 0


def _seconds(ts: str) -> float:
    try:
        return float(ts)
    except ValueError:
        return 0.0
