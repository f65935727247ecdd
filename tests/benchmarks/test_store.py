"""What an append through the port costs, beside the same row by bare sqlite3 and beside fdatasync, in the same run.

An append that is synced (as FULL does it) survives power loss and is used for what guards a side effect (Asked, Calling,
Called, Closed); one that is not (NORMAL) survives any kill of processes and is used for what the agent says and sees.
The doorbell is told in the background; its processor time is counted, to the last whisper. Medians of rounds that take
turns; nothing is asserted about time.
"""

import os
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from bot.bus import RedisBus, connect
from bot.core.events import Called, Draft, Think
from bot.core.outbound import Receipt
from bot.core.secret import Redactor, Secret
from bot.store import open_store, upgrade

ROUNDS, APPENDS, LONG = 20, 50, 10_000
TEXT = "The test fails because the redirect drops the query. " * 4
THINK = Draft(Think(thought=TEXT), source="agent")
CALLED = Draft(Called(topic="t", receipt=Receipt("1")))


class Cost(NamedTuple):
    """Microseconds that one of many took, by the clock and of this process's processor."""

    clock: float
    busy: float


async def cost(count: int, work: Callable[[int], Awaitable[object]], last: Callable[[], Awaitable[object]]) -> Cost:
    begin, busy = time.perf_counter(), time.process_time()
    for number in range(count):
        await work(number)
    clock = time.perf_counter() - begin
    await last()
    return Cost(clock / count * 1e6, (time.process_time() - busy) / count * 1e6)


def bare(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE events (id TEXT, seq INTEGER, body TEXT, PRIMARY KEY (id, seq))")
    return connection


@pytest.mark.timeout(300)
async def test_appends(tmp_path: Path, redis_url: str) -> None:
    url = f"sqlite:///{tmp_path}/onhand.db"
    await upgrade(url)
    bus = RedisBus(connect(redis_url))
    keys = [Secret("a key for the benchmark, and for it alone")]
    store = await open_store(url, clock=time.time, redact=Redactor(keys), grown=bus.grown, keys=keys)
    synced = os.open(tmp_path / "synced", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    found: dict[str, list[Cost]] = {}
    with closing(bare(tmp_path / "normal.db", "NORMAL")) as normal, closing(bare(tmp_path / "full.db", "FULL")) as full:
        for turn in range(ROUNDS):

            async def insert(number: int, into: sqlite3.Connection, turn: int = turn) -> None:
                into.execute("INSERT INTO events VALUES (?, ?, ?)", (str(turn), number, TEXT))

            async def sync(_number: int) -> None:
                os.write(synced, TEXT.encode())
                os.fdatasync(synced)

            async def append(number: int, draft: Draft, turn: int = turn) -> None:
                await store.log.append(f"{draft.fact.kind}-{turn}", [draft], expected=number)

            rows: dict[str, Callable[[int], Awaitable[object]]] = {
                "sqlite3, NORMAL": lambda n: insert(n, normal),
                "append, NORMAL": lambda n: append(n, THINK),
                "fdatasync": sync,
                "sqlite3, FULL": lambda n: insert(n, full),
                "append, FULL": lambda n: append(n, CALLED),
            }
            for name, work in rows.items():
                found.setdefault(name, []).append(await cost(APPENDS, work, store.whisper.close))
    await store.log.append("long", [THINK] * LONG, expected=0)
    for turn in range(2 * ROUNDS):
        name, after = (("last 50 of 10,000", LONG - 50), ("all 10,000", 0))[turn % 2]

        async def read(_number: int, after: int = after) -> None:
            assert len(await store.log.read("long", after)) == LONG - after

        found.setdefault(name, []).append(await cost(1, read, store.whisper.close))
    await store.close()
    await bus.close()
    os.close(synced)
    print_table({name: Cost(*map(statistics.median, zip(*costs, strict=True))) for name, costs in found.items()})


def print_table(middle: dict[str, Cost]) -> None:
    print("\nevent log, SQLite, with the whisper to a real Redis")
    for name, (clock, busy) in middle.items():
        peer = "fdatasync" if name.endswith(("FULL", "fdatasync")) else "sqlite3, NORMAL"
        beside = "" if "10,000" in name else f"   {clock / middle[peer].clock:.2f} of {peer}"
        print(f"  {name:<18} {clock:>9,.0f} us   {busy:>7,.0f} us of processor{beside}")
