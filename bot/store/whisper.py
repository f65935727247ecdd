"""Tells others that logs have grown."""

import asyncio
import logging
from collections.abc import Awaitable, Callable


class Whisper:
    """Tells, in the background, how far logs have grown. Whoever listens may be gone; nobody waits for it."""

    def __init__(self, grown: Callable[[str, int], Awaitable[None]]) -> None:
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
            await asyncio.gather(*(self._tell(conversation_id, seq) for conversation_id, seq in latest.items()))

    async def _tell(self, conversation_id: str, seq: int) -> None:
        try:
            await self._grown(conversation_id, seq)
        except Exception as error:  # noqa: BLE001 -- the log has grown all the same
            logging.getLogger(__name__).warning("nobody heard that %s grew to %d: %s", conversation_id, seq, error)
