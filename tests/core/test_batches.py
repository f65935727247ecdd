"""Callers at the same time share one piece of work."""

import asyncio
from collections.abc import Sequence

import pytest

from bot.core.batches import Batches


class Desk:
    """Work that waits until it is let go, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.open = asyncio.Event()

    async def work(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.given.append([*items])
        await self.open.wait()
        if 13 in items:
            raise OSError("all of them")
        return [ValueError(str(item)) if item == 7 else item * 10 for item in items]


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_what_comes_during_the_work_is_the_next_batch(desk: Desk) -> None:
    batches = Batches(desk.work, 3)
    first = asyncio.create_task(batches.do(0))
    while not desk.given:
        await asyncio.sleep(0)
    rest = [asyncio.create_task(batches.do(n)) for n in range(1, 5)]
    await asyncio.sleep(0)
    desk.open.set()
    assert await asyncio.gather(first, *rest) == [0, 10, 20, 30, 40]
    assert desk.given == [[0], [1, 2, 3], [4]]


async def test_an_error_for_one_is_raised_to_that_one(desk: Desk) -> None:
    desk.open.set()
    batches = Batches(desk.work, 10)
    ends = await asyncio.gather(*(batches.do(n) for n in (6, 7, 8)), return_exceptions=True)
    assert (ends[0], ends[2]) == (60, 80)
    assert isinstance(ends[1], ValueError)


async def test_what_the_work_raises_is_raised_to_all_and_the_next_batch_goes_on(desk: Desk) -> None:
    desk.open.set()
    batches = Batches(desk.work, 10)
    ends = await asyncio.gather(*(batches.do(n) for n in (12, 13)), return_exceptions=True)
    assert [type(end) for end in ends] == [OSError, OSError]
    assert await batches.do(1) == 10


async def test_a_caller_that_is_cancelled_leaves_the_others(desk: Desk) -> None:
    batches = Batches(desk.work, 10)
    one, two = asyncio.create_task(batches.do(1)), asyncio.create_task(batches.do(2))
    while not desk.given:
        await asyncio.sleep(0)
    one.cancel()
    desk.open.set()
    assert await two == 20
    assert one.cancelled() or one.cancelling()


async def test_who_has_waited_for_long_is_sent_away_and_the_work_goes_on(desk: Desk) -> None:
    batches = Batches(desk.work, 1, patience=0.3)
    first, behind = asyncio.create_task(batches.do(1)), asyncio.create_task(batches.do(2))
    ends = await asyncio.gather(first, behind, return_exceptions=True)
    assert [type(end) for end in ends] == [TimeoutError, TimeoutError]
    late = asyncio.create_task(batches.do(3))
    await asyncio.sleep(0)
    desk.open.set()
    assert await late == 30
    assert desk.given == [[1], [2], [3]], "what was asked for is done even so"


async def test_who_is_served_in_time_is_not_sent_away(desk: Desk) -> None:
    batches = Batches(desk.work, 1, patience=0.6)
    waiting = asyncio.create_task(batches.do(1))
    await asyncio.sleep(0.3)
    desk.open.set()
    assert await waiting == 10


async def test_who_is_about_to_ask_joins(desk: Desk) -> None:
    desk.open.set()
    batches = Batches(desk.work, 10)

    async def ask_after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await batches.do(turns)

    await asyncio.gather(*(ask_after(turns) for turns in (0, 1, 3, 9)))
    assert desk.given == [[0, 1, 3], [9]]


async def test_they_are_not_waited_for_when_the_batch_is_full(desk: Desk) -> None:
    desk.open.set()
    batches = Batches(desk.work, 2)
    await asyncio.gather(*(batches.do(n) for n in range(4)))
    assert desk.given == [[0, 1], [2, 3]]
