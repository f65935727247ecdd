"""What many callers ask for at once, done together: a commit or a round trip is then paid once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_QUIET_TURNS = 2
"""Turns of the loop without anybody new after which nobody else is about to ask: what came over a socket is read in one of them,
and the task that it started asks in the next.
"""
_LOOKS = 6
"""How often in the time of a caller's patience it is looked whether that is at its end: a timer for each caller would cost more."""


class Batches(Generic[T, R]):
    """Gives `work` the items that came while it did the last ones; it returns a result or an error for each, in order.

    What `work` raises is raised to every caller of that batch. A caller that is cancelled takes nothing back, nor does one
    that is sent away after `patience` seconds (None: never), or a sixth more, with a TimeoutError.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        largest: int,
        patience: float | None = None,
    ) -> None:
        self._work, self._largest, self._patience = work, largest, patience
        self._at_work: list[tuple[T, asyncio.Future[R], float]] = []
        self._waiting: list[tuple[T, asyncio.Future[R], float]] = []
        self._task: asyncio.Task[None] | None = None

    async def do(self, item: T) -> R:
        """Return the result for the item. Raises what `work` raised or returned for it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future, loop.time()))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        watch = asyncio.create_task(self._watch(self._patience)) if self._patience else None
        try:
            while self._waiting:
                await self._more_to_come()
                self._at_work, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                try:
                    results = await self._work([item for item, _, _ in self._at_work])
                except Exception as error:  # noqa: BLE001 -- raised by those who wait
                    results = [error] * len(self._at_work)
                _settle([future for _, future, _ in self._at_work], results)
                self._at_work = []
        except BaseException:
            for _, future, _ in self._at_work + self._waiting:
                future.cancel()
            raise
        finally:
            if watch is not None:
                watch.cancel()

    async def _more_to_come(self) -> None:
        """Let those join who are just about to ask."""
        quiet = 0
        while quiet < _QUIET_TURNS and len(self._waiting) < self._largest:
            before = len(self._waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0

    async def _watch(self, patience: float) -> None:
        while True:
            await asyncio.sleep(patience / _LOOKS)
            since = asyncio.get_running_loop().time() - patience
            late = [future for _, future, begin in self._at_work + self._waiting if begin <= since]
            _settle(late, [TimeoutError()] * len(late))


def _settle(futures: Sequence[asyncio.Future[R]], results: Sequence[R | Exception]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # cancelled meanwhile, or sent away
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
