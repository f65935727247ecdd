"""Tells others that logs have grown."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

Grown = Callable[[Mapping[str, int]], Awaitable[None]]
"""Is told, after the commit, to which seq the logs of some conversations have grown."""

_BREATH = 0.05
"""Seconds between two tellings: a round trip for each event of a burst would cost more than writing it."""


class Whisper:
    """Tells, in the background, how far logs have grown. Whoever listens may be gone; nobody waits for it."""

    def __init__(self, grown: Grown) -> None:
        self._grown = grown
        self._latest: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def tell(self, conversation_id: str, seq: int) -> None:
        """Have it told soon; only the latest seq of a conversation counts."""
        self._latest[conversation_id] = seq
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell_all())

    async def close(self) -> None:
        """Wait until everything was told."""
        if self._task is not None:
            await self._task

    async def _tell_all(self) -> None:
        while self._latest:
            latest, self._latest = self._latest, {}
            try:
                await self._grown(latest)
            except Exception as error:  # noqa: BLE001 -- the logs have grown all the same
                logging.getLogger(__name__).warning("nobody heard that %d logs grew: %s", len(latest), error)
            await asyncio.sleep(_BREATH)
