"""The turns of cron jobs on a real Redis: each once, by Redis' clock, whatever happens to that of a worker."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.redis_server import EmbeddedRedis
from tests.workers.test_queue import until

_SWEEPER = """
import asyncio, sys
from arq import cron
from bot.bus import ACTIONS, connect
from workers.queue import BellWorker
async def sweep(ctx):
    print(ctx["job_id"], flush=True)
async def main():
    each_second = cron(sweep, name="sweep", second=None)
    await BellWorker(ACTIONS, connect(sys.argv[1]), [], 5, cron_jobs=[each_second]).main()
asyncio.run(main())
"""


@asynccontextmanager
async def sweeper(url: str, clock: Path) -> AsyncIterator[list[int]]:
    """A worker with a sweep each second, whose clock is what the file says; gives the times of the turns that it has done."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SWEEPER, url, stdout=asyncio.subprocess.PIPE, env=os.environ | clock_of(clock)
    )
    turns: list[int] = []

    async def read() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            turns.append(int(line.rpartition(b":")[2]))

    reading = asyncio.create_task(read())
    try:
        yield turns
    finally:
        process.kill()
        await process.wait()
        await reading


def clock_of(file: Path) -> dict[str, str]:
    """The environment of a process whose clock is what the file says."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
def clock(tmp_path: Path, need: Any) -> Path:
    """What the clock of a `sweeper` is told."""
    need(shutil.which("faketime"), "faketime (deploy/engine.sh)")
    set_clock(tmp_path / "clock", "+0")
    return tmp_path / "clock"


def set_clock(file: Path, to: str) -> None:
    """Set it so far ahead of the true time, or behind."""
    file.write_text(to)


@pytest.mark.parametrize("difference", ["+2m", "-2m"])
async def test_a_sweep_has_its_turn_by_the_clock_of_redis(redis_url: str, clock: Path, difference: str) -> None:
    set_clock(clock, difference)
    async with sweeper(redis_url, clock) as turns:
        await until(lambda: len(turns) > 2, 40)
    assert abs(turns[-1] / 1000 - time.time()) < 60


async def test_workers_whose_clocks_differ_do_each_turn_once(redis_url: str, clock: Path, tmp_path: Path) -> None:
    set_clock(tmp_path / "ahead", "+2m")
    async with sweeper(redis_url, clock) as ones, sweeper(redis_url, tmp_path / "ahead") as others:
        await until(lambda: ones and others and len(ones) + len(others) > 10, 60)
    first, *rest = sorted(ones + others)
    assert rest == [first + 1000 * number for number in range(1, len(rest) + 1)]


@pytest.mark.parametrize("step", ["-1h", "+1h"])
async def test_sweeps_go_on_when_a_workers_clock_is_set(redis_url: str, clock: Path, step: str) -> None:
    async with sweeper(redis_url, clock) as turns:
        await until(lambda: turns, 40)
        set_clock(clock, step)
        await until(lambda: len(turns) > 15, 40)  # ten turns may have been queued before
    assert turns == [turns[0] + 1000 * number for number in range(len(turns))]


@pytest.mark.parametrize(("step", "hours"), [("-1h", -1), ("+1h", 1)])
async def test_sweeps_go_on_when_the_clock_of_all_is_set(
    tmp_path: Path, clock: Path, monkeypatch: pytest.MonkeyPatch, step: str, hours: int
) -> None:
    redis = EmbeddedRedis(tmp_path)
    with monkeypatch.context() as shifted:
        for name, value in clock_of(clock).items():
            shifted.setenv(name, value)
        url = await redis.start()
    async with sweeper(url, clock) as turns:
        await until(lambda: turns, 40)
        set_clock(clock, step)

        def since() -> list[int]:
            return [turn for turn in turns if abs(turn / 1000 - time.time() - hours * 3600) < 600]

        await until(lambda: len(since()) > 5, 60)
    await redis.stop()
    assert since() == [since()[0] + 1000 * number for number in range(len(since()))]
