"""From a mention at GitHub to its ending, end to end."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bot.testing.openapi import check_requests
from tests.journeys.steps import MEND_CALC, bash, call, finish, step

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

API = json.loads((Path(__file__).parents[1] / "integrations" / "github" / "api.json").read_text())


async def test_a_mention_becomes_a_pull_request_that_mends_the_test(place, tmp_path: Path) -> None:
    place.script(
        step(
            call("task_list", task_list=[{"title": "Mend add", "status": "in_progress"}]),
            call("bash", command="python3 -m unittest 2>&1 | tail -n 1"),
        ),
        step(call("edit", command="str_replace", path="/workspace/calc.py", old_str="a - b", new_str="a + b")),
        bash("python3 -m unittest 2>&1 | tail -n 1"),
        finish(),
    )
    assert not place.tests_pass("main", tmp_path)
    number = await place.issue("It is wrong.")
    comment = await place.github.comment(place.name, number, "alice", "@onhand please fix it")
    await place.ended(number)
    [pull] = place.pulls()
    assert pull.pull.head == f"onhand/{number}-add-is-wrong-in-{place.name.replace('/', '-')}"[: len(pull.pull.head)]
    assert place.tests_pass(pull.pull.head, tmp_path)
    assert pull.title == "Add in add"
    assert f"Fixes #{number}" in pull.body
    assert "- [ ] I have read the rules" in pull.body, "the repository's template is respected"
    [said] = place.said(number)
    assert f"/pull/{pull.number}" in said
    assert place.github.reactions(f"{place.name}/issues/comments/{comment}") == ["eyes"]
    [message, _] = await asyncio.to_thread(place.github.git.messages, place.name, pull.pull.head)
    assert "Co-authored-by: alice <" in message
    assert check_requests(place.github.requests, API) == []
    assert {request.status for request in place.github.requests} <= {200, 201, 404}


async def test_the_same_delivery_five_times_at_once_is_one_run(place) -> None:
    place.script(bash(MEND_CALC), finish())
    place.github._hooks.clear()
    number = await place.issue()
    delivery = place.last_delivery()
    place.listen()
    answers = await asyncio.gather(*(place.github.send(delivery) for _ in range(5)))
    assert sorted(answer.status_code for [answer] in answers) == [200, 200, 200, 200, 202]
    await place.ended(number)
    await place.github.send(delivery)
    await place.ended(number)
    assert len(place.said(number)) == 1
    assert len(place.pulls()) == 1
    assert [e["observation"] for e in await place.events(number) if "observation" in e].count("run_started") == 1


async def test_two_mentions_at_once_in_one_thread_are_both_answered(place) -> None:
    place.script(bash(MEND_CALC), finish(), finish(), finish())
    number = await place.issue("Something is wrong.")
    await asyncio.gather(
        place.github.comment(place.name, number, "alice", "@onhand fix it"),
        place.github.comment(place.name, number, "carol", "@onhand fix it, please"),
    )
    await place.ended(number)
    assert len(place.pulls()) == 1
    assert all("Done" in text for text in place.said(number))
    assert 1 <= len(place.said(number)) <= 2


async def test_a_mention_during_a_run_is_seen_at_the_next_step(place) -> None:
    seen: list[bool] = []

    def last(prompt: str) -> dict[str, Any]:
        seen.append("mind the zebra" in prompt)
        return finish()

    place.script(bash("sleep 3"), last)
    number = await place.issue()
    await _until_running(place, number, "sleep 3")
    await place.github.comment(place.name, number, "carol", "@onhand mind the zebra")
    await place.ended(number)
    assert seen == [True]
    assert len(place.said(number)) == 1


async def test_stop_ends_a_run_in_the_middle_of_a_command(place) -> None:
    place.script(bash("sleep 100", timeout=110), finish())
    number = await place.issue()
    await _until_running(place, number, "sleep 100")
    await place.github.comment(place.name, number, "carol", "@onhand stop")
    await place.ended(number)
    [said] = place.said(number)
    assert "carol" in said
    assert place.pulls() == []


async def test_status_and_help_are_answered_during_a_run(place) -> None:
    place.script(bash("sleep 4"), finish())
    number = await place.issue()
    await _until_running(place, number, "sleep 4")
    await place.github.comment(place.name, number, "carol", "@onhand status")
    await place.github.comment(place.name, number, "carol", "@onhand help")
    await place.until(lambda: len(place.said(number)) == 3)
    texts = place.said(number)
    assert sum("Working on it" in text for text in texts) == 2, "the status message, and the answer to `status`"
    assert any("`retry`" in text for text in texts)
    await place.ended(number)


async def test_a_follow_up_goes_on_in_the_same_pull_request(place) -> None:
    place.script(bash(MEND_CALC), finish(), bash("echo more >> NOTES.md"), finish("Noted.", "Take notes"))
    number = await place.issue()
    await place.ended(number)
    await place.github.comment(place.name, number, "carol", "@onhand take notes too")
    await place.ended(number)
    [pull] = place.pulls()
    files = await asyncio.to_thread(place.github.git.files, place.name, pull.pull.head)
    assert "a + b" in files["calc.py"]
    assert files["NOTES.md"] == "more\n"
    assert len(place.said(number)) == 2
    assert pull.title == "Add in add"
    assert "It adds now.\n\nNoted." in pull.body, "it tells of both runs"


@pytest.mark.parametrize("inside", [False, True], ids=["in the issue", "in the pull request"])
async def test_a_follow_up_after_the_merge_starts_from_what_it_was_merged_into(place, inside: bool) -> None:
    place.script(bash(MEND_CALC), finish(), bash("echo more >> NOTES.md"), finish("Noted.", "Take notes"))
    git = place.github.git
    if inside:
        await asyncio.to_thread(git.commit, place.name, {"new.py": "x = 1\n"}, "New", "feature")
        number = await place.github.pull(place.name, "alice", f"A feature in {place.name}", "feature")
        await place.github.comment(place.name, number, "alice", "@onhand fix the test here")
    else:
        number = await place.issue()
    await place.ended(number)
    first = place.github.state.repositories[place.name].items[number] if inside else place.pulls()[0]
    merged = await asyncio.to_thread(git.files, place.name, first.pull.head)
    await asyncio.to_thread(git.commit, place.name, {"calc.py": f"# by hand\n{merged['calc.py']}"}, "Squashed", "main")
    first.state = "closed"
    await place.github.comment(place.name, number, "carol", "@onhand take notes too")
    await place.ended(number)
    last = place.pulls()[-1]
    assert last is not first
    assert last.pull.head.startswith("onhand/")
    assert last.pull.head != first.pull.head
    before, after = [await asyncio.to_thread(git.files, place.name, name) for name in ("main", last.pull.head)]
    assert after == {**before, "NOTES.md": "more\n"}
    assert await asyncio.to_thread(git.files, place.name, first.pull.head) == merged, "nobody would see it there"


async def test_asked_in_a_pull_request_it_pushes_to_its_branch(place) -> None:
    place.script(bash(MEND_CALC), finish())
    await asyncio.to_thread(place.github.git.commit, place.name, {"new.py": "x = 1\n"}, "New", "feature")
    number = await place.github.pull(place.name, "alice", f"A feature in {place.name}", "feature")
    await place.github.comment(place.name, number, "alice", "@onhand fix the test here")
    await place.ended(number)
    files = await asyncio.to_thread(place.github.git.files, place.name, "feature")
    assert "a + b" in files["calc.py"]
    assert place.pulls() == []
    [said] = place.said(number)
    assert "feature" in said


@pytest.mark.parametrize("allowed", [True, False], ids=["edits-allowed", "edits-not-allowed"])
async def test_asked_in_a_pull_request_from_a_fork_it_pushes_there_or_gives_a_patch(place, allowed: bool) -> None:
    place.script(bash(MEND_CALC), finish())
    fork = f"mallory/{place.name.partition('/')[2]}"
    await place.github.fork(place.name, fork, "mallory")
    if allowed:
        place.github.permit(fork, "onhand-bot", "write")
    head = await asyncio.to_thread(place.github.git.commit, fork, {"new.py": "x = 1\n"}, "New")
    number = await place.github.pull(
        place.name, "mallory", f"A feature for {place.name}", "main", fork=fork, maintainer_can_modify=allowed
    )
    await place.github.comment(place.name, number, "alice", "@onhand fix the test here")
    await place.ended(number)
    files = await asyncio.to_thread(place.github.git.files, fork, "main")
    assert ("a + b" in files["calc.py"]) is allowed
    assert list(await asyncio.to_thread(place.github.git.branches, place.name)) == ["main"]
    said = place.said(number)
    assert len(said) == (1 if allowed else 2)
    if not allowed:
        assert (await asyncio.to_thread(place.github.git.branches, fork))["main"] == head
        assert "allowing edits by maintainers" in said[0]
        assert "+    return a + b" in said[1]


async def test_asked_in_a_review_thread_it_answers_there(place) -> None:
    place.script(bash(MEND_CALC), finish())
    await asyncio.to_thread(place.github.git.commit, place.name, {"new.py": "x = 1\n"}, "New", "review")
    number = await place.github.pull(place.name, "alice", f"A feature in {place.name}", "review")
    remark = await place.github.review_comment(
        place.name, number, "alice", "@onhand fix this line", path="calc.py", line=2
    )
    await place.ended(number)
    [answer] = [
        r for r in place.github.comments(place.name, number, "review_comment") if r.author.login == "onhand-bot"
    ]
    assert answer.in_reply_to == remark
    assert place.said(number) == []
    assert place.github.reactions(f"{place.name}/pulls/comments/{remark}") == ["eyes"]
    files = await asyncio.to_thread(place.github.git.files, place.name, "review")
    assert "a + b" in files["calc.py"]


@pytest.mark.parametrize("by", ["label", "assignment"])
async def test_a_label_or_an_assignment_starts_a_run(place, by: str) -> None:
    place.script(bash(MEND_CALC), finish())
    number = await place.issue("It is wrong.")
    if by == "label":
        await place.github.label(place.name, number, "alice", "bug")
        await place.nothing_happens(number)
        await place.github.label(place.name, number, "alice", "onhand")
        await place.github.label(place.name, number, "alice", "urgent")
    else:
        await place.github.assign(place.name, number, "alice", "onhand-bot")
    await place.ended(number)
    assert len(place.pulls()) == 1
    assert len(place.said(number)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "```\n@onhand fix it\n```",
        "`@onhand`",
        "> @onhand fix it",
        "[@onhand](https://example.com/@onhand)",
        "write to help@onhand.dev",
        "<!-- @onhand -->",
        "@onhand-team",
    ],
)
async def test_what_is_not_said_to_us_starts_nothing(place, text: str) -> None:
    number = await place.issue(text)
    await place.github.comment(place.name, number, "alice", text)
    await place.nothing_happens(number)
    assert [d.status for d in place.github.deliveries] == [200] * len(place.github.deliveries)


@pytest.mark.parametrize("who", ["other-bot", "onhand-bot"])
async def test_bots_and_we_ourselves_start_nothing(place, who: str) -> None:
    number = await place.issue("It is wrong.")
    await place.github.comment(place.name, number, who, "@onhand fix it")
    await place.nothing_happens(number)


async def test_somebody_without_the_right_is_told_once_and_gets_no_run(place) -> None:
    number = await place.issue("@onhand fix it", who="mallory")
    await place.ended(number)
    await place.github.comment(place.name, number, "mallory", "@onhand fix it now")
    await place.ended(number)
    [said] = place.said(number)
    assert "write" in said
    assert not any(e.get("observation") == "run_started" for e in await place.events(number))


async def test_an_edit_that_adds_a_mention_starts_a_run(place) -> None:
    place.script(bash(MEND_CALC), finish())
    number = await place.issue("It is wrong.")
    comment = await place.github.comment(place.name, number, "alice", "Fix it")
    await place.nothing_happens(number)
    await place.github.edit_comment(comment, "alice", "@onhand fix it")
    await place.ended(number)
    assert len(place.pulls()) == 1


async def test_a_model_that_talks_nonsense_ends_in_words(place) -> None:
    place.script(step(call("levitate")), step(), step(), step(), step(), step(), step())
    number = await place.issue()
    await place.ended(number)
    [said] = place.said(number)
    assert "retry" in said


async def test_the_log_lines_carry_the_conversation(place) -> None:
    place.script(bash(MEND_CALC), finish())
    number = await place.issue()
    await place.ended(number)
    conversation = await place.conversation(number)
    lines = [json.loads(line) for line in place.service.logs().splitlines() if conversation in line]
    assert any(line["message"].endswith("begins") for line in lines)


async def _until_running(place, number: int, command: str) -> None:
    async def begun() -> bool:
        events = await place.events(number)
        return any(e.get("action") == "run" and e["args"]["command"] == command for e in events)

    await place.until(begun)


async def test_a_pull_request_that_somebody_has_open_for_the_issue_is_named(place) -> None:
    place.script(bash(MEND_CALC), finish())
    number = await place.issue("It is wrong.")
    await asyncio.to_thread(place.github.git.commit, place.name, {"new.txt": "x\n"}, "Add", "carols")
    theirs = await place.github.pull(place.name, "carol", "Mend it", "carols", body=f"Fixes #{number}")
    await place.github.comment(place.name, number, "alice", "@onhand please fix it")
    await place.ended(number)
    [ours], [said] = place.pulls(), place.said(number)
    note = f"There is already #{theirs} for this issue."
    assert note in said
    assert note in ours.body
