"""A worker is killed with SIGKILL at each point of a run; another one goes on within 15 s, and nothing is lost or doubled."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from bot.testing.models import Fault
from tests.journeys.steps import MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

WITHIN_SECONDS = 15.0

Reached = Callable[[], Awaitable[Any]]


@pytest.fixture
def one_worker(service) -> Iterator[None]:
    """See that one worker is there before and after."""
    yield
    if service.processes["worker"].poll() is not None:
        service.start("worker", "worker")


def in_the_forge(method: str, path: str, **more: Any) -> Callable[..., Reached]:
    """The point at which GitHub sees a request; its answer never comes."""

    def plan(place) -> Reached:
        return place.github.hang(method, path.format(name=place.name), **more).met  # type: ignore[no-any-return]

    return plan


def in_the_model(place) -> Reached:
    """The point at which the model was asked for its second step."""

    def first_step(_: str) -> dict[str, Any]:
        place.service.model.fail(Fault(instead="hang"))  # the next request, the second step
        return bash("true")

    async def asked() -> None:
        await place.until(lambda: sum(place.name in str(r) for r in place.service.model.requests) >= 2)

    place.script(first_step, bash(MEND_CALC), finish())
    return asked


def in_a_command(place) -> Reached:
    """The point at which the first command has begun."""
    place.script(bash("sleep 30"), bash(MEND_CALC), finish())

    async def begun() -> None:
        await place.until(lambda: _has_run(place))

    return begun


async def _has_run(place) -> bool:
    return any(event.get("action") == "run" for event in await place.events(1))


COMMENTS, PULLS = "/repos/{name}/issues/1/comments", "/repos/{name}/pulls"

POINTS: dict[str, Callable[..., Reached]] = {
    "before the lease, the comment not made": in_the_forge("POST", COMMENTS),
    "before the lease, the comment made": in_the_forge("POST", COMMENTS, after=True),
    "after the lease": in_the_forge("GET", "/repos/{name}/collaborators/alice/permission", skip=1),
    "in a model call": in_the_model,
    "in a command": in_a_command,
    "between commit and push": in_the_forge("GET", "/{name}.git/info/refs", skip=1),
    "during the push": in_the_forge("POST", "/{name}.git/git-receive-pack"),
    "between push and PR": in_the_forge("POST", PULLS),
    "between PR and receipt": in_the_forge("POST", PULLS, after=True),
    "before the final edit": in_the_forge("PATCH", "/repos/{name}/issues/comments/.*", saying="Done"),
    "during the final edit": in_the_forge("PATCH", "/repos/{name}/issues/comments/.*", saying="Done", after=True),
}


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_killed_at_this_point_is_taken_over(place, service, one_worker, point: str) -> None:
    place.script(bash("true"), bash(MEND_CALC), finish())
    reached = POINTS[point](place)
    issue = asyncio.create_task(place.issue())
    await reached()
    victim = service.processes.pop("worker")
    service.start("worker", "worker")
    await place.until(lambda: f"-{service.processes['worker'].pid} is ready" in service.logs())
    begin = time.monotonic()
    victim.kill()
    victim.wait(5)
    number = await issue

    async def goes_on() -> bool:
        return f"-{service.processes['worker'].pid}/" in str(await place.events(number))

    await place.until(goes_on, WITHIN_SECONDS)
    took = time.monotonic() - begin
    await place.ended(number)
    assert took < WITHIN_SECONDS
    [comment], [pull] = place.said(number), place.pulls()
    assert "Done" in comment
    kinds = [event.get("observation") for event in await place.events(number)]
    assert kinds.count("closed") == 1
    assert kinds.count("model_reply") == 3, "no step is paid for twice"
    assert place.github.git.messages(place.name, pull.pull.head)[1:] == ["Begin"], "the commit stands there once"
