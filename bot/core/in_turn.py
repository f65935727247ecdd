"""Several things one after the other, so that one that fails keeps none of the others from its turn."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from bot.core.errors import OnhandError, ProviderError, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE = 60.0
"""Seconds for which it goes on at a platform after something failed there: one that is away takes its time for each."""


def out_of_reach(error: Exception) -> bool:
    """Whether the database, Redis or our disk did not take it: then the others would fail as well, each after its wait."""
    return isinstance(error, Unavailable)


def given_up(clock: Callable[[], float] = time.monotonic) -> Callable[[Exception], bool]:
    """Return what tells whether an error ends going on at a platform: it wants fewer requests, or takes no token, or stays away."""
    until = math.inf

    def ends(error: Exception) -> bool:
        nonlocal until
        until = min(until, clock() + _PATIENCE)
        return clock() >= until or (isinstance(error, ProviderError) and error.word in ("limited", "unauthorized"))

    return ends


async def each(
    asked: Iterable[Awaitable[T]], ends: Callable[[Exception], bool] = out_of_reach, at_once: int = 1
) -> tuple[list[T], Exception | None]:
    """Wait for all, so many at once; return in order what came of those that did not fail, and what the first failed with.

    After an error that `ends` it, which is the one returned, none is begun any more: going on would only make it worse.
    """
    turns, found = enumerate(asked), dict[int, T]()
    first: Exception | None = None
    ended = False

    async def take_turns() -> None:
        nonlocal first, ended
        while not ended and (turn := next(turns, None)) is not None:
            place, one = turn
            try:
                found[place] = await one
            except Exception as error:
                if ends(error):
                    first, ended = error, True
                elif first is None:
                    first = error
                else:
                    log.warning("this failed as well: %s", error, exc_info=not isinstance(error, OnhandError))

    await asyncio.gather(*(take_turns() for _ in range(at_once)))
    return [found[place] for place in sorted(found)], first


async def in_turn(asked: Iterable[Awaitable[int]], ends: Callable[[Exception], bool] = out_of_reach) -> int:
    """Wait for one after the other, and return the sum. Raises what the first failed with, when all have had their turn.

    An error that `ends` it is raised at once.
    """
    found, failed = await each(asked, ends)
    if failed is not None:
        raise failed
    return sum(found)
