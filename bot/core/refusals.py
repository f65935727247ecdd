"""What a platform's refusal over HTTP means in our words, and how long it asks us to wait. Pure."""

import math

from bot.core.errors import ProviderWord

UNTOLD = 60.0
"""Seconds to wait after a rate limit that names no time: platforms count by the minute."""

_WORDS: dict[int, ProviderWord] = {
    401: "unauthorized",
    403: "forbidden",
    404: "missing",
    408: "unavailable",
    409: "conflict",
    410: "missing",
    425: "unavailable",
    429: "limited",
    451: "missing",
}


def word_of(status: int) -> ProviderWord:
    """Return the word for an HTTP status that is no success: 4xx that have no word of their own are `invalid`."""
    return _WORDS.get(status, "invalid" if 400 <= status < 500 else "unavailable")


def seconds(text: str | None) -> float | None:
    """Return a header's number (`Retry-After`, the end of a rate limit's window), None for what is none or makes no sense."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
