"""From the doorbell to the job: how soon an idle worker starts what is queued, beside arq as it comes.

Both run in this process on one Redis, in turns. The fleet is another process that holds 500 jobs and renews its claims.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool

from bot import bootstrap, config
from bot.bus import RUNS, RedisBus, connect
from tests.benchmarks.table import milliseconds, row
from workers.lifecycle import work
from workers.queue import BellWorker

ROUNDS, RINGS, FLEET = 3, 60, 500
PEER_RINGS = 6
IDLE_SECONDS = 30.0

_FLEET = """
import asyncio, sys
from arq.worker import func
from bot.bus import RUNS, connect
from workers.queue import BellWorker
started = 0
async def job(ctx, conversation):
    global started
    started += 1
    if started == int(sys.argv[2]):
        print("all are going", flush=True)
    await asyncio.Event().wait()
async def main():
    await BellWorker(RUNS, connect(sys.argv[1]), [func(job, name="run_conversation")], int(sys.argv[2])).main()
asyncio.run(main())
"""


class Starts:
    """A job that notes when it began, and how to wait for it."""

    def __init__(self) -> None:
        self.at: asyncio.Queue[float] = asyncio.Queue()

    async def job(self, _ctx: Any, *_: Any) -> None:
        self.at.put_nowait(time.perf_counter())

    async def after(self, ring: Callable[[], Awaitable[Any]]) -> float:
        """Return the seconds from the ring to the start. The ring's own time counts: a provider waits for it."""
        begin = time.perf_counter()
        await ring()
        return await self.at.get() - begin


@asynccontextmanager
async def our_worker(url: str, starts: Starts) -> AsyncIterator[RedisBus]:
    redis, bus = connect(url), RedisBus(connect(url))
    worker = BellWorker(RUNS, redis, [func(starts.job, name="run_conversation")], 10)
    task = asyncio.create_task(worker.main())
    yield bus
    task.cancel()
    await worker.drain()
    await asyncio.gather(task, return_exceptions=True)
    await bus.close()
    await redis.aclose()


@asynccontextmanager
async def stock_worker(url: str, starts: Starts) -> AsyncIterator[Any]:
    redis = ArqRedis(connection_pool=ConnectionPool.from_url(url))
    worker = Worker([func(starts.job, name="peer")], queue_name="peer", redis_pool=redis, handle_signals=False)
    task = asyncio.create_task(worker.async_run())
    yield redis
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await redis.aclose()


@asynccontextmanager
async def fleet(url: str) -> AsyncIterator[None]:
    """Another process with `FLEET` runs going on."""
    bus = RedisBus(connect(url))
    for number in range(FLEET):
        await bus.run(f"going-{number}", 1)
    await bus.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FLEET, url, str(FLEET), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"all are going\n"
    yield
    process.kill()
    await process.wait()


async def ours(bus: RedisBus, starts: Starts, rings: int, name: str) -> list[float]:
    found = []
    for number in range(rings):
        await asyncio.sleep(0.005)  # idle again, as between two requests
        found.append(await starts.after(lambda number=number: bus.run(f"{name}-{number}", 1)))  # type: ignore[misc]
    return found


def show(what: str, seconds: list[float], peer: float) -> None:
    low, high = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
    aim = "p50 <= 3 ms, p99 <= 10 ms"
    seen = f"{milliseconds(low)} / {milliseconds(high)}"
    row(what, seen, f"stock arq polling {milliseconds(peer)}", low / peer, aim)


@pytest.mark.timeout(300)
async def test_start(redis_url: str) -> None:
    mine, peer, among = list[float](), list[float](), list[float]()
    starts, peers = Starts(), Starts()
    async with our_worker(redis_url, starts) as bus, stock_worker(redis_url, peers) as redis:
        for turn in range(ROUNDS):
            mine += await ours(bus, starts, RINGS, f"alone-{turn}")
            peer += [
                await peers.after(lambda: redis.enqueue_job("peer", _queue_name="peer")) for _ in range(PEER_RINGS)
            ]
    async with fleet(redis_url), our_worker(redis_url, starts) as bus:
        await asyncio.sleep(1.5)
        for turn in range(ROUNDS):
            among += await ours(bus, starts, RINGS, f"among-{turn}")
    middle = statistics.median(peer)
    print()
    show("accepted -> job started, idle worker, p50 / p99", mine, middle)
    show(f"the same with {FLEET} other runs in the fleet", among, middle)


@pytest.mark.timeout(120)
async def test_idle(tmp_path: Path, redis_url: str) -> None:
    """A whole worker: both queues, claims, sweeps."""
    told = {"ONHAND_HOME": str(tmp_path), "ONHAND_REDIS_URL": redis_url, "ONHAND_SANDBOX__KIND": "process"}
    stop = asyncio.Event()
    async with bootstrap.build(config.load(told)) as built:
        working = asyncio.create_task(work(built, 8, stop))
        redis = connect(redis_url)
        await redis.ping()
        await asyncio.sleep(3.0)  # the sweeps that come with the start
        before = (await redis.info("stats"))["total_commands_processed"]
        await asyncio.sleep(IDLE_SECONDS)
        after = (await redis.info("stats"))["total_commands_processed"]
        await redis.aclose()
        stop.set()
        await working
    row("idle worker, Redis commands a second", f"{(after - before) / IDLE_SECONDS:.1f}", aim="<= 5")
