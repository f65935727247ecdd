"""A process is told to stop at an awkward moment."""

import asyncio
import sqlite3
from pathlib import Path

import psutil
import pytest

from tests.journeys.faults.conftest import Begin, place_at
from tests.journeys.faults.test_databases import locked
from tests.journeys.faults.test_redis import SLOW, has

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


async def test_a_web_process_that_is_told_to_stop_while_it_starts_stops(begin: Begin, tmp_path: Path) -> None:
    async with begin() as service:
        await asyncio.to_thread(service.stop)
        service.processes.clear()
        other = sqlite3.connect(tmp_path / "service" / "home" / "onhand.sqlite", isolation_level=None)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        service.start("web", "serve")
        web = service.processes["web"]
        async with asyncio.timeout(30):
            while not any(file.path.endswith("onhand.sqlite") for file in psutil.Process(web.pid).open_files()):
                await asyncio.sleep(0.05)
        web.terminate()
        other.close()
        assert await asyncio.to_thread(web.wait, 20) == 0


async def test_a_worker_that_is_told_to_stop_does_not_wait_for_a_locked_database(begin: Begin, tmp_path: Path) -> None:
    unlimited = dict.fromkeys([f"ONHAND_LIMITS__PER_{what}" for what in ("PERSON", "REPOSITORY", "THREAD")], "0")
    async with (
        begin(script=SLOW, ONHAND_LIMITS__CONCURRENT_RUNS="8", **unlimited) as service,
        place_at(service, tmp_path) as place,
    ):
        for _ in range(6):
            await place.issue()
        for number in range(1, 7):
            await place.until(lambda number=number: has(place, number, "run"))
        worker = service.processes.pop("worker")
        async with locked(tmp_path / "service" / "home" / "onhand.sqlite"):
            worker.terminate()
            assert await asyncio.to_thread(worker.wait, 10) == 0
        service.start("worker", "worker")
        for number in range(1, 7):
            await place.ended(number)
        assert len(place.pulls()) == 6
