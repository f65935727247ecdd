"""Boxes that are begun before their run asks for one: only once it is settled who asks, and none is left over."""

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest

from bot.core.errors import SandboxError, SandboxGone
from bot.flows import desk, work
from bot.flows.ahead import BoxesAhead, labels_of
from tests.flows.conftest import CONVERSATION, Boxes, World
from workers import sweeps


@pytest.fixture
def ahead(world: World) -> BoxesAhead:
    return BoxesAhead(world.boxes)  # type: ignore[arg-type]


async def _admit(world: World, ahead: BoxesAhead) -> None:
    seq = await world.ask()
    await desk.acknowledge(world.services, CONVERSATION, seq, ahead)


async def test_a_run_takes_the_box_that_was_begun_at_the_desk(world: World, ahead: BoxesAhead) -> None:
    await _admit(world, ahead)
    await work.run(world.services, replace(world.shop, sandboxes=ahead), CONVERSATION, "worker/1")
    assert world.boxes.made == 1
    assert world.pushes.pushed
    assert not world.boxes.living


async def test_no_box_is_begun_for_whom_onhand_may_not_work(world: World, ahead: BoxesAhead) -> None:
    async def may_write(*_: Any) -> bool:
        return False

    world.forge.may_write = may_write  # type: ignore[method-assign]
    await _admit(world, ahead)
    await ahead.close()
    assert world.boxes.made == 0


async def test_who_was_admitted_lately_has_the_box_begun_while_they_are_asked_for_again(
    world: World, ahead: BoxesAhead
) -> None:
    made: list[int] = []

    async def may_write(*_: Any) -> bool:
        await asyncio.sleep(0.01)  # a forge takes its time
        made.append(world.boxes.made)
        return True

    await _admit(world, ahead)
    await work.run(world.services, replace(world.shop, sandboxes=ahead), CONVERSATION, "worker/1")
    world.forge.may_write = may_write  # type: ignore[method-assign]
    await _admit(world, ahead)
    await ahead.close()
    assert made == [2], "begun before the forge was asked"
    assert not world.boxes.living


async def test_a_box_is_begun_early_for_nobody_else_not_elsewhere_and_not_for_ever(
    world: World, ahead: BoxesAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.admit(CONVERSATION, "alice acme/app")
    await ahead.create(labels_of(CONVERSATION))
    ahead.expect("other", "mallory acme/app")
    ahead.expect("other", "alice acme/secret")
    monkeypatch.setattr("bot.flows.ahead._LATELY", 0.0)
    ahead.expect("other", "alice acme/app")
    await ahead.close()
    assert world.boxes.made == 1


async def test_who_was_admitted_longest_ago_is_forgotten_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.flows.ahead._PEOPLE", 2)
    full = BoxesAhead(world.boxes, lambda: False)  # type: ignore[arg-type]
    for person in ("alice", "bob", "alice", "carol"):
        full.admit(CONVERSATION, person)
    assert list(full._admitted) == ["alice", "carol"]


async def test_no_box_is_begun_where_a_run_would_not_be(world: World) -> None:
    full = BoxesAhead(world.boxes, lambda: False)  # type: ignore[arg-type]
    full.admit(CONVERSATION, "alice")
    await full.close()
    assert world.boxes.made == 0


async def test_no_box_is_begun_where_another_request_waits_for_the_same_run(world: World, ahead: BoxesAhead) -> None:
    await world.admit()
    await _admit(world, ahead)
    await ahead.close()
    assert world.boxes.made == 0


async def test_a_box_that_no_run_takes_is_removed_and_none_is_begun_for_a_while(
    world: World, ahead: BoxesAhead
) -> None:
    ahead.admit(CONVERSATION, "alice")
    await ahead.close()
    assert (world.boxes.made, world.boxes.living) == (1, {})
    ahead.admit(CONVERSATION, "alice")
    await ahead.create(labels_of(CONVERSATION))
    assert world.boxes.made == 2, "the run makes its own"


async def test_a_box_with_other_labels_is_not_the_one_that_was_begun(world: World, ahead: BoxesAhead) -> None:
    ahead.admit(CONVERSATION, "alice")
    await ahead.create({"conversation": CONVERSATION, "kind": "other"})
    await ahead.create(labels_of("another"))
    await ahead.close()
    assert (world.boxes.made, len(world.boxes.living)) == (3, 2)


async def test_a_run_whose_right_is_gone_at_the_second_look_leaves_no_box(world: World) -> None:
    await world.admit()
    answers = iter([False])

    async def may_write(*_: Any) -> bool:
        return next(answers)

    world.forge.may_write = may_write  # type: ignore[method-assign]
    await world.run()
    assert (world.boxes.made, world.boxes.living) == (1, {})
    assert not world.pushes.pushed


async def test_the_sweep_leaves_a_box_for_as_long_as_its_run_may_still_come(world: World, ahead: BoxesAhead) -> None:
    listed = Listed(world.boxes)
    shop = replace(world.shop, sandboxes=listed)  # type: ignore[arg-type]
    await _admit(world, ahead)
    box = await ahead.create(labels_of(CONVERSATION))
    assert await sweeps.boxes(world.services, shop) == 0
    await world.run()
    assert await sweeps.boxes(world.services, shop) == 1, "the run has made its own, and this one is nobody's"
    assert box.state not in world.boxes.living


@pytest.mark.parametrize("refusal", [PermissionError, SandboxError])
async def test_a_box_that_cannot_be_removed_is_said_and_keeps_no_other_from_its_turn(
    world: World, ahead: BoxesAhead, refusal: type[Exception]
) -> None:
    await _admit(world, ahead)
    await world.run()
    stays, goes = [await ahead.create(labels_of(CONVERSATION)) for _ in range(2)]
    shop = replace(world.shop, sandboxes=Stubborn(world.boxes, stays.state, refusal))  # type: ignore[arg-type]
    with pytest.raises(refusal, match="somebody else"):
        await sweeps.boxes(world.services, shop)
    assert stays.state in world.boxes.living
    assert goes.state not in world.boxes.living


async def test_a_box_that_is_gone_when_its_turn_comes_is_no_trouble(world: World, ahead: BoxesAhead) -> None:
    await _admit(world, ahead)
    await world.run()
    gone = await ahead.create(labels_of(CONVERSATION))
    shop = replace(world.shop, sandboxes=Stubborn(world.boxes, gone.state, SandboxGone))  # type: ignore[arg-type]
    assert await sweeps.boxes(world.services, shop) == 0


class Listed:
    """Sandboxes whose boxes all belong to the one conversation."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes

    async def list(self) -> list[tuple[str, dict[str, str]]]:
        return [(state, labels_of(CONVERSATION)) for state in self._boxes.living]

    async def remove(self, state: str) -> None:
        await self._boxes.remove(state)


class Stubborn(Listed):
    """One of them cannot be removed."""

    def __init__(self, boxes: Boxes, state: str, refusal: type[Exception]) -> None:
        super().__init__(boxes)
        self._state, self._refusal = state, refusal

    async def remove(self, state: str) -> None:
        if state == self._state:
            raise self._refusal(f"{state} belongs to somebody else")
        await super().remove(state)


async def stopped_during_the_removal(
    world: World, ahead: BoxesAhead, may_go: asyncio.Event, refusal: SandboxError | None = None
) -> None:
    """Let a worker be told to stop while it removes the box of a run that has ended."""
    removing, remove = asyncio.Event(), world.boxes.remove

    async def slowly(state: str) -> None:
        removing.set()
        await may_go.wait()
        if refusal:
            raise refusal
        await remove(state)

    world.boxes.remove = slowly  # type: ignore[method-assign]
    await world.admit()
    shop = replace(world.shop, sandboxes=ahead)
    running = asyncio.create_task(work.run(world.services, shop, CONVERSATION, "worker/1"))
    await removing.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await world.state()).open() == []
    assert world.boxes.living


async def test_a_worker_that_is_told_to_stop_sees_the_removal_of_a_box_to_its_end(
    world: World, ahead: BoxesAhead
) -> None:
    may_go = asyncio.Event()
    await stopped_during_the_removal(world, ahead, may_go)
    may_go.set()
    await ahead.close()
    assert not world.boxes.living


async def test_a_removal_that_fails_after_its_run_was_cancelled_is_one_line_in_the_log(
    world: World, ahead: BoxesAhead, caplog: pytest.LogCaptureFixture
) -> None:
    may_go = asyncio.Event()
    await stopped_during_the_removal(world, ahead, may_go, SandboxError("the engine says no"))
    may_go.set()
    await ahead.close()
    gc.collect()
    [said] = [row for row in caplog.records if "the engine says no" in row.getMessage() or row.name == "asyncio"]
    assert (said.levelname, said.exc_info) == ("WARNING", None)


async def test_an_engine_that_does_not_remove_it_holds_no_worker_up(
    world: World, ahead: BoxesAhead, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bot.flows.ahead._LEAVING", 0.05)
    may_go = asyncio.Event()
    await stopped_during_the_removal(world, ahead, may_go)
    await ahead.close()
    assert "left to the sweep" in caplog.text
    may_go.set()
    await ahead.close()
    assert not world.boxes.living
