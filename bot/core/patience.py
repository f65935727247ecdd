"""Asking a platform again: the one place that knows how often, after which pauses, and with which token.

What still fails then is up to who asked; a job comes back later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bot.core.errors import ProviderError
from bot.core.secret import Secret

T = TypeVar("T")

Renew = Callable[[Secret], Awaitable[Secret | None]]
"""Returns the token that takes the place of one that the platform does not take any more; None where there is none."""

_TRIES, _FIRST_PAUSE = 4, 0.5


async def patiently(action: Callable[[], Awaitable[T]], longest: float = 20.0) -> T:
    """Do it, and again after a pause where the platform was busy or away, of at least the seconds that it names.

    Raises ProviderError in the end, and instead of a pause of more than `longest` seconds.
    """
    for pause in (_FIRST_PAUSE * 2**tried for tried in range(_TRIES - 1)):
        try:
            return await action()
        except ProviderError as error:
            wait = max(pause, error.retry_after or 0.0)
            if not error.worth_retrying or wait > longest:
                raise
            await asyncio.sleep(wait)
    return await action()


async def renewing(ask: Callable[[Secret], Awaitable[T]], token: Secret, renew: Renew | None) -> T:
    """Ask with a token, and once more with the one in its place where it is not taken any more. Raises ProviderError."""
    try:
        return await ask(token)
    except ProviderError as error:
        other = await renew(token) if renew and error.word == "unauthorized" else None
        if not other:
            raise
    return await ask(other)
