"""From a delivery to the first command in a box, the whole way: web, queue, front desk, provider, git, box, a scripted model."""

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bot import registry
from bot.commands.service import free_port
from bot.core.ports import BoxSpec
from bot.redis_server import EmbeddedRedis
from bot.testing.github import GitHubServer
from tests.journeys.conftest import Place, Scripts, Service
from tests.journeys.steps import CANARIES

ROUNDS = 7
SCRIPT = [
    {"calls": [{"name": "bash", "arguments": {"command": "true"}}]},
    {"calls": [{"name": "finish", "arguments": {"title": "Nothing to do", "summary": "It works."}}]},
]


@pytest.mark.parametrize("kind", ["local", pytest.param("docker", marks=pytest.mark.docker)])
@pytest.mark.timeout(300)
async def test_a_delivery_to_the_first_command(kind: str, tmp_path: Path, need: Any) -> None:
    box = await _a_box(kind, tmp_path / "bare", need)
    async with _place(kind, tmp_path) as place:
        times: list[dict[str, float]] = []
        for _ in range(ROUNDS + 1):
            calls, begin = len(place.github.requests), time.time()
            number = await place.issue("@onhand please look")
            await place.ended(number)
            events = await place.events(number)
            times.append(_stations(events, begin))
        print(
            f"\n{kind}: a box alone {box * 1000:.0f} ms; {len(place.github.requests) - calls} calls at the provider a run"
        )
    for station in times[-1]:
        median = statistics.median(found[station] for found in times[1:])  # with the first one the mirror is made
        print(f"  {kind}, delivery to {station}: {median * 1000:.0f} ms, {median / box:.2f} of a box")


def _stations(events: list[dict[str, Any]], begin: float) -> dict[str, float]:
    """Return the seconds from the delivery to what the log notes of its way, oldest first."""
    found: dict[str, float] = {}
    for event in events:
        name = event.get("observation") or event.get("action")
        found.setdefault(str(name), datetime.fromisoformat(event["timestamp"]).timestamp() - begin)
        if event.get("observation") == "run":
            break
    return found


async def _a_box(kind: str, folder: Path, need: Any) -> float:
    """Return the seconds that a bare box takes to its first result."""
    sandboxes = registry.load("sandboxes", kind)(BoxSpec(), folder, {})
    try:
        await sandboxes.check()
    except Exception as error:  # noqa: BLE001  whatever is missing here
        need(False, str(error))
    cold = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        box = await sandboxes.create({})
        await box.run("true")
        cold.append(time.perf_counter() - begin)
        await box.remove()
    await sandboxes.close()
    return statistics.median(cold)


@asynccontextmanager
async def _place(kind: str, folder: Path) -> AsyncIterator[Place]:
    """A service in processes of its own, and a repository at the stand-in."""
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT))
    redis = EmbeddedRedis(folder)
    port = free_port("127.0.0.1")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")},
        "ONHAND_HOME": str(folder / "home"),
        "ONHAND_PORT": str(free_port("127.0.0.1")),
        "ONHAND_REDIS_URL": await redis.start(),
        "ONHAND_LOG_JSON": "1",
        "ONHAND_SANDBOX__KIND": kind,
        "ONHAND_LLM__MODEL": f"script:{script}",
        "ONHAND_GITHUB__WEBHOOK_SECRET": CANARIES["webhook"],
        "ONHAND_GITHUB__TOKEN": CANARIES["github"],
        "ONHAND_GITHUB__BOT_LOGIN": "onhand-bot",
        "ONHAND_GITHUB__API_URL": f"http://127.0.0.1:{port}/api/v3",
        "ONHAND_GITHUB__WEB_URL": f"http://127.0.0.1:{port}",
    }
    service = Service(kind, folder, environment, port, Scripts(), None)  # type: ignore[arg-type]  # no model is asked
    service.start("web", "serve")
    service.start("worker", "worker")
    try:
        await asyncio.to_thread(service.wait_until_ready)
        async with GitHubServer(folder / "forge", port=port) as github:
            place = Place(service, github)
            await place.set_up()
            yield place
            await place.client.aclose()
    finally:
        await asyncio.to_thread(service.stop)
        await redis.stop()
