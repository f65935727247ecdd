"""Many conversations at once, and workers that die meanwhile: each request has one ending, one comment, one pull request."""

import asyncio
import random

import pytest

from tests.journeys.steps import MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]

CONVERSATIONS, KILLS = 12, 3


async def test_many_at_once_with_workers_that_are_killed(place, service) -> None:
    chance = random.Random(7)
    place.script(bash("sleep 1"), bash(MEND_CALC), finish())
    numbers = await asyncio.gather(*(place.issue() for _ in range(CONVERSATIONS)))
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.5, 2.0))
        victim = service.processes.pop("worker")
        service.start("worker", "worker")
        victim.kill()
        victim.wait()
    for number in numbers:
        await place.until(lambda number=number: _closed(place, number), 120.0)
    assert len(place.pulls()) == CONVERSATIONS
    assert [len(place.said(number)) for number in numbers] == [1] * CONVERSATIONS
    assert all("Done" in text for number in numbers for text in place.said(number))
    for number in numbers:
        kinds = [event.get("observation") for event in await place.events(number)]
        assert kinds.count("closed") == 1
        assert kinds.count("model_reply") == 3, "no step is paid for twice"


async def _closed(place, number: int) -> bool:
    view = (await place.client.get(f"/api/v1/conversations/{await place.conversation(number)}")).json()
    return bool(view["open_requests"] == 0)
