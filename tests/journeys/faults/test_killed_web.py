"""SIGKILL of the web process while it takes a delivery in: the provider sends it again, and there is exactly one run."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journeys.faults.conftest import Begin, place_at
from tests.journeys.faults.proxy import Proxy
from tests.journeys.faults.test_killed_workers import once
from tests.journeys.steps import CANARIES

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


async def test_killed_between_commit_and_doorbell_a_redelivery_makes_one_run(
    begin: Begin, redis_proxy: Proxy, tmp_path: Path
) -> None:
    proxied = {"ONHAND_REDIS_URL": f"redis://127.0.0.1:{redis_proxy.port}"}
    async with begin(web=proxied) as service, place_at(service, tmp_path) as place:
        redis_proxy.hold(once=b"onhand:actions")
        await ask_and_kill(place, redis_proxy, service)
        assert [asked for asked in place.github.requests if place.name in asked.path] == [], "nobody has heard of it"
        await send_again(place)


async def test_killed_between_commit_and_answer_a_redelivery_makes_one_run(begin: Begin, tmp_path: Path) -> None:
    async with (
        begin() as service,
        place_at(service, tmp_path) as place,
        Proxy(int(service.environment["ONHAND_PORT"])) as before_web,
    ):
        place.github._hooks.clear()
        place.github.hook(f"http://127.0.0.1:{before_web.port}/api/integration/github/events", CANARIES["webhook"])
        before_web.hold(once=b'"accepted"')
        await ask_and_kill(place, before_web, service)
        place.github._hooks.clear()
        place.listen()
        await send_again(place)


async def ask_and_kill(place: Any, proxy: Proxy, service: Any) -> None:
    """Ask, and kill the web process when the proxy holds its words back."""

    async def kill() -> None:
        await proxy.held.wait()
        web = service.processes.pop("web")
        web.kill()
        web.wait()
        await proxy.refuse()
        proxy.release()

    killing = asyncio.create_task(kill())
    with suppress(httpx.HTTPError):
        await place.issue()
    await killing
    assert place.github.deliveries[0].status == 0, "the provider got no answer"


async def send_again(place: Any) -> None:
    """Start the web process again and let the provider send its last delivery again, twice."""
    place.service.start("web", "serve")
    await asyncio.to_thread(place.service.wait_until_ready)
    [first] = [d for d in place.github.deliveries if d.event == "issues"]
    for _ in range(2):
        [answer] = await place.github.send(first)
        assert answer.status_code == 200
        assert answer.json()["status"] == "duplicate"
    await place.ended(1)
    await once(place, 1, replies=2)
    runs = [event for event in await place.events(1) if event.get("observation") == "run_started"]
    assert len(runs) == 1
