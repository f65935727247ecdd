"""How soon a killed worker's run goes on in another: real processes, a real lease, a real box."""

import asyncio
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from arq.worker import Worker, func

from bot import bootstrap, config
from bot.core.events import RunStarted
from bot.testing.models import ModelServer
from tests.benchmarks.table import row
from tests.chaos.ground import REPOSITORIES, Ground, ground
from tests.journeys.steps import CANARIES, bash

KILLS = 5


@pytest.mark.timeout(300)
async def test_takeover(tmp_path: Path, need: Any) -> None:
    need(shutil.which("bwrap"), "bubblewrap (deploy/engine.sh)")
    found: list[float] = []
    with ModelServer(lambda _: bash("sleep 60"), key=CANARIES["model"]) as model:
        async with ground("sqlite-local", model, 2, tmp_path) as laid:
            await laid.github.issue(REPOSITORIES[0], "alice", "Wait", "@onhand wait")
            async with bootstrap.build(config.load(laid.environment)) as built:
                holder = await _holder_after(built, 0)
                for number in range(1, KILLS + 1):
                    await asyncio.sleep(1.3)  # so that it is not always the same moment between two renewals
                    begin = time.monotonic()
                    await laid.kill(_name(laid, holder))
                    holder = await _holder_after(built, number)
                    found.append(time.monotonic() - begin)
    arq = Worker([func(_nothing, name="nothing")], redis_pool=object(), handle_signals=False)  # type: ignore[arg-type]
    beside, seen = arq.in_progress_timeout_s, statistics.median(found)
    worst = f"{seen:.1f} s, worst {max(found):.1f} s"
    print()
    row("killed worker -> run goes on", worst, f"stock arq {beside:.0f} s", seen / beside, "<= 15 s, typically 5")


async def _nothing(_ctx: Any) -> None: ...


def _name(laid: Ground, holder: str) -> str:
    return next(name for name in laid.workers if f"-{laid.processes[name].pid}/" in holder)


async def _holder_after(built: Any, before: int) -> str:
    """Wait until a run was begun or taken over once more than `before`; return who has it."""
    async with asyncio.timeout(60):
        while True:
            for record in await built.services.conversations.list():
                events = await built.services.log.read(record.id)
                started = [event.fact for event in events if isinstance(event.fact, RunStarted)]
                if len(started) > before:
                    return str(started[-1].holder)
            await asyncio.sleep(0.02)
