"""From a mention at Jira to its ending, end to end: asked in an issue, the pull request is at GitHub."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integrations.jira.conftest import departures
from tests.journeys.conftest import Place
from tests.journeys.gitlab_project import GitLabProject
from tests.journeys.steps import CANARIES, MEND_CALC, bash, call, finish, step
from tests.standins.gitlab import GitLabServer
from tests.standins.jira import JiraServer
from tests.standins.jira_state import Delivery, plain

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

COMMENTS = r"/rest/api/3/issue/[A-Z]+-\d+/comment"


class Project:
    """A project of its own at the stand-in, before the running service."""

    def __init__(self, place: Place, jira: JiraServer) -> None:
        self.place, self.jira = place, jira
        self.key = f"P{uuid.uuid4().hex[:8]}".upper().translate(str.maketrans("0123456789", "ABCDEFGHIJ"))
        self.us = f"[~accountid:{jira.people['onhand'].id}]"

    async def issue(self, description: str = "", who: str = "alice", **more: Any) -> str:
        title = f"add is wrong in {self.place.name}"
        return await self.jira.issue(self.key, who, title, description or f"{self.us} please fix it", **more)

    async def found(self, key: str) -> str:
        """The id of an issue's conversation, "" while there is none."""
        records = (await self.place.client.get("/api/v1/conversations")).json()
        return next((r["id"] for r in records if r["thread"] == f"jira:{self.key}#{key}"), "")

    async def events(self, key: str) -> list[dict[str, Any]]:
        found = await self.found(key)
        return (
            list((await self.place.client.get(f"/api/v1/conversations/{found}/events")).json()["events"])
            if found
            else []
        )

    async def ended(self, key: str) -> None:
        async def closed() -> Any:
            found = await self.found(key)
            return (
                found and (await self.place.client.get(f"/api/v1/conversations/{found}")).json()["open_requests"] == 0
            )

        await self.place.until(closed)

    async def running(self, key: str, command: str) -> None:
        async def begun() -> bool:
            events = await self.events(key)
            return any(e.get("action") == "run" and e["args"]["command"] == command for e in events)

        await self.place.until(begun)

    def said(self, key: str) -> list[str]:
        """What the bot said in an issue."""
        return [plain(said.body) for said in self.jira.comments(key, "onhand")]

    async def runs(self, key: str) -> int:
        return [e["observation"] for e in await self.events(key) if "observation" in e].count("run_started")


@pytest.fixture
async def project(place: Place, tmp_path: Path) -> AsyncIterator[Project]:
    """A project at Jira, with both forges behind it: a repository that is named by its name alone may be at either."""
    port = urlsplit(place.service.environment["ONHAND_JIRA__URL"]).port or 0
    forge = GitLabServer(tmp_path / "gitlab", port=GitLabProject.port(place.service))
    async with forge as gitlab, JiraServer(port=port) as jira:
        gitlab.person("onhand-bot", bot=True)
        for name in ("alice", "carol"):
            jira.person(name)
        jira.person("onhand", token=CANARIES["jira"])
        jira.person("guest", "customer", member=False)
        jira.hook(f"{place.service.url}/api/integration/jira/events", CANARIES["jira webhook"])
        yield Project(place, jira)
        assert departures(jira) == []


@pytest.mark.both_pairs
async def test_a_mention_becomes_a_pull_request_and_both_link_to_each_other(project: Project, tmp_path: Path) -> None:
    place = project.place
    place.script(
        step(
            call("task_list", task_list=[{"title": "Mend add", "status": "in_progress"}]),
            call("bash", command=MEND_CALC),
        ),
        finish(),
    )
    key = await project.issue("It is wrong.")
    comment = await project.jira.comment(key, "alice", f"{project.us} please fix it")
    await project.ended(key)
    [pull] = place.pulls()
    assert pull.pull.head.startswith(f"onhand/{key}-add-is-wrong")
    assert place.tests_pass(pull.pull.head, tmp_path)
    assert f"/browse/{key}?focusedCommentId={comment}" in pull.body
    [said] = project.said(key)
    assert "Done" in said
    issue = project.jira.issues[key]
    [link] = issue.links
    assert link["object"]["url"].endswith(f"/pull/{pull.number}")
    assert issue.state == "In Review"
    assert {d.status for d in project.jira.deliveries} <= {200, 202}
    assert not any(
        CANARIES[name] in project.place.service.logs() for name in ("jira", "jira webhook", "jira automation")
    )


@pytest.mark.parametrize("by", ["label", "assignment", "description", "opening"])
async def test_whatever_asks_starts_one_run(project: Project, by: str) -> None:
    project.place.script(bash(MEND_CALC), finish())
    key = await project.issue("It is wrong." if by != "opening" else "")
    if by == "label":
        await project.jira.label(key, "alice", "bug")
        await project.jira.label(key, "alice", "bug", "onhand")
        await project.jira.label(key, "alice", "bug", "onhand", "urgent")
    elif by == "assignment":
        await project.jira.assign(key, "alice", "onhand")
    elif by == "description":
        await project.jira.describe(key, "alice", f"{project.us} fix it")
    await project.ended(key)
    assert await project.runs(key) == 1
    assert len(project.place.pulls()) == 1


async def test_a_follow_up_goes_on_in_the_same_pull_request(project: Project) -> None:
    place = project.place
    place.script(bash(MEND_CALC), finish(), bash("echo more >> NOTES.md"), finish("Noted.", "Take notes"))
    key = await project.issue()
    await project.ended(key)
    await project.jira.comment(key, "carol", "@onhand take notes too")
    await project.ended(key)
    [pull] = place.pulls()
    files = await asyncio.to_thread(place.github.git.files, place.name, pull.pull.head)
    assert files["NOTES.md"] == "more\n"
    assert len(project.said(key)) == 2


async def test_what_was_said_before_is_known_to_the_run(project: Project) -> None:
    seen: list[bool] = []

    def last(prompt: str) -> dict[str, Any]:
        seen.append("mind the zebra" in prompt)
        return finish()

    project.place.script(bash(MEND_CALC), last)
    key = await project.issue("It is wrong.")
    await project.jira.comment(key, "carol", "mind the zebra")
    await project.jira.comment(key, "alice", "@onhand fix it")
    await project.ended(key)
    assert seen == [True]


async def test_stop_ends_a_run_in_the_middle_of_a_command(project: Project) -> None:
    project.place.script(bash("sleep 100", timeout=110), finish())
    key = await project.issue()
    await project.running(key, "sleep 100")
    await project.jira.comment(key, "carol", f"{project.us} stop")
    await project.ended(key)
    [said] = project.said(key)
    assert "Stopped" in said
    assert project.place.pulls() == []


async def test_the_same_delivery_again_and_again_is_one_run(project: Project) -> None:
    project.place.script(bash(MEND_CALC), finish())
    key = await project.issue("It is wrong.")
    comment = await project.jira.comment(key, "alice", "@onhand fix it")
    delivery = project.jira.deliveries[-1]
    answers = await asyncio.gather(
        *(project.jira.send(delivery, **{"x-atlassian-webhook-retry": "1"}) for _ in range(4))
    )
    assert [answer.status_code for [answer] in answers] == [200] * 4
    await project.jira.edit(comment, "alice", "@onhand fix it, please")
    await project.ended(key)
    assert await project.runs(key) == 1
    assert len(project.said(key)) == 1


async def test_what_asks_for_nothing_and_what_is_not_signed_is_answered_so(project: Project) -> None:
    key = await project.issue("It is wrong.")
    first = project.jira.deliveries[-1]
    [ignored] = await project.jira.send(first)
    assert (ignored.status_code, ignored.json()["status"]) == (200, "ignored")
    forged = Delivery("d-1", "comment_created", first.body.replace(b"It is wrong.", b"@onhand fix it"))
    for headers in ({"x-hub-signature": "sha256=0"}, {"x-hub-signature": ""}):
        [refused] = await project.jira.send(forged, **headers)
        assert refused.status_code == 401
    [bulk] = await project.jira.send(forged, **{"x-atlassian-webhook-flow": "Secondary"})
    assert (bulk.status_code, bulk.json()["reason"]) == (200, "secondary")
    assert not await project.found(key)


async def test_a_rule_of_automation_is_heard_by_its_secret_alone(project: Project) -> None:
    project.place.script(bash(MEND_CALC), finish())
    project.jira.deaf()
    key = await project.issue("It is wrong.")
    comment = await project.jira.comment(key, "alice", "@onhand fix it")
    person = project.jira.people["alice"]
    body = {
        "webhookEvent": "comment_created",
        "comment": {
            "id": comment,
            "body": "@onhand fix it",
            "author": {"accountId": person.id, "displayName": "Alice"},
        },
        "issue": {"id": "1", "key": key, "fields": {"summary": f"add is wrong in {project.place.name}"}},
    }
    address = "/api/integration/jira/events"
    for secret, status in (("another", 401), (CANARIES["jira webhook"], 401), (CANARIES["jira automation"], 202)):
        answer = await project.place.client.post(address, content=json.dumps(body), headers={"x-onhand-secret": secret})
        assert answer.status_code == status
    await project.ended(key)
    assert len(project.place.pulls()) == 1


async def test_a_person_without_the_right_is_told_once(project: Project) -> None:
    key = await project.issue("It is wrong.")
    for _ in range(2):
        await project.jira.comment(key, "guest", "@onhand fix it")
    await project.ended(key)
    [said] = project.said(key)
    assert "I may only work for people who" in said
    assert project.place.pulls() == []


async def test_without_a_repository_it_asks_and_goes_on_with_the_answer(project: Project) -> None:
    project.place.script(bash(MEND_CALC), finish())
    key = await project.jira.issue(project.key, "alice", "add is wrong", f"{project.us} fix it")
    await project.place.until(lambda: project.said(key))
    assert "Which repository" in project.said(key)[0]
    await project.jira.comment(key, "carol", f"@onhand repo={project.place.name}")
    await project.ended(key)
    assert len(project.place.pulls()) == 1


async def test_where_the_issue_is_linked_to_tells_the_repository(project: Project) -> None:
    project.place.script(bash(MEND_CALC), finish())
    key = await project.jira.issue(project.key, "alice", "add is wrong", "It is.")
    url = f"{project.place.github.web_url}/{project.place.name}/pull/99"
    project.jira.issues[key].links.append({"id": 1, "object": {"url": url, "title": "An earlier try"}})
    await project.jira.comment(key, "alice", f"{project.us} fix it")
    await project.ended(key)
    assert len(project.place.pulls()) == 1


@pytest.mark.parametrize(("status", "headers"), [(500, {}), (503, {}), (429, {"retry_after": "1"})])
async def test_a_jira_that_is_busy_gets_its_comment_once(
    project: Project, status: int, headers: dict[str, str]
) -> None:
    project.place.script(bash(MEND_CALC), finish())
    project.jira.fail("POST", COMMENTS, status, 2, **headers)
    key = await project.issue()
    await project.ended(key)
    [said] = project.said(key)
    assert "Done" in said


async def test_an_answer_that_is_lost_makes_no_second_comment(project: Project) -> None:
    project.place.script(bash(MEND_CALC), finish())
    project.jira.drop("POST", COMMENTS, after=True)
    key = await project.issue()
    await project.ended(key)
    assert len(project.said(key)) == 1


async def test_where_jira_takes_no_comment_the_work_is_done_all_the_same(project: Project) -> None:
    project.place.script(bash(MEND_CALC), finish())
    project.jira.fail("POST", COMMENTS, 403, 50)
    project.jira.fail("POST", r"/rest/api/3/issue/[A-Z]+-\d+/(transitions|remotelink)", 400, 50)
    key = await project.issue()
    await project.ended(key)
    assert len(project.place.pulls()) == 1


async def test_an_internal_note_is_answered_internally(project: Project) -> None:
    project.place.script(bash(MEND_CALC), finish())
    key = await project.issue("It is wrong.")
    ours = {"type": "role", "value": "Developers"}
    await project.jira.comment(key, "alice", "@onhand fix it", visibility=ours)
    await project.ended(key)
    assert [said.visibility for said in project.jira.comments(key, "onhand")] == [ours]
