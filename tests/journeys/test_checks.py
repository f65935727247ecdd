"""As a GitHub App, end to end: the check at the head of a pull request, its button stop, and its button retry."""

import asyncio
from typing import Any

import pytest

from bot.testing.github_state import Check
from bot.testing.openapi import check_requests
from tests.journeys.steps import MEND_CALC, bash, finish
from tests.journeys.test_app import API, AppPlace, place

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

__all__ = ["place"]


def shown(check: Check) -> tuple[str, str | None, list[str]]:
    return check.shown["status"], check.shown.get("conclusion"), [a["identifier"] for a in check.shown["actions"]]


async def pull(place: AppPlace) -> int:
    await asyncio.to_thread(place.github.git.commit, place.name, {"new.txt": "x\n"}, "Add", "topic")
    return await place.github.pull(place.name, "alice", f"add is wrong in {place.name}", "topic")


async def test_a_press_on_stop_ends_the_run_and_one_on_retry_starts_it_again(place: AppPlace) -> None:
    place.script(bash("sleep 120"), bash(MEND_CALC), finish())
    number = await pull(place)
    before = place.github.git.branches(place.name)["topic"]
    await place.github.comment(place.name, number, "alice", "@onhand mend `add`")
    [check] = await place.until(lambda: place.github.checks(place.name))
    assert (check.commit, shown(check)) == (before, ("in_progress", None, ["stop"]))
    assert "#issuecomment-" in check.shown["details_url"]
    await place.github.press(place.name, check.id, "alice", "stop")
    await place.ended(number)
    assert shown(check) == ("completed", "cancelled", ["retry"])
    assert "Stopped, as alice asked." in check.shown["output"]["summary"]

    await place.github.press(place.name, check.id, "alice", "retry")
    await place.until(lambda: place.github.git.branches(place.name)["topic"] != before)
    await place.ended(number)
    head = place.github.git.branches(place.name)["topic"]
    [newest] = [check for check in place.github.checks(place.name) if check.commit == head]
    assert shown(newest) == ("completed", "success", ["retry"])
    assert all(check.shown["status"] == "completed" for check in place.github.checks(place.name))
    assert check_requests(place.github.requests, API) == []


async def test_who_may_not_write_steers_nothing_with_a_button(place: AppPlace) -> None:
    place.github.person("mallory")
    place.github.permit(place.name, "mallory", "read")
    place.script(bash(MEND_CALC), finish())
    number = await pull(place)
    await place.github.comment(place.name, number, "alice", "@onhand mend `add`")
    await place.ended(number)
    check = place.github.checks(place.name)[-1]
    made = len(place.github.checks(place.name))
    await place.github.press(place.name, check.id, "mallory", "retry")
    await place.ended(number)
    events = await place.events(number)
    assert [event.get("observation") for event in events].count("run_started") == 1
    assert len(place.github.checks(place.name)) == made
    assert any("I may only work for people who can write" in (remark.body or "") for remark in said(place, number))


def said(place: AppPlace, number: int) -> list[Any]:
    return [remark for remark in place.github.comments(place.name, number) if remark.author == place.app.bot]


async def test_a_change_that_we_opened_has_a_check(place: AppPlace) -> None:
    place.script(bash(MEND_CALC), finish())
    text = "@onhand please fix it"
    number = await place.github.issue(place.name, "alice", f"add is wrong in {place.name}", text)
    await place.ended(number)
    [check] = place.github.checks(place.name)
    assert shown(check) == ("completed", "success", ["retry"])
    [made] = [item for item in place.github.pulls(place.name) if item.author == place.app.bot]
    assert made.pull
    assert check.commit == place.github.git.branches(place.name)[made.pull.head]


async def test_an_app_that_may_make_no_checks_does_the_work_without(place: AppPlace) -> None:
    place.app.installations[0].permissions.pop("checks")
    place.script(bash(MEND_CALC), finish())
    number = await place.github.issue(place.name, "alice", f"add is wrong in {place.name}", "@onhand please fix it")
    await place.ended(number)
    assert place.by_the_bot() == (1, 1)
    assert place.github.checks(place.name) == []


async def test_a_check_whose_answer_was_lost_is_not_made_twice(place: AppPlace) -> None:
    lost = place.github.drop("POST", rf"/repos/{place.name}/check-runs", after=True)
    place.script(bash(MEND_CALC), finish())
    number = await place.github.issue(place.name, "alice", f"add is wrong in {place.name}", "@onhand please fix it")
    await place.ended(number)
    assert lost.times == 0
    [check] = place.github.checks(place.name)
    assert shown(check) == ("completed", "success", ["retry"])
