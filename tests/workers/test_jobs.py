"""How long a job waits before it comes back."""

from types import SimpleNamespace
from typing import Any

import pytest
from arq import Retry

from bot.core.errors import ProviderError, ProviderWord
from bot.flows.tenure import LEFT_WHILE_RENEWED
from workers import jobs


@pytest.mark.parametrize(
    ("word", "tries", "told", "seconds"),
    [
        ("unavailable", 1, None, 2.0),
        ("unavailable", 30, None, 300.0),
        ("unauthorized", 3, None, 8.0),
        ("unauthorized", 30, None, 3600.0),
        ("limited", 1, 60.0, 60.0),
        ("limited", 3, 0.0, 8.0),
        ("limited", 1, 1e12, 3600.0),
    ],
)
async def test_a_job_comes_back_ever_more_seldom_and_seldom_with_a_token_that_is_not_accepted(
    word: ProviderWord, tries: int, told: float | None, seconds: float
) -> None:
    class Log:
        async def read(self, *_: Any, **__: Any) -> Any:
            raise ProviderError(word, "no", told)

    services: Any = SimpleNamespace(log=Log())
    with pytest.raises(Retry) as again:
        await jobs.acknowledge({"services": services, "job_try": tries}, "c1", 1)
    assert again.value.defer_score == seconds * 1000


async def test_a_run_that_another_holds_steps_back_until_its_lease_may_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped_back: list[bool] = []

    async def held(*_: Any) -> float:
        return 4.5

    monkeypatch.setattr(jobs.work, "run", held)
    ctx = {"services": None, "shop": None, "worker": "w", "step_back": lambda: stepped_back.append(True)}
    with pytest.raises(Retry) as again:
        await jobs.run_conversation(ctx, "c1")
    assert again.value.defer_score == 4500
    assert stepped_back == [True]


async def test_a_run_whose_holder_is_gone_keeps_its_room_until_the_lease_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = iter([LEFT_WHILE_RENEWED - 3.9, 0.05, 0.0])

    async def held(*_: Any) -> float:
        return next(left)

    def step_back() -> None:
        raise AssertionError("those that wait would take the room")

    monkeypatch.setattr(jobs.work, "run", held)
    await jobs.run_conversation({"services": None, "shop": None, "worker": "w", "step_back": step_back}, "c1")
    assert list(left) == []
