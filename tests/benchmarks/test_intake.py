"""How much of the limit the webhook endpoint reaches: `onhand serve` beside a bare ASGI app that only checks the HMAC.

Each is one uvicorn process on one core; the load (64 connections, bodies of 14 KB), Redis and PostgreSQL are kept on the
other. Ratios of interleaved rounds in one run (medians); nothing is asserted about time. The processor time of the
server a delivery is printed as well: it says the same on a machine that has other things to do, or whose other core is
what PostgreSQL waits for.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from redis.asyncio import Redis

from bot.commands.service import end, free_port, start_bound

SECRET = "the secret of the benchmark"
HERE = Path(__file__).parent
ROUNDS = 5
COUNTS = {"nothing": 5000, "forged": 5000, "wish": 1500}
LIMIT = "the limit"
CORES = sorted(os.sched_getaffinity(0))
SERVER, OTHERS = {CORES[0]}, set(CORES[1:]) or {CORES[0]}


class Server(NamedTuple):
    port: int
    process: psutil.Process

    def busy(self) -> float:
        """Seconds of processor time until now."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


class Round(NamedTuple):
    rate: float
    busy: float


@asynccontextmanager
async def limit() -> AsyncIterator[Server]:
    port = free_port("127.0.0.1")
    process = await asyncio.create_subprocess_exec(sys.executable, str(HERE / "limit.py"), str(port), SECRET)
    os.sched_setaffinity(process.pid, SERVER)
    try:
        await answers(port, "/")
        yield Server(port, psutil.Process(process.pid))
    finally:
        process.terminate()
        await end(process, 10)


@asynccontextmanager
async def onhand(home: Path, redis_url: str, database_url: str = "") -> AsyncIterator[Server]:
    port = free_port("127.0.0.1")
    environment = {
        **os.environ,
        "ONHAND_HOME": str(home),
        "ONHAND_REDIS_URL": redis_url,
        "ONHAND_GITHUB__WEBHOOK_SECRET": SECRET,
        "ONHAND_GITHUB__TOKEN": "a token for the benchmark",
        **({"ONHAND_DATABASE_URL": database_url} if database_url else {}),
    }
    log = (home / "log").open("wb")
    process = await start_bound("serve", "--port", str(port), env=environment, stderr=log)
    os.sched_setaffinity(process.pid, SERVER)
    try:
        await answers(port, "/ready")
        yield Server(port, psutil.Process(process.pid))
    finally:
        process.terminate()
        await end(process, 20)
        log.close()


async def answers(port: int, path: str) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                await client.get(f"http://127.0.0.1:{port}{path}")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


async def one_round(server: Server, kind: str, first: int, status: str) -> Round:
    """Deliveries per second, and the server's processor time for each."""
    command = [sys.executable, HERE / "load.py", str(server.port), SECRET, kind, str(COUNTS[kind]), str(first)]
    before = server.busy()
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    os.sched_setaffinity(process.pid, OTHERS)
    found: Any = json.loads((await process.communicate())[0])
    assert found["statuses"] == {status: COUNTS[kind]}
    return Round(found["rate"], (server.busy() - before) / COUNTS[kind])


@pytest.mark.timeout(900)
async def test_intake(tmp_path: Path, redis_url: str, postgres: Any) -> None:
    found: dict[str, list[Round]] = defaultdict(list)
    for process in (
        psutil.Process(),
        *psutil.Process().children(recursive=True),
    ):  # Redis, PostgreSQL, the starter of loads
        os.sched_setaffinity(process.pid, OTHERS)
    for name in ("sqlite", "postgresql"):
        (tmp_path / name).mkdir()
    with postgres.database("migrated") as url:
        async with (
            limit() as bare,
            onhand(tmp_path / "sqlite", redis_url) as ours,
            onhand(tmp_path / "postgresql", redis_url, url) as with_postgresql,
        ):
            rows = {
                LIMIT: (bare, "nothing", "200"),
                "asks for nothing": (ours, "nothing", "200"),
                "forged": (ours, "forged", "401"),
                "accepted, SQLite": (ours, "wish", "202"),
                "accepted, PostgreSQL": (with_postgresql, "wish", "202"),
            }
            for turn in range(ROUNDS):
                for name, (server, kind, status) in rows.items():
                    found[name].append(await one_round(server, kind, 1 + turn * COUNTS[kind], status))
    assert await Redis.from_url(redis_url).zcard("onhand:actions") == ROUNDS * COUNTS["wish"]
    print_table(found)


def print_table(found: dict[str, list[Round]]) -> None:
    print("\nintake, 14 KB, 64 connections, one process on one core")
    limit = [statistics.median(column) for column in zip(*found[LIMIT], strict=True)]
    for name, rounds in found.items():
        rate, busy = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"  {name:<21} {rate:>7,.0f}/s  {rate / limit[0]:.2f} of the limit"
            f"   {busy * 1e6:>6,.0f} us of processor  {limit[1] / busy:.2f}"
        )
