"""Values that are asked for once, and not kept without end."""

import pytest

from bot.core.remembered import Remembered


async def test_it_is_asked_for_once_and_the_oldest_goes_first() -> None:
    asked: list[int] = []

    async def ask(key: int) -> str:
        asked.append(key)
        return str(key)

    kept = Remembered[int, str](most=2)
    for key in (1, 1, 2, 3, 2, 1):
        assert await kept.get(key, lambda key=key: ask(key)) == str(key)  # type: ignore[misc]
    assert asked == [1, 2, 3, 1]


async def test_a_failure_is_not_kept() -> None:
    kept = Remembered[int, str]()

    async def fail() -> str:
        raise ValueError

    async def succeed() -> str:
        return "yes"

    with pytest.raises(ValueError):
        await kept.get(1, fail)
    assert await kept.get(1, succeed) == "yes"
