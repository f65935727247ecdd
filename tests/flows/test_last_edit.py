"""An edit of the status that is under way when the run ends: it is not called back, so it must not come after the ending."""

import asyncio

import pytest

from bot.flows.report import keep_posted
from bot.flows.runlog import ConversationLog
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


async def test_one_that_hangs_is_not_waited_for(world: World) -> None:
    seen = list[str]()
    posting = await _posting(world, asyncio.Event(), seen)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    assert seen == []
