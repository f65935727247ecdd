"""Asking a platform again: the one place that knows how often and after which pauses. Coming back later is a job's affair."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bot.core.errors import ProviderError

T = TypeVar("T")

_TRIES, _FIRST_PAUSE = 4, 0.5


async def patiently(action: Callable[[], Awaitable[T]], longest: float = 20.0) -> T:
    """Do it, and again after a pause where the platform was busy or away: one it names, but none above `longest` seconds.

    Raises ProviderError in the end.
    """
    for pause in (_FIRST_PAUSE * 2**tried for tried in range(_TRIES - 1)):
        try:
            return await action()
        except ProviderError as error:
            wait = pause if error.retry_after is None else error.retry_after
            if not error.worth_retrying or wait > longest:
                raise
            await asyncio.sleep(wait)
    return await action()
