"""A full house is a line, and everybody sees the own place in it."""

import asyncio
import time
from contextlib import suppress

import pytest

from bot.core.conversation import conversation_id
from bot.core.errors import ProviderError, Refused
from bot.core.inbound import Account, Thread
from bot.core.outbound import Say
from bot.flows import desk, tenure, work
from bot.flows.report import HEARTBEAT
from bot.testing.integrations import RecordingClient
from tests.flows.conftest import World
from workers.sweeps import SHOWN_AFTER, Positions


def thread(number: int) -> Thread:
    return Thread("memory", "acme/app", str(number))


async def admit(world: World, number: int, text: str = "@onhand fix it") -> None:
    await world.ask(text, thread=thread(number))
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])


def later(world: World, seconds: float) -> None:
    world.use(clock=lambda: time.time() + seconds)


def shown(world: World, number: int) -> str:
    """What the status message of a thread says now."""
    said = [call.text for call in world.forge.calls if isinstance(call, Say) and call.thread == thread(number)]
    return said[-1]


async def run(world: World, number: int, holder: str = "worker/1") -> float:
    return await work.run(world.services, world.shop, conversation_id(thread(number)), holder)


async def test_whoever_comes_to_a_line_sees_how_many_are_before(world: World) -> None:
    for number in (1, 2, 3):
        await admit(world, number)
        later(world, 3.0)
    assert [shown(world, number) for number in (1, 2, 3)] == ["queued", "queued after 1", "queued after 2"]


async def test_without_a_line_nothing_is_said_of_one(world: World) -> None:
    await admit(world, 1)
    await admit(world, 2)
    assert shown(world, 2) == "queued", "the first is on its way to a worker"


async def test_the_places_move_up_and_vanish(world: World) -> None:
    positions = Positions()
    for number in (1, 2, 3):
        await admit(world, number)
    later(world, SHOWN_AFTER + 1)
    assert await positions(world.services, world.shop) == 3
    assert [shown(world, number) for number in (1, 2, 3)] == ["queued", "queued after 1", "queued after 2"]
    await run(world, 1)
    assert await positions(world.services, world.shop) == 2
    assert [shown(world, number) for number in (2, 3)] == ["queued", "queued after 1"]
    await run(world, 2, "worker/2")
    await run(world, 3, "worker/3")
    assert await positions(world.services, world.shop) == 0
    assert all(shown(world, number).startswith("ended finished") for number in (1, 2, 3))


async def test_what_has_not_changed_is_not_said_again(world: World) -> None:
    positions = Positions()
    for number in (1, 2):
        await admit(world, number)
    later(world, SHOWN_AFTER + 1)
    await positions(world.services, world.shop)
    calls = len(world.forge.calls)
    assert await positions(world.services, world.shop) == 0
    assert len(world.forge.calls) == calls


async def test_who_waits_for_a_moment_only_is_left_alone(world: World) -> None:
    await admit(world, 1)
    await admit(world, 2)
    assert await Positions()(world.services, world.shop) == 0


async def test_a_conversation_waits_once_however_often_it_was_asked(world: World) -> None:
    await admit(world, 1)
    await admit(world, 1, "@onhand and this")
    await admit(world, 1, "@onhand status")
    later(world, 3.0)
    await admit(world, 2)
    assert shown(world, 2) == "queued after 1"


async def test_a_run_that_meets_the_edit_waits_and_is_rung_for(world: World) -> None:
    await admit(world, 1)
    later(world, SHOWN_AFTER + 1)
    begun, go_on, perform = asyncio.Event(), asyncio.Event(), world.forge.perform

    async def slowly(*arguments):  # type: ignore[no-untyped-def]
        begun.set()
        await go_on.wait()
        return await perform(*arguments)

    world.forge.perform = slowly  # type: ignore[method-assign]
    editing = asyncio.create_task(Positions()(world.services, world.shop))
    await begun.wait()
    assert 0 < await run(world, 1) <= tenure.LEASE_SECONDS, "it may not show anything before the edit is through"
    rung = len(world.bus.runs)
    go_on.set()
    await editing
    assert world.bus.runs[rung:] == [(conversation_id(thread(1)), 1)]
    assert await run(world, 1) == 0.0
    assert shown(world, 1).startswith("ended finished")


async def test_whoever_waits_long_sees_now_and_then_that_it_is_not_forgotten(world: World) -> None:
    positions = Positions()
    await admit(world, 1)
    later(world, SHOWN_AFTER + 1)
    assert [await positions(world.services, world.shop) for _ in range(2)] == [1, 0]
    later(world, SHOWN_AFTER + HEARTBEAT + 2)
    assert [await positions(world.services, world.shop) for _ in range(2)] == [1, 0]
    assert shown(world, 1) == "queued, for 20 minutes so far"


async def test_a_run_that_is_going_on_is_left_alone(world: World) -> None:
    await admit(world, 1)
    later(world, SHOWN_AFTER + 1)
    await world.services.leases.take(conversation_id(thread(1)), "worker/1", 30)
    calls = len(world.forge.calls)
    await Positions()(world.services, world.shop)
    assert len(world.forge.calls) == calls


async def test_a_provider_that_refuses_the_edit_is_asked_again_at_the_next_turn(world: World) -> None:
    positions = Positions()
    await admit(world, 1)
    await admit(world, 2)
    later(world, SHOWN_AFTER + 1)
    world.forge.fail(Say, ProviderError("unauthorized", "no token"))
    assert await positions(world.services, world.shop) == 2
    assert await positions(world.services, world.shop) == 1
    assert shown(world, 2) == "queued after 1"


@pytest.mark.parametrize(
    "error", [ProviderError("unauthorized", "no token"), Refused("suspended", "My installation is suspended.")]
)
async def test_whose_place_cannot_be_shown_keeps_nobody_else_from_it(world: World, error: Exception) -> None:
    positions, tried = Positions(), list[int]()
    for number in range(1, 6):
        await admit(world, number)
    later(world, SHOWN_AFTER + 1)

    async def refuse(call, *arguments):  # type: ignore[no-untyped-def]
        tried.append(int(call.thread.item))
        raise error

    world.forge.perform = refuse  # type: ignore[method-assign]
    for _ in range(2):
        with suppress(Refused):
            await positions(world.services, world.shop)
    assert tried == [1, 2, 3, 4, 5, 1]


@pytest.mark.parametrize(("asked", "waited"), [(99, 99), (7 * 86_400, HEARTBEAT)])
async def test_a_platform_that_asks_to_wait_is_left_alone_and_no_other(
    world: World, asked: float, waited: float
) -> None:
    positions, beside = Positions(), RecordingClient()
    beside.name = "beside"  # type: ignore[misc]
    world.use(integrations={"memory": world.forge, "beside": beside})
    for number in (1, 2, 3):
        await admit(world, number)
    other = {"thread": Thread("beside", "acme/app", "1"), "actor": Account("beside", "alice", "alice")}
    await world.ask(**other)
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    later(world, SHOWN_AFTER + 1)
    calls = len(world.forge.calls)
    world.forge.fail(Say, ProviderError("limited", "too many", retry_after=asked))
    for _ in range(3):
        await positions(world.services, world.shop)
    assert len(world.forge.calls) == calls, "nothing after what it refused"
    assert beside.messages["status:1"] == "queued after 3"
    later(world, SHOWN_AFTER + waited + 2)
    await positions(world.services, world.shop)
    assert shown(world, 2).startswith("queued after 1")
