"""SIGKILL of the worker at every moment that matters: another one goes on, and nothing is lost, doubled or paid for twice."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.testing.github import GitHubServer
from bot.testing.github_http import Fault
from bot.testing.models import Fault as ModelFault
from tests.journeys.conftest import PAIRS, Place, Service
from tests.journeys.faults.conftest import POSTGRESQL, SQLITE
from tests.journeys.steps import MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]

WITHIN_SECONDS = 15.0

REPOSITORY = ("GET", "/repos/{name}")
SAY = ("POST", r"/repos/{name}/issues/\d+/comments")
EDIT = ("PATCH", r"/repos/{name}/issues/comments/\d+")
PUSH = ("GET", r"/{name}\.git/info/refs\?service=git-receive-pack")
RECEIVE = ("POST", r"/{name}\.git/git-receive-pack")
PROPOSE = ("POST", "/repos/{name}/pulls")

MOMENTS = {
    "before the status comment is made": ([SAY], False),
    "before the receipt of the status comment": ([SAY], True),
    "after the lease is taken": ([SAY, REPOSITORY], False),
    "between commit and push": ([PUSH], False),
    "between the push and its receipt": ([RECEIVE], True),
    "between push and pull request": ([PROPOSE], False),
    "between the pull request and its receipt": ([PROPOSE], True),
    "before the final edit": ([PROPOSE, EDIT], False),
    "after the final edit": ([PROPOSE, EDIT], True),
}
"""Requests that the forge holds one after the other until the next is awaited; at the last one the worker is killed, before
(False) or after (True) it was carried out."""


async def stand_at(place: Any, calls: list[tuple[str, str]], after: bool) -> Fault:
    """Begin a conversation and wait until the worker has sent the last of these requests."""
    wanted = [(method, path.format(name=re.escape(place.name))) for method, path in calls]
    planned = [place.github.hold(*call) for call in wanted[:1] if len(wanted) > 1]
    last = None if planned else place.github.hang(*wanted[-1], after=after)
    asking = asyncio.create_task(place.issue())
    for held in planned:
        await held.met()
        last = place.github.hang(*wanted[-1], after=after)
        held.release()
    await asking
    assert last is not None
    await last.met()
    return last


@asynccontextmanager
async def standing(
    service: Service, folder: Path, moments: Mapping[str, tuple[list[tuple[str, str]], bool]]
) -> AsyncIterator[dict[str, Place]]:
    """One conversation at each moment, each in a repository of its own, all in the hands of the service's worker."""
    async with AsyncExitStack() as stack:
        github = await stack.enter_async_context(GitHubServer(folder / "forge", port=service.github_port))
        places = {moment: Place(service, github) for moment in moments}
        for place in places.values():
            await place.set_up()
            stack.push_async_callback(place.client.aclose)
        github._hooks[1:] = []
        await asyncio.gather(*(stand_at(places[moment], *moments[moment]) for moment in moments))
        yield places


@pytest.mark.parametrize("scripted", [SQLITE, POSTGRESQL], indirect=True)
async def test_whatever_a_killed_worker_was_at_ends_once(scripted, tmp_path: Path) -> None:
    """One conversation stands at each moment when the worker that works on all of them is killed."""
    async with standing(scripted, tmp_path, MOMENTS) as places:
        victim = scripted.processes.pop("worker")
        victim.kill()
        victim.wait()
        begin = time.monotonic()
        lengths = {moment: len(await place.events(1)) for moment, place in places.items()}
        scripted.start("worker", "worker")
        for moment, place in places.items():
            await place.until(lambda place=place, moment=moment: longer(place, lengths[moment]), WITHIN_SECONDS)
            assert time.monotonic() - begin < WITHIN_SECONDS, moment
        for place in places.values():
            await place.ended(1)
            await once(place, 1, replies=2)


async def longer(place: Any, length: int) -> bool:
    """Whether somebody has gone on with the conversation."""
    return len(await place.events(1)) > length


async def once(place: Any, number: int, replies: int) -> None:
    """Check that there is one comment, one pull request and one ending, and no reply more in the log than steps."""
    [said] = place.said(number)
    assert "Done" in said
    assert len(place.pulls()) == 1
    kinds = [event.get("observation") for event in await place.events(number)]
    assert kinds.count("closed") == 1
    assert kinds.count("run_ended") == 1
    assert kinds.count("model_reply") == replies


@pytest.mark.parametrize("service", PAIRS[:1], indirect=True)
async def test_a_worker_killed_during_a_model_call_asks_again_and_only_for_that_step(place, service) -> None:
    asked = len(service.model.requests)

    def first(_prompt: str) -> dict[str, Any]:
        service.model.fail(ModelFault(instead="hang"))  # the next one
        return bash(MEND_CALC)

    place.script(first, bash("true"), finish())
    number = await place.issue()
    await place.until(lambda: len(service.model.requests) == asked + 2)
    victim = service.processes.pop("worker")
    victim.kill()
    service.start("worker", "worker")
    await place.ended(number)
    victim.wait()
    await once(place, number, replies=3)
    assert len(service.model.requests) == asked + 4, "the call that was cut off is the only one made twice"
