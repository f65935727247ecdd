"""What a platform's answer means in our words: read, refused, or to be asked for again after a while. Pure."""

import logging
import math
from collections.abc import Awaitable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from bot.core.errors import ProviderError, ProviderWord

T = TypeVar("T")
log = logging.getLogger(__name__)

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


def refusal(
    name: str, status: int, what: str, told: str, word: ProviderWord | None = None, wait: float | None = None
) -> ProviderError:
    """Return the error for what the platform `name` told us instead of doing `what`.

    `word` where the platform has a better one than its status, `wait` (seconds) where it names a time.
    """
    word = word or word_of(status)
    if word == "limited" and wait is None:
        wait = UNTOLD
    return ProviderError(word, f"{name} answered {status} to {what}: {told[:800]}", wait)


def wait_of(headers: Mapping[str, str], now: float, window: str = "") -> float | None:
    """Return the seconds that an answer's headers ask us to wait: `Retry-After`, or until a window that is used up ends.

    The window's headers, if there is one, are `{window}-remaining` and, in Unix seconds, `{window}-reset`. The platform's own
    clock counts, where it shows it; else `now`. A time that makes no sense counts as one that is not told.
    """
    now = date_of(headers, now)
    if (told := headers.get("retry-after")) is not None:
        return after(told, now, UNTOLD)
    if headers.get(f"{window}-remaining") != "0":
        return None
    end = seconds(headers.get(f"{window}-reset"))
    return UNTOLD if end is None else max(0.0, end - now)


def after(told: str, now: float, untold: float) -> float:
    """Return the seconds that a `Retry-After` asks us to wait, given in seconds or as a date (RFC 9110, 10.2.3).

    `untold` where it makes no sense.
    """
    wait = seconds(told)
    return max(0.0, _date(told, now + untold) - now) if wait is None else wait


def date_of(headers: Mapping[str, str], otherwise: float) -> float:
    """Return the platform's own time, in Unix seconds, as an answer's headers tell it."""
    return _date(headers.get("date", ""), otherwise)


def _date(text: str, otherwise: float) -> float:
    """Return an HTTP date (RFC 9110, 5.6.7) in Unix seconds."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return otherwise


def seconds(text: str | None) -> float | None:
    """Return a header's number (`Retry-After`, the end of a rate limit's window), None for what is none or makes no sense."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def read(answer: bytes | str | msgspec.Raw, kind: type[T], name: str, *path: str) -> T:
    """Return what stands under a path of names in an answer of the platform `name`, as a value of this type.

    Raises ProviderError.
    """
    try:
        for step in path:
            answer = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])[step]
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError) as error:
        raise ProviderError("unavailable", f"{name}'s answer was not understood: {error}") from None


async def unless(asked: Awaitable[T], *words: ProviderWord) -> T | None:
    """Return what was asked for, or None where it is refused in one of these words. Raises ProviderError for the others."""
    try:
        return await asked
    except ProviderError as error:
        if error.word not in words:
            raise
        return None


async def courtesy(asked: Awaitable[T]) -> T | None:
    """Return what was asked for, or None where it is refused for good: then it is left undone, and said in the log.

    Raises ProviderError where the same may succeed later, and where the token is not taken.
    """
    try:
        return await asked
    except ProviderError as error:
        if error.may_pass:
            raise
        log.info("left undone: %s", error)
        return None
