"""How much may be asked for: limits in an hour, and the breaker of loops.

Requests that need no run are never counted or refused.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from bot.core.conversation import RequestState
from bot.core.errors import Refused
from bot.core.ports import Circle, Services

_HOUR = 3600.0


class TooMany(Refused):
    """More than is admitted, of something, until a time in Unix seconds."""

    def __init__(self, text: str, of: str, until: float) -> None:
        super().__init__("limit", text)
        self._of, self._until = of, _minute(until)

    def topic_in(self, topics: Iterable[str], now: float) -> str:
        """Return under which topic it is said: that of a pause which was said before and is not over, so that it is said once."""
        said = (topic for topic in topics if topic.startswith(f"{self._of}:"))
        lasting = (topic for topic in said if int(topic.rpartition(":")[2]) > now)
        return next(lasting, f"{self._of}:{self._until}")


async def over_limit(services: Services, conversation_id: str, request: RequestState) -> TooMany | None:
    """Return what to say when this request is one too many; None when it may be admitted."""
    if not request.needs_run:
        return None
    return await _loop(services, conversation_id, request) or await _hourly(services, conversation_id, request)


async def _loop(services: Services, conversation_id: str, request: RequestState) -> TooMany | None:
    most, length = services.rates.loop, services.rates.loop_seconds
    if not most:
        return None
    now = services.clock()
    times = await services.queue.admitted(conversation_id, request.seq, "thread", now - 2 * length)
    if len(times) < most or times[0] - times[most - 1] > length or now >= (until := times[0] + length):
        return None
    return TooMany(
        f"I was asked {most} times here within {length / 60:.0f} minute{'s' if length != 60 else ''}; that looks like a loop, "
        f"so I take nothing more in this thread until {_clock(until)}.",
        "loop",
        until,
    )


async def _hourly(services: Services, conversation_id: str, request: RequestState) -> TooMany | None:
    rates = services.rates
    actor, place = request.trigger.actor, request.trigger.thread.place
    circles: tuple[tuple[Circle, int, str], ...] = (
        ("person", rates.per_person, f"of {actor.shown}"),
        ("place", rates.per_repository, f"in {place}"),
        ("thread", rates.per_thread, "in this thread"),
    )
    now = services.clock()
    for circle, most, of in circles:
        if not most:
            continue
        times = await services.queue.admitted(conversation_id, request.seq, circle, now - _HOUR)
        if len(times) >= most:
            until = times[most - 1] + _HOUR
            text = (
                f"I take {most} request{'s' if most != 1 else ''} an hour {of}. Please ask again after {_clock(until)}."
            )
            return TooMany(text, f"limit:{circle}:{actor.key}", until)
    return None


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(_minute(seconds), UTC).strftime("%H:%M UTC")


def _minute(seconds: float) -> int:
    """Return the first full minute after this time."""
    return math.ceil(seconds / 60) * 60
