"""From a mention at Linear to a pull request on GitHub, and back: the real service, one run at a time."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.commands.service import free_port
from bot.redis_server import EmbeddedRedis
from bot.testing.github import GitHubServer
from bot.testing.models import ModelServer
from tests.journeys.conftest import Scripts, Service
from tests.journeys.steps import CANARIES, MEND_CALC, SAMPLE, bash, call, finish, step
from tests.journeys.surroundings import environment as settings_of
from tests.standins.linear import LinearServer

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180), pytest.mark.xdist_group("linear")]

Json = dict[str, Any]
PAYLOADS = Path(__file__).parents[1] / "integrations" / "linear" / "payloads"


def _environment(folder: Path, redis_url: str, model_url: str, linear_port: int) -> dict[str, str]:
    app = LinearServer().person("onhand", app=True)
    return {
        **settings_of(folder, redis_url, "local", free_port("127.0.0.1"), model_url),
        "ONHAND_LIMITS__CONCURRENT_RUNS": "1",
        "ONHAND_LINEAR__WEBHOOK_SECRET": CANARIES["webhook"],
        "ONHAND_LINEAR__TOKEN": app["token"],
        "ONHAND_LINEAR__APP_USER_ID": app["id"],
        "ONHAND_LINEAR__API_URL": f"http://127.0.0.1:{linear_port}/graphql",
    }


@contextlib.contextmanager
def _running(folder: Path, linear_port: int, **more: str) -> Iterator[Service]:
    scripts, redis = Scripts(), EmbeddedRedis(folder)
    with ModelServer(scripts, key=CANARIES["model"]) as model:
        environment = {**_environment(folder, asyncio.run(redis.start()), model.base_url, linear_port), **more}
        github_port = int(environment["ONHAND_GITHUB__WEB_URL"].rpartition(":")[2])
        running = Service("linear", folder, environment, github_port, scripts, model)
        running.start("web", "serve")
        running.start("worker", "worker")
        try:
            running.wait_until_ready()
            yield running
        finally:
            running.stop()
            asyncio.run(redis.stop())


@pytest.fixture(scope="module")
def linear_port() -> int:
    return free_port("127.0.0.1")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, linear_port: int) -> Iterator[Service]:
    with _running(tmp_path_factory.mktemp("linear"), linear_port) as running:
        yield running


class Ground:
    """A workspace, a repository at GitHub, and the service behind the webhook."""

    def __init__(self, service: Service, linear: LinearServer, github: GitHubServer) -> None:
        self.service, self.linear, self.github = service, linear, github
        self.name = f"acme/app-{uuid.uuid4().hex[:8]}"
        self.app = linear.person("onhand", app=True)
        self.alice, self.bob = linear.person("Alice"), linear.person("Bob")
        self.client = httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=30)

    async def set_up(self) -> None:
        self.github.person("onhand-bot")
        await self.github.repository(self.name, SAMPLE, {"onhand-bot": "write"})
        self.linear.hook(f"{self.service.url}/api/integration/linear/events", CANARIES["webhook"])

    def issue(self) -> Json:
        """An issue whose title names the repository, in a team of its own."""
        team = f"T{uuid.uuid4().hex[:6].upper()}"
        return self.linear.issue(team, f"add is wrong in {self.name}", "It subtracts.")

    def script(self, *steps: Any) -> None:
        self.service.scripts.steps[self.name] = list(steps)

    async def view(self, issue: Json) -> Json:
        """The record of an issue's conversation; empty where there is none."""
        key = f"linear:{issue['team']['key']}#{issue['identifier']}"
        records: list[Json] = (await self.client.get("/api/v1/conversations")).json()
        return next((record for record in records if record["thread"] == key), {})

    async def until(self, what: Any, seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = what()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            assert time.monotonic() < deadline, self.service.logs()[-6000:]
            await asyncio.sleep(0.05)

    async def ended(self, issue: Json) -> None:
        """Wait until nothing is open."""

        async def closed() -> bool:
            record = await self.view(issue)
            view = (await self.client.get(f"/api/v1/conversations/{record['id']}")).json() if record else {}
            return view.get("open_requests") == 0

        await self.until(closed)

    def bodies(self, session: Json, form: str) -> list[str]:
        said = self.linear.said(session)
        return [a["content"].get("body", a["content"].get("parameter")) for a in said if a["content"]["type"] == form]

    def pulls(self) -> list[Any]:
        return self.github.pulls(self.name)


@contextlib.asynccontextmanager
async def _ground(service: Service, port: int, folder: Path) -> AsyncIterator[Ground]:
    async with LinearServer(port) as linear, GitHubServer(folder / "forge", port=service.github_port) as github:
        ground = Ground(service, linear, github)
        await ground.set_up()
        yield ground
        await ground.client.aclose()
        assert linear.problems == []


@pytest.fixture
async def ground(service: Service, linear_port: int, tmp_path: Path) -> AsyncIterator[Ground]:
    async with _ground(service, linear_port, tmp_path) as there:
        yield there


async def test_a_mention_becomes_a_pull_request_with_links_both_ways(ground: Ground) -> None:
    tasks = [{"title": "Mend add", "status": "in_progress"}]
    ground.script(step(call("task_list", task_list=tasks)), bash(MEND_CALC), finish())
    issue = ground.issue()
    session = await ground.linear.mention(issue, ground.alice, "@onhand please fix it")
    await ground.ended(issue)
    [pull] = ground.pulls()
    assert session["url"] or issue["url"] in pull.body
    first, *_, last = ground.linear.said(session)
    assert (first["content"]["type"], first["ephemeral"]) == ("thought", True)
    assert last["content"]["type"] == "response"
    assert f"/pull/{pull.number}" in last["content"]["body"]
    assert [link["url"] for link in session["externalUrls"]] == [
        f"{ground.github.web_url}/{ground.name}/pull/{pull.number}"
    ]
    assert session["plan"] == [{"content": "Mend add", "status": "inProgress"}]
    assert (issue["state"]["id"], issue["delegate"]["id"]) == ("doing", ground.app["id"])
    assert len(ground.bodies(session, "response")) == 1
    assert ground.linear.shown(session)[-1] is last
    files = await asyncio.to_thread(ground.github.git.files, ground.name, pull.pull.head)
    assert "a + b" in files["calc.py"]


async def test_a_delegated_issue_is_worked_on(ground: Ground) -> None:
    ground.script(bash(MEND_CALC), finish())
    issue = ground.issue()
    session = await ground.linear.delegate(issue, ground.alice)
    await ground.ended(issue)
    assert len(ground.pulls()) == len(ground.bodies(session, "response")) == 1


async def test_a_follow_up_by_somebody_else_goes_on_in_the_same_pull_request(ground: Ground) -> None:
    ground.script(bash(MEND_CALC), finish(), bash("echo more >> NOTES.md"), finish("Noted.", "Take notes"))
    issue = ground.issue()
    session = await ground.linear.mention(issue, ground.alice, "@onhand fix it")
    await ground.ended(issue)
    await ground.linear.prompt(session, ground.bob, "Take notes too")
    await ground.ended(issue)
    [pull] = ground.pulls()
    files = await asyncio.to_thread(ground.github.git.files, ground.name, pull.pull.head)
    assert files["NOTES.md"] == "more\n"
    assert len(ground.bodies(session, "response")) == 2


async def test_the_same_delivery_and_a_late_retry_are_one_run(ground: Ground) -> None:
    ground.script(bash(MEND_CALC), finish())
    issue = ground.issue()
    session = await ground.linear.mention(issue, ground.alice, "@onhand fix it")
    first = ground.linear.deliveries[-1]
    again = await asyncio.gather(*(ground.linear.send(first.body, first.id) for _ in range(4)))
    stamped = {**json.loads(first.body), "webhookTimestamp": int((time.time() - 3600) * 1000)}
    late = await ground.linear.send(json.dumps(stamped).encode())
    assert [first.status, *(d.status for d in again), late.status] == [202, 200, 200, 200, 200, 200]
    await ground.ended(issue)
    assert len(ground.pulls()) == len(ground.bodies(session, "response")) == 1


async def test_forged_and_stale_deliveries_start_nothing(ground: Ground) -> None:
    issue = ground.issue()
    ground.linear._hook, hook = None, ground.linear._hook
    await ground.linear.comment(issue, ground.alice, "@onhand fix it")
    ground.linear._hook = hook
    payload = json.loads((PAYLOADS / "Comment.create__mention.json").read_text())
    fresh, old = ({**payload, "webhookTimestamp": int((time.time() - age) * 1000)} for age in (0, 8 * 3600))
    undated = {key: value for key, value in payload.items() if key != "webhookTimestamp"}
    forged = await ground.linear.send(json.dumps(fresh).encode(), signature="0" * 64)
    refused = [await ground.linear.send(json.dumps(body).encode()) for body in (old, undated)]
    assert [delivery.status for delivery in (forged, *refused)] == [401, 401, 401]
    assert await ground.view(issue) == {}


async def test_the_first_activity_comes_at_once_also_when_every_run_is_taken(ground: Ground) -> None:
    ground.script(bash("sleep 8"), finish(), finish())
    first, second = ground.issue(), ground.issue()
    busy = await ground.linear.mention(first, ground.alice, "@onhand fix it")
    await ground.until(lambda: any(a["content"]["type"] == "action" for a in ground.linear.said(busy)))
    waiting = await ground.linear.mention(second, ground.bob, "@onhand fix it as well")
    await ground.until(lambda: ground.linear.said(waiting), seconds=10.0)
    assert ground.bodies(busy, "response") == [], "the only run is still going on"
    await ground.until(lambda: len(ground.bodies(waiting, "thought")) >= 2)
    await ground.ended(second)
    assert len(ground.bodies(waiting, "response")) == 1


async def test_the_stop_button_ends_a_run_and_is_confirmed(ground: Ground) -> None:
    ground.script(bash("sleep 100", timeout=110), finish())
    issue = ground.issue()
    session = await ground.linear.mention(issue, ground.alice, "@onhand fix it")
    await ground.until(lambda: any(a["content"]["type"] == "action" for a in ground.linear.said(session)))
    await ground.linear.prompt(session, ground.bob, "Stop", signal="stop")
    await ground.ended(issue)
    [said] = ground.bodies(session, "response")
    assert "Stopped" in said
    assert ground.linear.said(session)[-1]["content"]["body"] == said
    assert ground.pulls() == []


async def test_verbs_are_answered_in_the_session(ground: Ground) -> None:
    ground.script(bash("sleep 12"), finish())
    issue = ground.issue()
    session = await ground.linear.mention(issue, ground.alice, "@onhand fix it")
    await ground.until(lambda: any(a["content"]["type"] == "action" for a in ground.linear.said(session)))
    await ground.linear.prompt(session, ground.bob, "status")
    await ground.linear.prompt(session, ground.bob, "help")
    await ground.until(lambda: any("Working on it" in text for text in ground.bodies(session, "thought")))
    await ground.until(lambda: any("`retry`" in text for text in ground.bodies(session, "response")))
    await ground.ended(issue)


async def test_the_repository_is_asked_for_and_chosen(ground: Ground) -> None:
    ground.script(bash(MEND_CALC), finish())
    issue = ground.linear.issue(f"T{uuid.uuid4().hex[:6].upper()}", "add is wrong", "It subtracts.")
    await ground.github.repository(f"{ground.name}-other", SAMPLE, {"onhand-bot": "write"})
    ground.linear.suggested = {ground.name: 0.9}
    session = await ground.linear.mention(issue, ground.alice, "@onhand fix it")
    asked = await ground.until(
        lambda: [a for a in ground.linear.said(session) if a["content"]["type"] == "elicitation"]
    )
    assert asked[0]["signal"] == "select"
    assert asked[0]["signalMetadata"]["options"][0]["value"] == f"github:{ground.name}", "Linear ranks it first"
    ground.service.scripts.steps[issue["identifier"]] = ground.service.scripts.steps[ground.name]
    await ground.linear.prompt(session, ground.alice, f"github:{ground.name}")
    await ground.ended(issue)
    assert len(ground.pulls()) == 1
    assert len(ground.bodies(session, "elicitation")) == 1


@pytest.mark.parametrize("by", ["comment", "label"])
async def test_without_a_session_one_comment_is_edited(ground: Ground, by: str) -> None:
    ground.script(bash(MEND_CALC), finish())
    issue = ground.issue()
    if by == "comment":
        asked = await ground.linear.comment(issue, ground.alice, "@onhand please fix it")
    else:
        await ground.linear.label(issue, ground.alice, "bug")
        await ground.linear.label(issue, ground.alice, "Onhand")
        await ground.linear.label(issue, ground.alice, "urgent")
    await ground.ended(issue)
    [said] = ground.linear.comments_of(issue, ground.app)
    assert f"/pull/{ground.pulls()[0].number}" in said["body"]
    assert said["parentId"] == (asked["id"] if by == "comment" else None)
    assert [reaction["emoji"] for reaction in ground.linear.reactions.values()] == ["eyes"]
    assert (issue["state"]["id"], issue["delegate"]) == ("doing", None)


@pytest.mark.parametrize("who", ["guest", "app", "left"])
async def test_a_person_without_the_right_is_told_and_gets_no_run(ground: Ground, who: str) -> None:
    rights: Json = {"guest": {"guest": True}, "app": {"app": True}, "left": {"active": False}}[who]
    stranger = ground.linear.person(f"Stranger-{who}", **rights)
    issue = ground.issue()
    session = await ground.linear.mention(issue, stranger, "@onhand fix it")
    await ground.ended(issue)
    [said] = ground.bodies(session, "error")
    assert "guests" in said
    assert ground.pulls() == []
    assert issue["state"]["type"] == "unstarted"


@pytest.mark.parametrize(
    ("operation", "code", "status", "times"),
    [
        ("SayInSession", "INTERNAL_SERVER_ERROR", 200, 2),
        ("SayInSession", "", 500, 2),
        ("SayInSession", "RATELIMITED", 400, 2),
        ("UpdateSession|Issue|UpdateIssue|Suggestions", "FORBIDDEN", 200, 99),
        ("UpdateSession|Issue", "AUTHENTICATION_ERROR", 401, 3),
        ("User", "", 500, 2),
    ],
    ids=["errors-in-200", "500", "limited", "forbidden", "unauthorized", "who-is-unknown"],
)
async def test_a_platform_that_refuses_now_and_then_still_gets_its_one_ending(
    ground: Ground, operation: str, code: str, status: int, times: int
) -> None:
    ground.script(bash(MEND_CALC), finish())
    issue = ground.issue()
    ground.linear.fail(operation, code, status=status, times=times, headers={"retry-after": "1"})
    session = await ground.linear.mention(issue, ground.alice, "@onhand fix it")
    await ground.ended(issue)
    assert len(ground.bodies(session, "response")) == 1
    assert len(ground.pulls()) == 1


async def test_replay_and_doctor_know_linear(ground: Ground) -> None:
    ground.service.scripts.steps["ENG-12"] = [finish()]
    environment = {**ground.service.environment, "ONHAND_LOG_JSON": "0"}
    files = [str(PAYLOADS / f"{name}.json") for name in ("Reaction.create__on_a_comment", "Comment.create__no_mention")]
    replayed = await _onhand(environment, "replay", "linear", *files)
    assert replayed.count(": 200 ") == 2, replayed
    findings = [json.loads(line) for line in (await _onhand(environment, "doctor", "--json")).splitlines()]
    linear = {f["check"]: (f["ok"], f["detail"]) for f in findings if f["check"].startswith("linear")}
    assert linear["linear intake"][0], linear
    assert ground.app["id"] in linear["linear token"][1]


async def test_an_unlinked_person_gets_a_link_and_goes_on_once_linked(
    linear_port: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    begun = contextlib.ExitStack()
    settings = {"ONHAND_AUTH__STRATEGY": "multi_user"}
    folder = tmp_path_factory.mktemp("strangers")
    service = await asyncio.to_thread(begun.enter_context, _running(folder, linear_port, **settings))
    try:
        async with _ground(service, linear_port, tmp_path) as ground:
            ground.script(bash(MEND_CALC), finish())
            person = ground.github.person("alice")
            ground.github.permit(ground.name, "alice", "write")
            issue = ground.issue()
            session = await ground.linear.mention(issue, ground.alice, "@onhand fix it")
            await ground.until(lambda: ground.bodies(session, "elicitation"))
            asked = ground.linear.said(session)[-1]
            assert asked["signal"] == "auth"
            assert asked["signalMetadata"]["url"].startswith(f"{service.url}/")
            assert asked["signalMetadata"]["userId"] == ground.alice["id"]
            link = ("users", "link", "--user", "alice", "--id")
            await _onhand(service.environment, *link, str(person.id), "github:alice")
            await _onhand(service.environment, *link, ground.alice["id"], "linear:alice")
            await ground.until(lambda: ground.bodies(session, "response"))
            assert len(ground.pulls()) == 1
    finally:
        await asyncio.to_thread(begun.close)


async def _onhand(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "bot", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    return done.stdout + done.stderr
