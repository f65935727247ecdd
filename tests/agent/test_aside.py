"""The loop beside: what runs there does not hold up the one it is asked from."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from bot.agent.aside import Aside

WORD = ContextVar("word", default="")


@pytest.fixture(scope="module")
def aside():
    return Aside("aside")


async def test_work_that_blocks_there_leaves_this_loop_free(aside):
    free = threading.Event()

    async def block():
        return free.wait(10)

    working = asyncio.create_task(aside.run(block()))
    await asyncio.sleep(0)
    free.set()  # were the work done here, nobody would come to this line
    assert await working


async def test_cancelling_cancels_the_work(aside):
    loop, begun, ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    async def hang():
        loop.call_soon_threadsafe(begun.set)
        try:
            await asyncio.Event().wait()
        finally:
            loop.call_soon_threadsafe(ended.set)

    working = asyncio.create_task(aside.run(hang()))
    await begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await ended.wait()


async def test_errors_and_context_go_across(aside):
    WORD.set("mine")

    async def fail():
        raise LookupError(WORD.get())

    with pytest.raises(LookupError, match="mine"):
        await aside.run(fail())
