"""A process is told to stop at an awkward moment."""

import asyncio
import sqlite3
from pathlib import Path

import psutil
import pytest

from tests.journeys.faults.conftest import Begin

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
