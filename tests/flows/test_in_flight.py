"""A call whose answer was lost, and which the platform carries out only later: it is waited for, not made again."""

import asyncio
import time
from typing import Any

import pytest

from bot.core.errors import ProviderError
from bot.core.outbound import OpenChange, Say
from bot.flows import report


class Late:
    """Loses the first call of a kind, and has it carried out right after somebody has looked for it."""

    def __init__(self, world: Any, kind: type, lost: BaseException) -> None:
        self.made: list[str] = []
        """The topics that were made, rather than edited."""
        self._forge, self._kind, self._lost = world.forge, kind, lost
        self._under_way: Any = None
        self._perform, self._find = world.forge.perform, world.forge.find
        world.forge.perform, world.forge.find = self.perform, self.find

    async def perform(self, call: Any, receipt: Any, token: Any) -> Any:
        if isinstance(call, self._kind) and self._under_way is None:
            self._under_way = call
            raise self._lost
        if receipt is None:
            self.made.append(call.topic)
        return await self._perform(call, receipt, token)

    async def find(self, call: Any, token: Any) -> Any:
        found = await self._find(call, token)
        if call == self._under_way and call.topic not in self.made:
            await self.perform(call, None, token)
        return found


async def test_a_message_that_comes_after_its_answer_was_lost_is_not_made_again(world: Any) -> None:
    late = Late(world, Say, ProviderError("unavailable", "502"))
    seq = await world.admit()
    await world.run()
    assert late.made.count(f"status:{seq}") == 1
    assert world.said()[f"status:{seq}"].startswith("ended finished")


async def test_what_a_killed_worker_has_sent_and_comes_later_is_not_made_again(world: Any) -> None:
    seq = await world.admit()
    late = Late(world, OpenChange, asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await world.run()
    await world.run("worker/2")
    assert len([topic for topic in late.made if topic.startswith("change")]) == 1
    assert world.said()[f"status:{seq}"].startswith("ended finished")


@pytest.mark.parametrize("apart", [120.0, -120.0])
async def test_it_is_waited_for_however_far_the_clocks_are_apart(world: Any, apart: float) -> None:
    seq = await world.admit()
    late = Late(world, OpenChange, asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await world.run()
    world.use(clock=lambda: time.time() + apart)
    await world.run("worker/2")
    assert len([topic for topic in late.made if topic.startswith("change")]) == 1
    assert world.said()[f"status:{seq}"].startswith("ended finished")


async def test_a_message_that_never_comes_is_made_again(world: Any) -> None:
    world.forge.fail(Say, ProviderError("unavailable", "502"))
    seq = await world.admit()
    assert world.said()[f"status:{seq}"].startswith("queued")


async def test_a_message_that_was_refused_is_not_waited_for(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_IN_FLIGHT", 600.0)  # longer than anybody waits
    world.forge.fail(Say, ProviderError("limited", "429", retry_after=0.1))
    seq = await world.admit()
    assert world.said()[f"status:{seq}"].startswith("queued")
