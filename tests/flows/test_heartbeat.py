"""A run that is silent for long still shows that it goes on."""

import asyncio
import time

from bot.core.errors import ProviderError
from bot.core.outbound import Say
from bot.flows.report import HEARTBEAT, keep_posted, post_no_more, quiet_minutes
from bot.flows.runlog import ConversationLog
from tests.flows.conftest import CONVERSATION, World


async def test_the_status_is_shown_again_after_a_silence(world: World) -> None:
    await world.ask()
    log, shown = await ConversationLog.open(world.store.log, CONVERSATION), asyncio.Semaphore(0)

    async def show() -> None:
        shown.release()

    posting = asyncio.create_task(keep_posted(log, show, every=0.0, heartbeat=0.01))
    for _ in range(3):  # nothing grows, and it is shown
        await shown.acquire()
    posting.cancel()


async def test_a_platform_that_asks_to_wait_is_left_alone_however_the_log_grows(world: World) -> None:
    await world.ask()
    log, shown = await ConversationLog.open(world.store.log, CONVERSATION), list[float]()

    async def show() -> None:
        log.changed.set()
        shown.append(time.monotonic())
        if len(shown) == 1:
            raise ProviderError("limited", "slow down", 0.5)

    posting = asyncio.create_task(keep_posted(log, show, every=0.0, heartbeat=60.0))
    while len(shown) < 2:
        await asyncio.sleep(0.01)
    await post_no_more(posting)
    assert shown[1] - shown[0] >= 0.5


async def test_a_time_to_wait_that_is_far_off_silences_a_run_for_a_heartbeat_at_most(world: World) -> None:
    await world.ask()
    log, shown = await ConversationLog.open(world.store.log, CONVERSATION), asyncio.Semaphore(0)

    async def show() -> None:
        shown.release()
        raise ProviderError("limited", "slow down", 1e9)

    posting = asyncio.create_task(keep_posted(log, show, every=0.0, heartbeat=0.01))
    for _ in range(2):
        await shown.acquire()
    await post_no_more(posting)


async def test_a_silent_run_says_for_how_long(world: World) -> None:
    await world.admit()
    world.use(clock=lambda: time.time() + 2 * HEARTBEAT + 60)  # the log's own clock stays behind
    await world.run()
    said = [call.text for call in world.forge.calls if isinstance(call, Say)]
    assert "running, for 40 minutes so far" in said
    assert said[-1].startswith("ended")


def test_silence_is_counted_in_whole_heartbeats() -> None:
    assert [quiet_minutes(0.0, HEARTBEAT * n) for n in (-1, 0, 0.99, 1, 1.5, 3.01)] == [0, 0, 0, 20, 20, 60]
