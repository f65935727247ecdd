"""SIGKILL of everything in a box in the middle of a command: it is started again with its files, and the run goes on."""

import asyncio
from pathlib import Path

import pytest

from tests.journeys.faults.conftest import Begin, place_at
from tests.journeys.faults.test_killed_workers import WITHIN_SECONDS, once
from tests.journeys.steps import MEND_CALC, bash, finish
from tests.processes import kill_box

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]

SCRIPT = [bash("touch kept; sleep 100"), bash(f"test -e kept && rm kept && {MEND_CALC}"), finish()]


@pytest.mark.parametrize("sandbox", ["local", pytest.param("docker", marks=pytest.mark.docker)])
async def test_a_box_that_dies_in_the_middle_of_a_command_is_started_again(
    begin: Begin, tmp_path: Path, sandbox: str
) -> None:
    async with begin(sandbox=sandbox, script=SCRIPT) as service, place_at(service, tmp_path) as place:
        number = await place.issue()
        await place.until(lambda: has(place, "action", "run"))
        await asyncio.sleep(1)  # the command is begun
        [boxed] = [event for event in await place.events(number) if event.get("observation") == "boxed"]
        boxes = service.folder / "home" / "boxes"
        await asyncio.to_thread(kill_box, boxes, sandbox, boxed["extras"]["state"])
        await place.until(lambda: has(place, "observation", "closed"), WITHIN_SECONDS)
        await once(place, number, replies=3)
        assert place.tests_pass(place.pulls()[0].pull.head, tmp_path)


async def has(place, key: str, value: str) -> bool:
    return any(event.get(key) == value for event in await place.events(1))
