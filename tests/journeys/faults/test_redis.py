"""Redis goes wrong while deliveries come in and runs are under way: nothing is lost, and everything ends by itself."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bot.redis_server import EmbeddedRedis, _socket_path
from tests.journeys.faults.conftest import Begin, place_at, put_to_sleep
from tests.journeys.faults.proxy import Proxy
from tests.journeys.faults.test_killed_workers import once
from tests.journeys.steps import MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]

SLOW = [bash("sleep 2"), bash(MEND_CALC), finish()]


@asynccontextmanager
async def nobody_reaches_it(proxy: Proxy, _folder: Path) -> AsyncIterator[None]:
    await proxy.refuse()
    yield
    await asyncio.sleep(4)
    await proxy.accept()


@asynccontextmanager
async def it_takes_everything_and_says_nothing(proxy: Proxy, _folder: Path) -> AsyncIterator[None]:
    """For longer than we wait for it."""
    proxy.hold()
    yield
    await asyncio.sleep(7)
    proxy.release()


@asynccontextmanager
async def it_is_stopped_and_started(_proxy: Proxy, folder: Path) -> AsyncIterator[None]:
    async with at_redis(folder) as client:
        await client.shutdown()
    yield
    again = EmbeddedRedis(folder)
    await again.start()
    AGAIN.append(again)


@asynccontextmanager
async def it_forgets_everything(_proxy: Proxy, folder: Path) -> AsyncIterator[None]:
    async with at_redis(folder) as client:
        await client.flushall()
    yield


def at_redis(folder: Path) -> Redis:
    """Return a client of the Redis that is in the test's folder."""
    return Redis(unix_socket_path=str(_socket_path(folder / "redis")))


AGAIN: list[EmbeddedRedis] = []
"""What was started again: it ends when its object is gone."""

FAULTS = [
    nobody_reaches_it,
    it_takes_everything_and_says_nothing,
    it_is_stopped_and_started,
    it_forgets_everything,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_redis_that_fails_loses_nothing(
    begin: Begin, redis_proxy: Proxy, tmp_path: Path, fault: Callable[..., AbstractAsyncContextManager[None]]
) -> None:
    url = f"redis://127.0.0.1:{redis_proxy.port}"
    async with begin(script=SLOW, ONHAND_REDIS_URL=url) as service, place_at(service, tmp_path) as place:
        await place.issue()
        await place.until(lambda: has(place, 1, "run"))
        async with fault(redis_proxy, tmp_path):
            await place.issue()
            issues = [delivery for delivery in place.github.deliveries if delivery.event == "issues"]
            assert issues[-1].status == 202, "it is in the database"
        for number in (1, 2):
            await place.ended(number)
        assert [len(place.said(number)) for number in (1, 2)] == [1, 1]
        assert len(place.pulls()) == 2
    while AGAIN:
        await AGAIN.pop().stop()


async def test_a_request_whose_job_was_forgotten_is_found_by_the_sweep(begin: Begin, tmp_path: Path) -> None:
    async with begin() as service, place_at(service, tmp_path) as place:
        await put_to_sleep(service, service.processes["worker"])
        await place.issue()
        async with at_redis(tmp_path) as client:
            await client.flushall()
        service.processes["worker"].send_signal(signal.SIGCONT)
        await place.ended(1)
        await once(place, 1, replies=2)


async def has(place: Any, number: int, action: str) -> bool:
    return any(event.get("action") == action for event in await place.events(number))


async def test_a_worker_that_is_told_to_stop_does_not_wait_for_a_redis_that_says_nothing(
    begin: Begin, redis_proxy: Proxy, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{redis_proxy.port}"
    async with begin(script=SLOW, ONHAND_REDIS_URL=url) as service, place_at(service, tmp_path) as place:
        await place.issue()
        await place.until(lambda: has(place, 1, "run"))
        redis_proxy.hold()
        worker = service.processes.pop("worker")
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 10) == 0
        redis_proxy.release()
        service.start("worker", "worker")
        await place.ended(1)
        assert len(place.pulls()) == 1
