"""Every call that a run makes at GitHub fails in every way: the run comes through, or ends in one clear sentence.

The calls are those that good runs were seen to make at the stand-in, so a new one is covered by itself. One process: the
stories, the real client, the real store; boxes and pushes are in memory.
"""

import asyncio
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.core.conversation import State, conversation_id, fold
from bot.core.errors import ProviderError
from bot.core.inbound import Inbound
from bot.core.ports import Us
from bot.core.secret import Redactor, Secret
from bot.flows import desk, intake, work
from bot.store import open_store
from bot.testing.github import GitHubServer
from bot.testing.github_http import Fault
from bot.testing.github_state import Repository
from integrations.github.client import GitHub
from tests.flows.conftest import World

pytestmark = pytest.mark.timeout(180)

AT_ONCE = 24
TRIES = 12
RESET = "x-ratelimit-reset"


@dataclass(frozen=True)
class Kind:
    """A way to fail, and whether trying again helps."""

    plan: Callable[[GitHubServer, str, str, dict[str, int]], Fault]
    heals: bool


def answers(status: int, headers: Mapping[str, str] | None = None, message: str = "no", after: bool = False) -> Any:
    def plan(github: GitHubServer, method: str, path: str, when: dict[str, int]) -> Fault:
        named = {k: v.replace("SOON", str(int(time.time()) + 1)) for k, v in (headers or {}).items()}
        return planned(github.fail(method, path, status=status, headers=named, message=message, after=after), when)

    return plan


def planned(fault: Fault, when: dict[str, int]) -> Fault:
    fault.skip, fault.times = when.get("skip", 0), when.get("times", 1)
    return fault


ENDINGS = ("Done", "I did not start", "I could not finish", "Stopped")
LIMITED = {"x-ratelimit-remaining": "0", RESET: "SOON"}
KINDS = {
    "401": Kind(answers(401, message="Bad credentials"), False),
    "403": Kind(answers(403, message="Resource not accessible by personal access token"), False),
    "403, primary rate limit": Kind(answers(403, LIMITED, "API rate limit exceeded"), True),
    "403, secondary rate limit": Kind(answers(403, {"retry-after": "1"}, "secondary rate limit"), True),
    "429": Kind(answers(429, {"retry-after": "1"}), True),
    "404": Kind(answers(404, message="Not Found"), False),
    "409": Kind(answers(409, message="Conflict"), False),
    "410": Kind(answers(410, message="Gone"), False),
    "422": Kind(answers(422, message="Validation Failed"), False),
    "500": Kind(answers(500), True),
    "500, though it was done": Kind(answers(500, after=True), True),
    "an answer that is none": Kind(answers(200, message="a proxy's page"), True),
    "hangs": Kind(lambda github, method, path, when: planned(github.hang(method, path), when), True),
    "hangs, though it was done": Kind(
        lambda github, method, path, when: planned(github.hang(method, path, after=True), when), True
    ),
    "closes the connection": Kind(lambda github, method, path, when: planned(github.drop(method, path), when), True),
    "closes the connection, though it was done": Kind(
        lambda github, method, path, when: planned(github.drop(method, path, after=True), when), True
    ),
}


@dataclass
class Ground:
    """Everything around the runs; each is in a repository of its own."""

    world: World
    github: GitHubServer
    client: GitHub
    numbers: Any = field(default_factory=lambda: iter(range(1, 100_000)))

    async def repository(self) -> str:
        """Make one; all have the same code, because git is what takes the time."""
        name, people = f"acme/app{next(self.numbers)}", {"alice": "write", "onhand-bot": "write"}
        self.github.state.repositories[name] = Repository(self.github.state.new_id(), name, permissions=people)
        self.github.git.path(name).symlink_to("code.git")
        return name

    async def hear(self) -> tuple[str, int]:
        """Take the last delivery in; return the conversation and the request."""
        last = self.github.deliveries[-1]
        now = time.time()
        inbound = Inbound(self.client.sign(last.body, last.event, last.id, now), last.body)
        delivery = self.client.parse(self.client.verify(inbound, now))
        await intake.accept(self.world.services, delivery)
        conversation = conversation_id(delivery.triggers[0].thread)
        return next(a for a in reversed(self.world.bus.acknowledged) if a[0] == conversation)

    async def work(self, conversation: str, seq: int) -> list[ProviderError]:
        """Do the jobs of a request as a worker does, until it is closed; return what was put off for."""
        troubles: list[ProviderError] = []
        for turn in range(TRIES):
            try:
                await desk.acknowledge(self.world.services, conversation, seq)
                while await work.run(self.world.services, self.world.shop, conversation, f"worker/{turn}"):
                    await asyncio.sleep(0.05)
            except ProviderError as error:
                troubles.append(error)
                await asyncio.sleep(min(error.retry_after or 0.0, 3.0))
            if (await self.state(conversation)).requests[seq].phase == "closed":
                return troubles
        raise AssertionError(f"there is no ending after {TRIES} turns: {troubles}")

    async def state(self, conversation: str) -> State:
        return fold(await self.world.store.log.read(conversation))


async def asked_in_an_issue(ground: Ground, name: str) -> tuple[str, int]:
    await ground.github.issue(name, "alice", "Login redirect", "@onhand fix it")
    return await ground.hear()


async def asked_in_a_review(ground: Ground, name: str) -> tuple[str, int]:
    number = await ground.github.pull(name, "alice", "Feature", "feature")
    await ground.github.review_comment(name, number, "alice", "@onhand fix this", path="b.py")
    return await ground.hear()


async def asked_again(ground: Ground, name: str) -> tuple[str, int]:
    await ground.work(*await asked_in_an_issue(ground, name))
    await ground.github.comment(name, 1, "alice", "@onhand rename it")
    return await ground.hear()


Call = tuple[str, str, int]

SCENES = (asked_in_an_issue, asked_in_a_review, asked_again)
Scene = Callable[[Ground, str], Awaitable[tuple[str, int]]]


@asynccontextmanager
async def opened(database: Path, folder: Path) -> AsyncIterator[Ground]:
    async def grown(_latest: object) -> None: ...

    store = await open_store(
        f"sqlite:///{database}", clock=time.time, redact=Redactor(), grown=grown, keys=[Secret("k" * 30)]
    )
    async with GitHubServer(folder / "git", echo=False) as github:
        github.person("alice")
        settings = GitHub.Settings(
            webhook_secret=Secret("s3cret"), api_url=github.api_url, web_url=github.web_url, bot_login="onhand-bot",
            token=Secret(github.person("onhand-bot").token), timeout=1,
        )  # fmt: skip
        client = GitHub(settings, Us())
        world = World(store)
        world.use(integrations={"github": client})
        world.script = [*world.script, *world.script]
        await github.repository("acme/code", {"README.md": "x\n"}, {})
        for branch in ("feature", "onhand/1-login-redirect", "onhand/1-login-redirect-2"):
            await asyncio.to_thread(github.git.commit, "acme/code", {"b.py": "y\n"}, "New", branch)
        yield Ground(world, github, client)
        await client.close()
    await store.close()


@pytest.fixture
async def ground(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[Ground]:
    shutil.copy(migrated_sqlite, tmp_path / "onhand.db")
    async with opened(tmp_path / "onhand.db", tmp_path) as there:
        yield there


def pattern(path: str, name: str) -> str:
    """A regular expression for the path of a request in a repository, whatever numbers it has."""
    there, place, rest = path.partition(f"/repos/{name}")
    return (re.escape(there) + place.replace(name, "NAME") + re.sub(r"\\?\d+", r"\\d+", re.escape(rest))) or path


async def calls_of(ground: Ground, scene: Scene) -> list[Call]:
    """What a good run asks GitHub for: method, path and which time. Of equal reads the first counts, of writes the last too."""
    name = await ground.repository()
    conversation, seq = await scene(ground, name)
    before = len(ground.github.requests)
    assert await ground.work(conversation, seq) == []
    seen: Counter[tuple[str, str]] = Counter()
    for request in ground.github.requests[before:]:
        if name in request.path:  # `/user` belongs to nobody's repository, and is asked for once a worker
            seen[(request.method, pattern(request.path, name))] += 1
    return [
        (*call, skip)
        for call, count in seen.items()
        for skip in sorted({0, count - 1 if call[0] != "GET" or call[1].endswith("NAME") else 0})
    ]


async def each_call(
    ground: Ground, cases: list[tuple[Scene, Call]], check: Callable[[Scene, Call], Awaitable[str]]
) -> list[str]:
    """Run the check for every call; return what was wrong."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(scene: Scene, call: Call) -> str:
        async with room:
            try:
                wrong = await check(scene, call)
            except AssertionError as error:
                wrong = str(error)
        return wrong and f"{scene.__name__}, {call}: {wrong}"

    return [wrong for wrong in await asyncio.gather(*(one(*case) for case in cases)) if wrong]


def wrong_with(ground: Ground, name: str, state: State, seq: int, heals: bool) -> str:
    """Say what is wrong with how a request ended, if anything: doubled, unclear, or not healed."""
    ours = [
        r for r in list(ground.github.state.remarks.values()) if r.repository == name and r.author.login == "onhand-bot"
    ]
    said = [r.body or "" for r in ours]
    request = state.requests[seq]
    statuses = [text for text in said if f"status:{seq}" in text]
    pulls = [item for item in ground.github.pulls(name) if item.author.login == "onhand-bot"]
    if len(statuses) > 1 or len(pulls) > 1:
        return f"doubled: {said} {pulls}"
    if heals and request.ending != "finished":
        return f"not healed but {request.ending}: {said}"
    if heals and (not statuses or "Done" not in statuses[0]):
        return f"the ending is not shown: {said}"
    if statuses and not any(word in statuses[-1] for word in ENDINGS):
        return f"the message does not say how it ended: {statuses}"
    return ""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_fails_once_is_made_up_for_or_ends_clearly(ground: Ground, kind: str) -> None:
    how = KINDS[kind]

    async def check(scene: Scene, call: Call) -> str:
        name = await ground.repository()
        conversation, seq = await scene(ground, name)
        method, path, skip = call
        how.plan(ground.github, method, path.replace("NAME", re.escape(name)), {"skip": skip})
        await ground.work(conversation, seq)
        return wrong_with(ground, name, await ground.state(conversation), seq, how.heals)

    calls = [(scene, call) for scene in SCENES for call in await calls_of(ground, scene)]
    assert len(calls) > 20, "the good runs made calls"
    if "though it was done" in kind:
        calls = [(scene, call) for scene, call in calls if call[0] != "GET"]
    assert await each_call(ground, calls, check) == []


@pytest.mark.parametrize("kind", ["401", "403", "403, secondary rate limit", "404", "500"])
async def test_a_call_that_fails_until_github_is_well_again_ends_the_request_then(ground: Ground, kind: str) -> None:
    """`work` is a worker that comes back; after its third turn GitHub is well again."""
    how = KINDS[kind]

    async def check(scene: Scene, call: Call) -> str:
        name = await ground.repository()
        conversation, seq = await scene(ground, name)
        method, path, _ = call
        fault = how.plan(ground.github, method, path.replace("NAME", re.escape(name)), {"times": 9})
        await ground.work(conversation, seq)
        fault.times = 0
        return wrong_with(ground, name, await ground.state(conversation), seq, how.heals)

    calls = [(scene, call) for scene in SCENES for call in await calls_of(ground, scene) if call[2] == 0]
    assert await each_call(ground, calls, check) == []


@pytest.mark.parametrize("merged", [True, False])
async def test_a_pull_request_that_a_person_merges_or_closes_before_its_answer_is_made_up_for_is_the_one(
    ground: Ground, merged: bool
) -> None:
    name = await ground.repository()
    conversation, seq = await asked_in_an_issue(ground, name)
    ground.github.fail("POST", f"/repos/{name}/pulls", status=502, after=True)
    working = asyncio.create_task(ground.work(conversation, seq))
    while not (pulls := ground.github.pulls(name)):
        await asyncio.sleep(0.01)
    pulls[0].state = "closed"
    if merged:
        branch = pulls[0].pull.head if pulls[0].pull else ""
        await asyncio.to_thread(ground.github.git.git, "acme/code", "branch", "-f", "main", branch)
    await working
    state = await ground.state(conversation)
    assert state.requests[seq].ending == "finished"
    assert state.topics["change:onhand/1-login-redirect"].id == str(pulls[0].number)
    assert len(ground.github.pulls(name)) == 1


async def test_a_pull_request_that_was_closed_after_an_earlier_run_is_followed_by_a_new_one(ground: Ground) -> None:
    name = await ground.repository()
    await ground.work(*await asked_in_an_issue(ground, name))
    ground.github.pulls(name)[0].state = "closed"
    await ground.github.comment(name, 1, "alice", "@onhand rename it")
    await ground.work(*await ground.hear())
    found = [(pull.state, pull.pull.head) for pull in ground.github.pulls(name) if pull.pull]
    assert found == [("closed", "onhand/1-login-redirect"), ("open", "onhand/1-login-redirect-2")]


HEAD_INVALID = [{"resource": "PullRequest", "field": "head", "code": "invalid"}]
TOO_QUICKLY = [{"resource": "PullRequest", "code": "custom", "message": "was submitted too quickly"}]


@pytest.mark.parametrize(
    ("status", "message", "errors"),
    [
        (422, "Validation Failed", HEAD_INVALID),
        (422, "Validation Failed", TOO_QUICKLY),
        (403, "You have triggered an abuse detection mechanism.", []),
    ],
    ids=["head invalid", "too quickly", "abuse detection"],
)
async def test_a_pull_request_that_github_does_not_take_at_once_is_opened_later(
    ground: Ground, status: int, message: str, errors: list[dict[str, str]]
) -> None:
    name = await ground.repository()
    conversation, seq = await asked_in_an_issue(ground, name)
    ground.github.fail("POST", f"/repos/{name}/pulls", status=status, body={"message": message, "errors": errors})
    await ground.work(conversation, seq)
    assert wrong_with(ground, name, await ground.state(conversation), seq, heals=True) == ""


async def test_a_pull_request_that_was_opened_and_is_not_shown_yet_is_found_later(ground: Ground) -> None:
    name = await ground.repository()
    conversation, seq = await asked_in_an_issue(ground, name)
    ground.github.fail("POST", f"/repos/{name}/pulls", status=502, after=True)
    ground.github.fail("GET", f"/repos/{name}/pulls", status=200, body=[], times=3)
    await ground.work(conversation, seq)
    assert wrong_with(ground, name, await ground.state(conversation), seq, heals=True) == ""
