"""A worker is killed in the middle of a command; another one goes on, and nothing is lost, doubled or paid for twice."""

import os
import signal
import time
from typing import Any

import pytest

from tests.journeys.steps import MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

WITHIN_SECONDS = 15.0


async def test_a_killed_workers_run_goes_on_elsewhere(place, service) -> None:
    asked: list[str] = []

    def after_the_kill(prompt: str) -> dict[str, Any]:
        asked.append(prompt)
        return bash(MEND_CALC)

    place.script(bash("sleep 30"), after_the_kill, finish())
    victim = service.processes.pop("worker")
    service.start("worker", "worker")
    await place.until(lambda: service.logs().count("is ready") >= 2)
    await place.until(lambda: service.logs().count(f"-{service.processes['worker'].pid} is ready"))
    number = await place.issue()

    async def events(kind: str) -> list[dict[str, Any]]:
        return [e for e in await place.events(number) if kind in (e.get("action"), e.get("observation"))]

    await place.until(lambda: events("run"))
    holder = (await events("run_started"))[0]["extras"]["holder"]
    killed = victim if f"-{victim.pid}/" in holder else service.processes["worker"]
    os.kill(killed.pid, signal.SIGKILL)
    begin = time.monotonic()
    await place.until(lambda: _count(events, "run_started", 2), WITHIN_SECONDS)
    assert time.monotonic() - begin < WITHIN_SECONDS
    await place.ended(number)
    if killed is service.processes["worker"]:
        service.processes["worker"] = victim
    else:
        victim.wait(5)
    assert len(place.said(number)) == 1
    assert len(place.pulls()) == 1
    assert len(await events("model_reply")) == 3, "no step is paid for twice"
    assert "interrupted" in asked[0], "the model is told that the command's result is unknown"
    killed.wait(5)


async def _count(events: Any, kind: str, wanted: int) -> bool:
    return len(await events(kind)) >= wanted


async def test_a_worker_that_is_told_to_stop_hands_its_run_over(place, service) -> None:
    place.script(bash("sleep 20"), bash(MEND_CALC), finish())
    number = await place.issue()
    await place.until(lambda: _has_run(place, number))
    old = service.processes.pop("worker")
    begin = time.monotonic()
    old.send_signal(signal.SIGTERM)
    service.start("worker", "worker")
    old.wait(10)
    assert time.monotonic() - begin < 10
    await place.ended(number)
    assert len(place.said(number)) == 1
    assert len(place.pulls()) == 1


async def _has_run(place: Any, number: int) -> bool:
    return any(event.get("action") == "run" for event in await place.events(number))
