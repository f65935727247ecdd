"""Checks on the heads of a change, as a run shows and ends them; and requests that come from a button."""

import asyncio
from typing import Any

import pytest

from bot.core.inbound import Repository
from bot.core.outbound import SetCheck
from bot.core.ports import Source

HEAD = "the-change"


@pytest.fixture
def inside(world: Any) -> Any:
    """A thread that is a change with a branch of its own."""

    async def source(repository: Repository, number: str, token: Any) -> Source:
        return Source(repository, "", "main", head=HEAD if number else "")

    world.forge.source = source
    return world


def checks(world: Any) -> list[tuple[str, str | None]]:
    """Commit and ending of every check as it was shown, one after another, without repetitions."""
    shown = [(call.commit, call.ending) for call in world.forge.calls if isinstance(call, SetCheck)]
    return [call for place, call in enumerate(shown) if call not in shown[:place]]


def ended(world: Any) -> list[tuple[str, str | None]]:
    """Those that show an ending; whether progress was shown before is up to how quick the run was."""
    return [check for check in checks(world) if check[1]]


async def test_a_run_in_a_change_ends_its_check_on_the_old_head_and_on_the_new(inside) -> None:
    await inside.admit(change=True)
    await inside.run()
    assert ended(inside) == [("base", "finished"), ("c" * 40, "finished")]
    assert inside.pushes.pushed == {HEAD: "c" * 40}


async def test_a_change_that_a_run_opened_gets_its_check(world) -> None:
    await world.admit()
    await world.run()
    assert checks(world) == [("c" * 40, "finished")]


async def test_a_follow_up_shows_its_check_on_the_change_that_is_open(inside) -> None:
    await inside.admit()
    await inside.run()
    inside.forge.calls.clear()
    inside.script = [*inside.script, *inside.script]
    await inside.admit("@onhand rename it")
    await inside.run("worker/2")
    assert ended(inside) == [("base", "finished"), ("c" * 40, "finished")]


async def test_where_there_is_no_change_there_is_no_check(world) -> None:
    world.pushes.changed = False
    await world.admit()
    await world.run()
    assert checks(world) == []


async def cut_off_during_a_command(world: Any, holder: str) -> None:
    """Let a worker run until its command hangs, and end it there."""
    running = asyncio.create_task(world.run(holder))
    async with asyncio.timeout(20):
        while not world.boxes.living or not next(iter(world.boxes.living.values())).commands:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    next(iter(world.boxes.living.values())).commands.clear()


async def test_a_run_that_goes_on_elsewhere_shows_the_check_that_it_has_and_a_refusal_ends_it(inside) -> None:
    inside.boxes.hold = asyncio.Event()
    inside.script = [*inside.script[:1], *inside.script]
    await inside.admit(change=True)
    await cut_off_during_a_command(inside, "worker/1")
    await cut_off_during_a_command(inside, "worker/2")
    assert checks(inside) == [("base", None)]
    inside.forge.writers.discard("alice")
    await inside.run("worker/3")
    assert checks(inside) == [("base", None), ("base", "refused")]


async def test_a_button_knows_the_thread_as_earlier_requests_described_it(inside) -> None:
    await inside.admit(change=True, title="Login redirect", url="https://forge.example/12")
    await inside.run()
    inside.script = [*inside.script, *inside.script]
    seq = await inside.admit("@onhand retry", change=False, title="", url="", by="button")
    trigger = (await inside.state()).requests[seq].trigger
    assert (trigger.change, trigger.title, trigger.url) == (True, "Login redirect", "https://forge.example/12")
    await inside.run("worker/2")
    assert (await inside.state()).requests[seq].ending == "finished"
    assert len([call for call in inside.forge.calls if isinstance(call, SetCheck)]) >= 4


async def test_what_was_pushed_before_the_box_was_lost_has_its_check(inside) -> None:
    await inside.admit(change=True)
    await inside.run_and_die_with("landed")
    await inside.run("worker/2")
    assert checks(inside)[-1] == ("c" * 40, "finished")
