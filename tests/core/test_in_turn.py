"""Several things one after the other, or a few at once."""

import asyncio

from bot.core.in_turn import each


async def test_what_was_found_comes_in_the_order_in_which_it_was_asked_for() -> None:
    ended = [asyncio.Event() for _ in range(4)]

    async def one(number: int) -> int:
        if number < 3:
            await ended[number + 1].wait()  # so that they end the last first
        ended[number].set()
        if number == 1:
            raise ValueError("one")
        return number

    async with asyncio.timeout(10):
        found, failed = await each((one(number) for number in range(4)), at_once=4)
    assert found == [0, 2, 3]
    assert str(failed) == "one"
