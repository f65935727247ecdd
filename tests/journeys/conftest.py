"""The whole service as processes on real parts: HTTP, Redis, database, git, boxes, LiteLLM; GitHub and the model are stand-ins.

One service for each pair of database and sandbox serves all journeys of a session; every journey has a repository of its own.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot import bootstrap, config
from bot.commands.service import free_port
from bot.core.errors import SandboxError
from bot.redis_server import EmbeddedRedis
from bot.testing.github import Delivery, GitHubServer
from bot.testing.models import ModelServer
from bot.testing.openapi import check_requests
from tests.journeys.steps import CANARIES, SAMPLE
from tests.journeys.surroundings import environment as settings_of
from tests.journeys.surroundings import gitlab_settings, jira_settings
from tests.standins.gitlab import API, GitLabServer


class Scripts:
    """What the model says in each repository: the n-th step, by how often it has answered since the last finished run."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Any]] = {}

    def __call__(self, body: Mapping[str, Any]) -> Any:
        text = json.dumps(body["messages"])
        steps = next(steps for name, steps in self.steps.items() if name in text)
        answered = sum(message["role"] == "assistant" for message in body["messages"])
        chosen = steps[answered]
        return chosen(text) if callable(chosen) else chosen


@dataclass
class Service:
    """The processes, and what they were given."""

    kind: str
    folder: Path
    environment: dict[str, str]
    github_port: int
    scripts: Scripts
    model: ModelServer
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['ONHAND_PORT']}"

    def start(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        command = [sys.executable, "-m", "bot", *arguments, "--bound"]
        self.processes[name] = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while "is ready" not in self.logs() or not self._answers():
            assert time.monotonic() < deadline, self.logs()[-3000:]
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


PAIRS = [
    pytest.param(("sqlite", "local"), marks=pytest.mark.xdist_group("sqlite-local"), id="sqlite-local"),
    pytest.param(
        ("postgresql", "docker"),
        marks=[pytest.mark.xdist_group("postgresql-docker"), pytest.mark.docker],
        id="postgresql-docker",
    ),
]


ON_ONE_PAIR = ("test_gitlab", "test_jira", "test_slack")
"""Files whose journeys are about a platform: what depends on database and sandbox is tried by the others on both pairs."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the second pair out where it shows nothing new; ONHAND_TEST_EVERY_PAIR=1 tries everything."""
    if os.environ.get("ONHAND_TEST_EVERY_PAIR"):
        return
    seconds = {item for item in items if item.path.stem in ON_ONE_PAIR and "[postgresql-docker" in item.nodeid}
    left_out = [item for item in items if item in seconds and not item.get_closest_marker("both_pairs")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", params=PAIRS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, need: Any) -> Iterator[Service]:
    database, sandbox = request.param
    _need_sandbox(sandbox, need)
    folder = tmp_path_factory.mktemp("service")
    scripts = Scripts()
    redis = EmbeddedRedis(folder)
    with ModelServer(scripts, key=CANARIES["model"]) as model:
        github_port = free_port("127.0.0.1")
        environment = settings_of(folder, asyncio.run(redis.start()), sandbox, github_port, model.base_url)
        environment |= gitlab_settings(free_port("127.0.0.1"))
        environment |= jira_settings(free_port("127.0.0.1"))
        if database == "postgresql":
            server = request.getfixturevalue("postgres")
            environment["ONHAND_DATABASE_URL"] = server.create(f"journeys-{uuid.uuid4().hex[:8]}", "migrated")
        running = Service(f"{database}-{sandbox}", folder, environment, github_port, scripts, model)
        running.start("web", "serve")
        running.start("worker", "worker")
        try:
            running.wait_until_ready()
            yield running
        finally:
            running.stop()
            asyncio.run(_remove_boxes(environment))
            asyncio.run(redis.stop())


async def _remove_boxes(environment: Mapping[str, str]) -> None:
    """Remove what runs that were cut off have left."""
    sandboxes = bootstrap.open_sandboxes(config.load(environment))
    for state, _ in await sandboxes.list():
        with contextlib.suppress(SandboxError):
            await (await sandboxes.attach(state)).remove()
    await sandboxes.close()


def _need_sandbox(kind: str, need: Any) -> None:
    if kind == "docker":
        image = ["docker", "image", "inspect", "onhand-sandbox"]
        there = shutil.which("docker") and subprocess.run(image, capture_output=True, check=False).returncode == 0
        need(there, "a Docker engine with the image onhand-sandbox (deploy/engine.sh)")
    else:
        need(shutil.which("bwrap"), "bubblewrap (deploy/engine.sh)")


class Place:
    """A repository at the stand-in, people in it, and the running service behind its webhook."""

    def __init__(self, service: Service, github: GitHubServer) -> None:
        self.service, self.github = service, github
        self.name = f"acme/app-{uuid.uuid4().hex[:8]}"
        self.client = httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=30)

    def enrol(self) -> None:
        for login in ("alice", "carol", "mallory"):
            self.github.person(login)
        assert self.github.person("onhand-bot").token == CANARIES["github"]
        self.github.person("other-bot", "Bot")

    async def set_up(self) -> None:
        self.enrol()
        permissions = {
            "alice": "write",
            "carol": "maintain",
            "mallory": "read",
            "onhand-bot": "write",
            "other-bot": "write",
        }
        await self.github.repository(self.name, SAMPLE, permissions)
        self.listen()

    def listen(self) -> None:
        self.github.hook(f"{self.service.url}/api/integration/github/events", CANARIES["webhook"])

    def script(self, *steps: Any) -> None:
        self.service.scripts.steps[self.name] = list(steps)

    async def issue(self, body: str = "`add` is wrong. @onhand please fix it", who: str = "alice") -> int:
        return await self.github.issue(self.name, who, f"add is wrong in {self.name}", body)

    def key(self, number: int) -> str:
        """The name of a thread."""
        return f"github:{self.name}#{number}"

    async def settled(self) -> None:
        """Wait until everything that came in over the API is delivered."""
        await asyncio.gather(*self.github._echoes)

    async def conversation(self, number: int) -> str:
        """The id of an issue's conversation; waits until it is there."""
        key = self.key(number)
        async with asyncio.timeout(60):
            while True:
                for record in (await self.client.get("/api/v1/conversations")).json():
                    if record["thread"] == key:
                        return str(record["id"])
                await asyncio.sleep(0.05)

    async def events(self, number: int) -> list[dict[str, Any]]:
        path = f"/api/v1/conversations/{await self.conversation(number)}/events"
        events: list[dict[str, Any]] = (await self.client.get(path)).json()["events"]
        return events

    async def until(self, what: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until it is true (it may be a coroutine function); fail with the service's log otherwise."""
        deadline = time.monotonic() + seconds
        while True:
            found = what()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            assert time.monotonic() < deadline, self.service.logs()[-6000:]
            await asyncio.sleep(0.05)

    async def ended(self, number: int) -> dict[str, Any]:
        """Wait until nothing is open in a conversation; return its view."""
        path = f"/api/v1/conversations/{await self.conversation(number)}"

        async def closed() -> Any:
            view = (await self.client.get(path)).json()
            return view if view["open_requests"] == 0 else None

        found: dict[str, Any] = await self.until(closed)
        return found

    async def nothing_happens(self, number: int) -> None:
        """Check that no conversation began: what came before is answered in order, so a probe that is through tells."""
        await self.settled()
        records = (await self.client.get("/api/v1/conversations")).json()
        assert self.key(number) not in {record["thread"] for record in records}

    def said(self, number: int, kind: str = "issue_comment") -> list[str]:
        """What the bot said in a thread."""
        found = self.github.comments(self.name, number, kind)
        return [remark.body or "" for remark in found if remark.author.login == "onhand-bot"]

    def pulls(self) -> list[Any]:
        return [item for item in self.github.pulls(self.name) if item.author.login == "onhand-bot"]

    def last_delivery(self) -> Delivery:
        return self.github.deliveries[-1]

    def tests_pass(self, branch: str, folder: Path) -> bool:
        """Run the sample's tests on a branch (of ours: the script is known)."""
        for path, text in self.github.git.files(self.name, branch).items():
            target = folder / branch.replace("/", "_") / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        command = [sys.executable, "-B", "-m", "unittest"]
        cwd = folder / branch.replace("/", "_")
        return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0


@pytest.fixture
async def place(service: Service, tmp_path: Path) -> AsyncIterator[Place]:
    github = GitHubServer(tmp_path / "forge", port=service.github_port)
    there = Place(service, github)
    there.enrol()  # before it answers: the service of the tests before may ask at any time, and its token has to be known then
    async with github:
        await there.set_up()
        yield there
        await there.client.aclose()


@pytest.fixture
async def project(service: Service, tmp_path: Path) -> AsyncIterator[Any]:
    """A project at GitLab; what was sent there is held against the description of its API."""
    from tests.journeys.gitlab_project import GitLabProject

    async with GitLabServer(tmp_path / "gitlab", port=GitLabProject.port(service)) as gitlab:
        there = GitLabProject(service, gitlab)
        await there.set_up()
        yield there
        await there.client.aclose()
        assert check_requests(gitlab.requests, API) == []
        assert gitlab.routes.commands == []
