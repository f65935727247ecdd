"""Machines whose clocks are two minutes apart, and a worker that sleeps for longer than its lease and wakes up."""

import asyncio
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

from bot.commands.service import free_port
from tests.journeys.conftest import Service
from tests.journeys.faults.conftest import SQLITE, Begin, place_at, put_to_sleep
from tests.journeys.faults.test_killed_workers import EDIT, PROPOSE, PUSH, SAY, once, standing
from tests.journeys.steps import MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

AHEAD = {"FAKETIME": "+2m", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def shifted(need: Any) -> dict[str, str]:
    """The environment of a process whose clock is two minutes ahead."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    need(found, "libfaketime (deploy/engine.sh)")
    return {"LD_PRELOAD": str(found), **AHEAD}


@pytest.mark.parametrize("killed", ["the worker that is ahead", "the worker that is behind"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_clocks_that_differ_by_two_minutes_delay_nothing(
    begin: Begin, tmp_path: Path, postgres: Any, need: Any, database: str, killed: str
) -> None:
    """Two web processes and two workers, one of each ahead; one worker is killed amid its runs."""
    shared = {"ONHAND_DATABASE_URL": postgres.create(f"clocks-{uuid.uuid4().hex[:8]}", "migrated")}
    slow = [bash("sleep 3"), bash(MEND_CALC), finish()]
    async with (
        begin(script=slow, web=shifted(need), **(shared if database == "postgresql" else {})) as service,
        place_at(service, tmp_path) as place,
    ):
        plain = dict(service.environment)
        service.environment.update(ONHAND_PORT=str(free_port("127.0.0.1")))
        service.start("web-2", "serve")
        await asyncio.to_thread(service.wait_until_ready)
        place.listen()  # every delivery goes to both
        service.environment.update(plain | shifted(need))
        service.start("worker-ahead", "worker")
        await place.until(lambda: f"-{service.processes['worker-ahead'].pid} is ready" in service.logs())
        service.environment.update(plain)
        names = ["worker", "worker-ahead"]
        name = names.pop(killed.endswith("ahead"))
        victim, other = service.processes[name], service.processes[names[0]]
        await put_to_sleep(service, other)  # so that the victim has something to lose
        for _ in range(4):
            await place.issue()
        begun = service.folder / f"{name}.log"
        await place.until(lambda: begun.read_text().count(" begins") == 4, 30)
        other.send_signal(signal.SIGCONT)
        await asyncio.sleep(1)  # in which the other may want what is not its own
        service.processes.pop(name).kill()
        async with asyncio.timeout(30):
            for number in range(1, 5):
                await place.until(lambda number=number: closed(place, number), 30)
        victim.wait()
        assert [len(place.said(number)) for number in range(1, 5)] == [1] * 4
        assert len(place.pulls()) == 4


async def closed(place: Any, number: int) -> bool:
    path = f"/api/v1/conversations/{await place.conversation(number)}"
    return bool((await place.client.get(path)).json()["open_requests"] == 0)


SLEEPERS = {
    "before the status comment is made": ([SAY], False),
    "before the push": ([PUSH], False),
    "before the pull request is made": ([PROPOSE], False),
    "before the final edit": ([PROPOSE, EDIT], False),
}
"""Requests of the sleeper's that are answered with 500 when it wakes, so that it would make them again."""


@pytest.mark.parametrize("scripted", [SQLITE], indirect=True)
async def test_a_worker_that_sleeps_through_its_lease_does_nothing_twice_when_it_wakes(
    scripted: Service, tmp_path: Path
) -> None:
    async with standing(scripted, tmp_path, SLEEPERS) as places:
        sleeper, log = scripted.processes["worker"], scripted.folder / "worker.log"
        await put_to_sleep(scripted, sleeper)
        scripted.start("worker-2", "worker")
        try:
            for place in places.values():
                await place.ended(1)
            for fault in place.github._front.faults:
                fault.release()
        finally:
            sleeper.send_signal(signal.SIGCONT)
        for moment, place in places.items():
            if moment != "before the status comment is made":
                lost = f"of conversation {await place.conversation(1)} ran out"
                await place.until(lambda lost=lost: lost in log.read_text())
        await asyncio.sleep(2)  # nothing is what should happen now
        for place in places.values():
            await once(place, 1, replies=2)
        assert sleeper.poll() is None, "it lives on, and works for others"
        other = scripted.processes.pop("worker-2")
        other.terminate()
        await asyncio.to_thread(other.wait, 20)
