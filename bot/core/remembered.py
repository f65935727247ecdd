"""What was asked for once and does not change: kept for the latest few, so that nothing grows with the number of askers."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key, at most `most` of them; the oldest goes first."""

    def __init__(self, most: int = 256) -> None:
        self._most, self._kept = most, dict[K, V]()

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """Return what is kept for the key, else what `ask` returns. What it raises is raised, and nothing kept."""
        if key not in self._kept:
            self._kept[key] = await ask()
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]
