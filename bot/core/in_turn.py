"""Several things one after the other, so that one that fails keeps none of the others from its turn."""

import logging
from collections.abc import Awaitable, Callable, Iterable

from bot.core.errors import OnhandError, Unavailable

log = logging.getLogger(__name__)


def out_of_reach(error: Exception) -> bool:
    """Whether the database, Redis or our disk did not take it: then the others would fail as well, each after its wait."""
    return isinstance(error, Unavailable)


async def in_turn(asked: Iterable[Awaitable[int]], ends: Callable[[Exception], bool] = out_of_reach) -> int:
    """Wait for one after the other, and return the sum. Raises what the first failed with, when all have had their turn.

    An error that `ends` it is raised at once: going on would only make it worse.
    """
    found = 0
    first: Exception | None = None
    for one in asked:
        try:
            found += await one
        except Exception as error:
            if ends(error):
                raise
            if first is None:
                first = error
            else:
                log.warning("this failed as well: %s", error, exc_info=not isinstance(error, OnhandError))
    if first is not None:
        raise first
    return found
