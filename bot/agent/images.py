"""Images in a message's content, as the chat completions API has them: parts of text and of `image_url`. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.core.inbound import Image
from bot.core.untrusted import marks

Content = str | list[dict[str, Any]]

SIZE = 6_400
"""Characters for which an image counts: it is about 1,600 tokens at most, however many bytes it has."""


def illustrated(text: str, images: Sequence[Image], urls: Mapping[str, str]) -> Content:
    """Return the text with those of the images that have a data URL, each within marks; of the others it says that they lack."""
    lacking = [image.name for image in images if image.address not in urls]
    if lacking:
        text = f"{text}\n[onhand] You are not shown: {', '.join(lacking)}."
    shown = [image for image in images if image.address in urls]
    if not shown:
        return text
    return [_text(text), *(part for image in shown for part in _parts(image.name, urls[image.address]))]


def has_images(messages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether there is an image in any of the messages."""
    return any(isinstance(message["content"], list) for message in messages)


def size(content: Content) -> int:
    """Return for how many characters a content counts."""
    if isinstance(content, str):
        return len(content)
    return sum(len(part["text"]) if part["type"] == "text" else SIZE for part in content)


def in_words(content: Content) -> str:
    """Return the content with a word instead of each image."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else "[an image, left out to fit]" for part in content)


def _parts(name: str, url: str) -> list[dict[str, Any]]:
    opening, closing = marks(f"image {name}")
    return [_text(opening), {"type": "image_url", "image_url": {"url": url}}, _text(closing)]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
