"""An edit of the status that is under way when the run ends: it is not called back, so it must not come after the ending."""

import asyncio

import pytest

from bot.flows import report
from bot.flows.report import keep_posted, post_no_more
from bot.flows.runlog import ConversationLog
from bot.flows.tenure import end
from tests.flows.conftest import CONVERSATION, World


async def _posting(world: World, go: asyncio.Event, seen: list[str]) -> "asyncio.Task[None]":
    await world.ask()
    log, begun = await ConversationLog.open(world.store.log, CONVERSATION), asyncio.Event()

    async def show() -> None:
        begun.set()
        await go.wait()
        seen.append("edit")

    posting = asyncio.create_task(keep_posted(log, show))
    await begun.wait()
    return posting


async def test_an_edit_that_is_under_way_arrives_before_the_ending(world: World) -> None:
    go, seen = asyncio.Event(), list[str]()
    posting = await _posting(world, go, seen)
    posting.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await posting
    assert seen == ["edit"]


async def test_the_ending_waits_for_it_though_a_task_that_goes_on_is_cancelled_again_and_again(world: World) -> None:
    go, seen = asyncio.Event(), list[str]()
    posting = await _posting(world, go, seen)
    asyncio.get_running_loop().call_later(1.5, go.set)  # longer than it takes to be cancelled again
    await post_no_more(posting)
    assert seen == ["edit"]


async def test_one_that_hangs_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_LAST_WORD", 0.1)
    seen = list[str]()
    await post_no_more(await _posting(world, asyncio.Event(), seen))
    assert seen == []


async def test_who_is_told_to_stop_hardly_waits_for_it(world: World) -> None:
    seen = list[str]()
    ending = asyncio.create_task(post_no_more(await _posting(world, asyncio.Event(), seen)))
    await asyncio.sleep(0)
    await end(ending)
    assert seen == []
