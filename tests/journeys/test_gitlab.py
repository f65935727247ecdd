"""From a mention at GitLab to its ending, end to end. Every request to its API is held against the description."""

import asyncio
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.steps import CANARIES, MEND_CALC, bash, call, finish, step
from tests.standins.gitlab import Delivery, Hook

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


@pytest.mark.both_pairs
async def test_a_mention_becomes_a_merge_request_that_mends_the_test(project, tmp_path: Path) -> None:
    project.script(
        step(
            call("task_list", task_list=[{"title": "Mend add", "status": "in_progress"}]),
            call("bash", command="python3 -m unittest 2>&1 | tail -n 1"),
        ),
        step(call("edit", command="str_replace", path="/workspace/calc.py", old_str="a - b", new_str="a + b")),
        finish("`add` subtracted. It adds now.\n/close\n/label ~done"),
    )
    assert not project.tests_pass("main", tmp_path)
    number = await project.issue("It is wrong.")
    note = await project.gitlab.note(project.name, number, "alice", "@onhand please fix it")
    await project.ended(number)
    [change] = project.pulls()
    assert change["source_branch"].startswith(f"onhand/{number}-add-is-wrong-in-acme-shop-app")
    assert project.tests_pass(change["source_branch"], tmp_path)
    assert change["title"] == "Add in add"
    assert f"Closes #{number}" in change["description"]
    assert "- [ ] I have read the rules" in change["description"], "the project's template is respected"
    assert "Requested by @alice" in change["description"]
    [said] = project.said(number)
    assert f"/-/merge_requests/{change['iid']}" in said
    assert project.gitlab.awards(project.name, f"{number}/notes/{note}") == ["onhand-bot:eyes"]
    messages = await asyncio.to_thread(project.gitlab.git.messages, project.name, change["source_branch"])
    alice = project.gitlab.person("alice").id
    assert f"Co-authored-by: alice <{alice}-alice@users.noreply.127.0.0.1>" in messages[0]


async def test_a_delivery_that_comes_again_and_through_two_hooks_is_done_once(project) -> None:
    project.script(bash(MEND_CALC), finish())
    number = await project.issue()
    delivery = project.gitlab.deliveries[0]
    project.listen()
    answers = await asyncio.gather(*(project.gitlab.send(delivery) for _ in range(4)))
    assert {answer.status_code for pair in answers for answer in pair} == {200}
    await project.ended(number)
    again = Delivery(str(uuid.uuid4()), delivery.event, delivery.body)
    await project.gitlab.send(again)
    await project.ended(number)
    assert len(project.said(number)) == len(project.pulls()) == 1


async def test_a_follow_up_by_somebody_else_goes_on_in_the_same_merge_request(project) -> None:
    project.script(bash(MEND_CALC), finish(), bash("echo more >> NOTES.md"), finish("Noted.", "Take notes"))
    number = await project.issue()
    await project.ended(number)
    await project.gitlab.note(project.name, number, "carol", "@onhand-bot take notes too")
    await project.ended(number)
    [change] = project.pulls()
    files = await asyncio.to_thread(project.gitlab.git.files, project.name, change["source_branch"])
    assert "a + b" in files["calc.py"]
    assert files["NOTES.md"] == "more\n"
    assert len(project.said(number)) == 2
    assert change["title"] == "Add in add"
    assert "It adds now.\n\nNoted." in change["description"], "it tells of both runs"


async def test_asked_in_a_merge_request_it_pushes_to_its_branch(project) -> None:
    project.script(bash(MEND_CALC), finish())
    await asyncio.to_thread(project.gitlab.git.commit, project.name, {"new.py": "x = 1\n"}, "New", "feature")
    item = await project.gitlab.merge_request(project.name, "alice", f"A feature in {project.name}", "feature")
    await project.gitlab.note(project.name, item, "alice", "@onhand fix the test here")
    await project.ended(item)
    files = await asyncio.to_thread(project.gitlab.git.files, project.name, "feature")
    assert "a + b" in files["calc.py"]
    assert project.pulls() == []
    [said] = project.said(item)
    assert "feature" in said


@pytest.mark.parametrize("allowed", [True, False], ids=["members-allowed", "members-not-allowed"])
async def test_asked_in_a_merge_request_from_a_fork_it_pushes_there_or_gives_a_patch(project, allowed: bool) -> None:
    project.script(bash(MEND_CALC), finish())
    fork = f"mallory/{project.name.rpartition('/')[2]}"
    await project.gitlab.fork(project.name, fork, "mallory")
    project.gitlab.state.projects[fork].members["onhand-bot"] = 10
    head = await asyncio.to_thread(project.gitlab.git.commit, fork, {"new.py": "x = 1\n"}, "New")
    item = await project.gitlab.merge_request(
        project.name, "mallory", f"A feature for {project.name}", "main", fork=fork, allow_collaboration=allowed
    )
    await project.gitlab.note(project.name, item, "alice", "@onhand fix the test here")
    await project.ended(item)
    files = await asyncio.to_thread(project.gitlab.git.files, fork, "main")
    assert ("a + b" in files["calc.py"]) is allowed
    said = project.said(item)
    assert len(said) == (1 if allowed else 2)
    if not allowed:
        assert (await asyncio.to_thread(project.gitlab.git.branches, fork))["main"] == head
        assert "+    return a + b" in said[1]


async def test_where_a_branch_is_protected_the_work_is_kept_on_another(project) -> None:
    project.script(bash(MEND_CALC), finish())
    await asyncio.to_thread(project.gitlab.git.commit, project.name, {"new.py": "x = 1\n"}, "New", "feature")
    words = "GitLab: You are not allowed to push code to protected branches on this project."
    rule = f'while read -r _ _ ref; do [ "$ref" != refs/heads/feature ] || {{ echo "{words}"; exit 1; }}; done'
    await asyncio.to_thread(project.gitlab.git.hook, project.name, "pre-receive", rule)
    item = await project.gitlab.merge_request(project.name, "alice", f"A feature in {project.name}", "feature")
    await project.gitlab.note(project.name, item, "alice", "@onhand fix the test here")
    await project.ended(item)
    [said] = project.said(item)
    assert "not allowed to push code to protected branches" in said
    branches = await asyncio.to_thread(project.gitlab.git.branches, project.name)
    assert any(branch.startswith("onhand/") for branch in branches)


@pytest.mark.parametrize("gone", ["", "remark", "line"])
async def test_asked_on_a_line_it_answers_there_or_says_which_line_it_means(project, gone: str) -> None:
    project.script(bash(MEND_CALC), finish())
    await asyncio.to_thread(project.gitlab.git.commit, project.name, {"new.py": "x = 1\n"}, "New", "review")
    item = await project.gitlab.merge_request(project.name, "alice", f"A feature in {project.name}", "review")
    if gone:
        project.gitlab.fail("POST", r".*/discussions/\w+/notes", status=404)
    project.gitlab.routes.refuse_positions = gone == "line"
    place = {"position_type": "text", "new_path": "calc.py", "old_path": "calc.py", "new_line": 2, "old_line": None}
    await project.gitlab.note(project.name, item, "alice", "@onhand fix this line", type="DiffNote", position=place)
    await project.ended(item)
    question, answer = project.gitlab.notes(project.name, item)
    assert "**Done" in answer["body"]
    if gone == "line":
        assert answer["type"] is None
        assert "On line 2 of `calc.py`" in answer["body"]
    else:
        assert answer["type"] == "DiffNote"
        assert (answer["_discussion"] == question["_discussion"]) is (gone == "")


@pytest.mark.parametrize("by", ["label", "assignment", "review"])
async def test_a_label_an_assignment_or_a_review_request_starts_a_run(project, by: str) -> None:
    project.script(bash(MEND_CALC), finish())
    await asyncio.to_thread(project.gitlab.git.commit, project.name, {"new.py": "x = 1\n"}, "New", "review")
    if by == "review":
        item = await project.gitlab.merge_request(project.name, "alice", f"A feature in {project.name}", "review")
        await project.gitlab.assign(project.name, item, "carol", "onhand-bot", "reviewers")
    else:
        item = await project.issue("It is wrong.")
        await project.gitlab.label(project.name, item, "carol", "bug")
        await project.nothing_happens(item)
    if by == "label":
        await project.gitlab.label(project.name, item, "carol", "onhand")
        await project.gitlab.label(project.name, item, "carol", "urgent")
    elif by == "assignment":
        await project.gitlab.assign(project.name, item, "carol", "onhand-bot")
    await project.ended(item)
    assert len(project.said(item)) == 1
    assert len(project.pulls()) == (0 if by == "review" else 1)


async def test_the_verbs_are_understood(project) -> None:
    project.script(bash("sleep 100", timeout=110), finish())
    number = await project.issue()

    async def begun() -> bool:
        return any(e.get("action") == "run" for e in await project.events(number))

    await project.until(begun)
    await project.gitlab.note(project.name, number, "carol", "@onhand status")
    await project.until(lambda: len(project.said(number)) == 2)
    await project.gitlab.note(project.name, number, "carol", "@onhand stop")
    await project.ended(number)
    assert "Stopped" in project.said(number)[0]
    assert project.pulls() == []


@pytest.mark.parametrize("who", ["onhand-bot", "project_9_bot_0f"])
async def test_bots_and_we_ourselves_start_nothing(project, who: str) -> None:
    number = await project.issue("It is wrong.")
    await project.gitlab.note(project.name, number, who, "@onhand fix it")
    await project.nothing_happens(number)
    assert {delivery.status for delivery in project.gitlab.deliveries} == {200}


async def test_somebody_below_developer_is_told_once_and_gets_no_run(project) -> None:
    number = await project.issue("@onhand fix it", who="mallory")
    await project.ended(number)
    await project.gitlab.note(project.name, number, "mallory", "@onhand fix it now")
    await project.ended(number)
    [said] = project.said(number)
    assert "write" in said
    assert not any(e.get("observation") == "run_started" for e in await project.events(number))


async def test_whoever_loses_the_right_during_a_run_gets_no_push(project) -> None:
    def last(prompt: str) -> dict[str, Any]:
        project.gitlab.state.projects[project.name].members["alice"] = 20
        return finish()

    project.script(bash(MEND_CALC), last)
    number = await project.issue()
    await project.ended(number)
    assert list(await asyncio.to_thread(project.gitlab.git.branches, project.name)) == ["main"]
    [said] = project.said(number)
    assert "right" in said


async def test_an_edit_that_adds_a_mention_starts_one_run(project) -> None:
    project.script(bash(MEND_CALC), finish())
    number = await project.issue("It is wrong.")
    note = await project.gitlab.note(project.name, number, "alice", "Fix it")
    await project.nothing_happens(number)
    await project.gitlab.edit_note(project.name, note, "alice", "@onhand fix it")
    await project.gitlab.edit_note(project.name, note, "alice", "@onhand fix it, please")
    await project.ended(number)
    assert len(project.said(number)) == len(project.pulls()) == 1


@pytest.mark.parametrize("wrong", ["signature", "time", "none", "other body", "secret"])
async def test_what_is_not_signed_well_is_refused(project, wrong: str) -> None:
    project.gitlab.hooks.clear()
    number = await project.issue()
    delivery = project.gitlab.deliveries[-1]
    hook = Hook("", CANARIES["gitlab signing"])
    headers = project.gitlab.headers(delivery, hook, at=0.0 if wrong == "time" else None)
    body = delivery.body + b" " if wrong == "other body" else delivery.body
    if wrong == "signature":
        headers["webhook-signature"] = "v1,AAAA"
        headers["x-gitlab-token"] = CANARIES["gitlab secret"]
    elif wrong in ("none", "secret"):
        headers = {name: value for name, value in headers.items() if not name.startswith("webhook-")}
        headers |= {"x-gitlab-token": "wrong"} if wrong == "secret" else {}
    answer = await project.client.post("/api/integration/gitlab/events", content=body, headers=headers)
    assert answer.status_code == 401
    await project.nothing_happens(number)


async def test_during_the_move_to_signatures_the_secret_token_is_taken_too(project) -> None:
    project.script(bash(MEND_CALC), finish())
    project.gitlab.hooks[:] = [Hook(project.gitlab.hooks[0].url, secret=CANARIES["gitlab secret"])]
    number = await project.issue()
    await project.ended(number)
    assert len(project.pulls()) == 1


async def test_whatever_is_signed_well_gets_a_2xx(project) -> None:
    hook = Hook("", CANARIES["gitlab signing"])
    for body in (b"", b"[]", b"{", b'{"object_kind": "note"}', b'{"object_kind": "issue", "user": 5}', b"\xff"):
        delivery = Delivery(str(uuid.uuid4()), "Note Hook", body)
        answer = await project.client.post(
            "/api/integration/gitlab/events", content=body, headers=project.gitlab.headers(delivery, hook)
        )
        assert (answer.status_code, answer.json()["status"]) == (200, "ignored")


@pytest.mark.parametrize(
    ("method", "path", "status", "times"),
    [
        ("POST", r".*/notes", 429, 1),
        ("POST", r".*/notes", 503, 2),
        ("PUT", r".*/notes/\d+", 500, 2),
        ("POST", r".*/merge_requests", 502, 1),
        ("POST", r".*/award_emoji", 500, 1),
        ("GET", r".*/members/all/\d+", 429, 1),
        ("GET", r".*/discussions/.*|.*/notes", 500, 9),
    ],
)
async def test_a_busy_gitlab_only_delays(project, method: str, path: str, status: int, times: int) -> None:
    project.script(bash(MEND_CALC), finish())
    headers = {"Retry-After": "1"} if status == 429 else {}
    project.gitlab.fail(method, path, status=status, times=times, headers=headers)
    number = await project.issue()
    await project.ended(number)
    assert len(project.said(number)) == len(project.pulls()) == 1
    assert "**Done:**" in project.said(number)[0]


async def test_an_answer_that_is_lost_makes_nothing_twice(project) -> None:
    project.script(bash(MEND_CALC), finish())
    project.gitlab.fail("POST", r".*/issues/\d+/notes", status=500, after=True)
    project.gitlab.fail("POST", r".*/merge_requests", status=504, after=True)
    number = await project.issue()
    await project.ended(number)
    assert len(project.said(number)) == len(project.pulls()) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_gitlab_that_refuses_the_merge_request_is_told_where_it_was_asked(project, status: int) -> None:
    project.script(bash(MEND_CALC), finish())
    project.gitlab.fail("POST", r".*/merge_requests", status=status, times=99)
    number = await project.issue()
    await project.ended(number)
    [said] = project.said(number)
    assert "I could not finish this" in said
    assert project.pulls() == []


async def test_the_log_shows_no_key(project) -> None:
    project.script(bash(MEND_CALC), finish())
    number = await project.issue()
    await project.ended(number)
    events, logs = json.dumps(await project.events(number)), project.service.logs()
    assert not [name for name, key in CANARIES.items() if key in events or key in logs]


async def test_replay_and_doctor_know_gitlab(project, tmp_path: Path) -> None:
    file = tmp_path / "note.create__hello.json"
    file.write_text(json.dumps({"object_kind": "push"}))
    assert "200" in await _onhand(project, "replay", "gitlab", str(file))
    found = [json.loads(line) for line in (await _onhand(project, "doctor", "--json")).splitlines()]
    ours = {finding["check"]: finding for finding in found if finding["check"].startswith("gitlab")}
    assert ours["gitlab token"]["detail"] == "acts as onhand-bot"
    assert all(finding["ok"] for finding in ours.values())
    assert len(ours) == 2


async def _onhand(project: Any, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", *arguments, env=project.service.environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode()
