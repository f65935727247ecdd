"""Work on an issue for which somebody has a change open already: it is done, and the other one is named."""

from typing import Any

from bot.core.errors import ProviderError
from bot.core.outbound import OpenChange


def opened(world: Any) -> OpenChange:
    (call,) = [call for call in world.forge.calls if isinstance(call, OpenChange)]
    return call


async def test_the_ending_and_the_change_name_the_other_one(world: Any) -> None:
    world.forge.others = ("#7", "#9")
    seq = await world.admit()
    await world.run()
    note = "There is already #7 and #9 for this issue."
    assert note in world.said()[f"status:{seq}"]
    assert note in opened(world).body


async def test_without_another_one_nothing_is_said(world: Any) -> None:
    seq = await world.admit()
    await world.run()
    assert "already" not in world.said()[f"status:{seq}"] + opened(world).body


async def test_a_forge_that_does_not_say_stops_nothing(world: Any) -> None:
    async def rivals(*_: Any) -> Any:
        raise ProviderError("unavailable", "away")

    world.forge.rivals = rivals
    seq = await world.admit()
    await world.run()
    assert world.said()[f"status:{seq}"].startswith("ended finished")
    assert opened(world)
