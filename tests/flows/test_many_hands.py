"""Several people in one thread, who speak across each other."""

import asyncio
from typing import Any

import pytest

from bot.core.errors import ProviderError
from bot.core.outbound import OpenChange, Say
from bot.core.ports import Source
from bot.flows import desk, positions
from tests.flows.conftest import CONVERSATION, World
from tests.flows.test_hard_cases import running

FIX = "@onhand fix it"


async def endings(world: World) -> list[str]:
    return [request.ending for request in (await world.state()).requests.values()]


async def let_go(world: World, run: "asyncio.Task[float]") -> None:
    world.boxes.hold.set()
    await run


async def test_a_stop_ends_nothing_that_was_asked_after_it(world: World) -> None:
    early = await world.ask()
    await world.admit("@onhand stop")
    later, run = await running(world)
    await desk.acknowledge(world.services, CONVERSATION, early)  # it had to wait for its account, or for the platform
    await asyncio.sleep(0.1)
    assert not run.done()
    await let_go(world, run)
    assert "ended finished" in world.said()[f"status:{later}"]


async def test_of_requests_around_a_stop_the_later_one_is_worked_on(world: World) -> None:
    first = await world.admit()
    await world.admit("@onhand stop")
    second = await world.admit("@onhand do it the other way")
    await world.run()
    assert await endings(world) == ["stopped", "stopped", "finished"]
    assert "ended stopped" in world.said()[f"status:{first}"]
    assert "ended finished" in world.said()[f"status:{second}"]


async def test_a_stop_right_behind_a_request_is_answered_by_its_ending(world: World) -> None:
    first, stop = await world.ask(), await world.ask("@onhand stop")
    await desk.acknowledge(world.services, CONVERSATION, stop)
    await world.run()
    await desk.acknowledge(world.services, CONVERSATION, first)
    await world.run()
    assert world.forge.made(Say) == [f"status:{first}"]
    assert await endings(world) == ["stopped", "stopped"]


async def test_a_stop_behind_a_request_that_is_refused_is_answered_then(world: World) -> None:
    first, stop = await world.ask(who="mallory"), await world.admit("@onhand stop")
    await desk.acknowledge(world.services, CONVERSATION, first)
    await world.run()
    assert world.said()[f"reply:{stop}"] == "Nothing is running here."
    assert (await world.state()).open() == []


async def test_a_plan_that_is_approved_while_it_is_made_is_carried_out(world: World) -> None:
    world.boxes.hold = asyncio.Event()
    await world.admit("@onhand plan it")
    run = asyncio.create_task(world.run())
    while not world.boxes.living or not next(iter(world.boxes.living.values())).commands:
        await asyncio.sleep(0.01)
    await world.admit("@onhand approve")
    await let_go(world, run)
    assert world.pushes.pushed
    assert world.forge.made(OpenChange)


async def test_work_that_is_asked_for_beside_a_plan_is_handed_out(world: World) -> None:
    await world.admit("@onhand plan the rename")
    await world.admit(FIX)
    await world.run()
    assert world.pushes.pushed


@pytest.mark.parametrize("verb", ["retry", "approve"])
async def test_the_options_of_what_is_started_again_hold_still(world: World, verb: str) -> None:
    bases: list[str] = []
    fetch = world.pushes.fetch

    async def note(source: Source, token: Any) -> str:
        bases.append(source.base)
        return await fetch(source, token)

    world.pushes.fetch = note  # type: ignore[method-assign]
    await world.admit("@onhand plan it branch=release-1")
    await world.run()
    await world.admit("@onhand fix it branch=mallorys", who="mallory")
    await world.admit(f"@onhand {verb}")
    world.script = [*world.script, *world.script]
    await world.run("worker/2")
    assert bases == ["release-1", "release-1"]


async def test_whoever_retries_as_told_is_told_again_if_it_still_does_not_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def may_write(*_: Any) -> bool:
        raise ProviderError("forbidden", "no")

    monkeypatch.setattr(world.forge, "may_write", may_write)
    await world.admit()
    await world.admit("@onhand retry")
    assert len(world.said()) == 2


async def test_a_request_beside_one_that_is_refused_sees_its_place_in_the_line(world: World) -> None:
    refused, second = await world.ask(who="mallory"), await world.ask()
    await desk.acknowledge(world.services, CONVERSATION, second)
    await desk.acknowledge(world.services, CONVERSATION, refused)
    [waiting] = await world.services.queue.line()
    assert await positions.show(world.services, waiting, 2)
    assert f"status:{second}" in world.said()
