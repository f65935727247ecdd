"""The life of a worker process: get ready, work both queues, hand over on a signal."""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bot.bootstrap import Built
from bot.bus import ACTIONS, RUNS, RedisBus
from bot.core.errors import Unavailable
from bot.flows.ahead import BoxesAhead
from workers.jobs import acknowledge, run_conversation
from workers.queue import BellWorker
from workers.sweeps import cron_jobs

log = logging.getLogger(__name__)

_ACTIONS_AT_ONCE = 128
"""Requests that are acknowledged at once. One whose platform hangs keeps its place for more than a minute."""


async def work(built: Built, concurrent_runs: int, stop: asyncio.Event) -> None:
    """Work off both queues until `stop` is set, then hand the running jobs over."""
    bus = built.services.bus
    assert isinstance(bus, RedisBus), "workers need the Redis bus"
    shop = await built.workshop()
    ahead = BoxesAhead(shop.sandboxes, lambda: runs.has_room)
    ctx: dict[str, Any] = {
        "services": built.services,
        "shop": replace(shop, sandboxes=ahead),
        "boxes": ahead,
        "worker": f"{socket.gethostname()}-{os.getpid()}",
    }
    runs = BellWorker(RUNS, bus.redis, [run_conversation], concurrent_runs, ctx=ctx)
    actions = BellWorker(ACTIONS, bus.redis, [acknowledge], _ACTIONS_AT_ONCE, ctx=ctx, cron_jobs=cron_jobs())
    with suppress(Unavailable):  # then they wait as long as they were told to
        await bus.hurry()
    tasks = [asyncio.create_task(worker.main(), name=worker.queue_name) for worker in (runs, actions)]
    log.info("worker %s is ready", ctx["worker"])
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopping, *tasks):
        task.cancel()
    await asyncio.gather(runs.drain(), actions.drain())
    await ahead.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done - {stopping}:
        task.result()  # a queue that broke down is no clean end
