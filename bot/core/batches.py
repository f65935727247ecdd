"""What many callers ask for at once, done together: a commit or a round trip is then paid once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Gives `work` the items that came while it did the last ones; it returns a result or an error for each, in order.

    What `work` raises is raised to every caller of that batch. A caller that is cancelled takes nothing back.
    """

    def __init__(self, work: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], largest: int) -> None:
        self._work, self._largest = work, largest
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def do(self, item: T) -> R:
        """Return the result for the item. Raises what `work` raised or returned for it."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            try:
                results = await self._work([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 -- raised by those who wait
                results = [error] * len(batch)
            except BaseException:
                for _, future in batch + self._waiting:
                    future.cancel()
                raise
            _settle([future for _, future in batch], results)


def _settle(futures: Sequence[asyncio.Future[R]], results: Sequence[R | Exception]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # cancelled meanwhile
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
