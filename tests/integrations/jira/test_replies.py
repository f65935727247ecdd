"""What onhand says and does on Jira."""

from typing import Any

import pytest

from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.outbound import Outcome, Say, Status
from integrations.jira import adf, wiki
from integrations.jira.replies import LinkChange, Move, Progress, render

THREAD = Thread("jira", "APP", "APP-12")
CHANGE = "https://github.example/acme/app/pull/7"


def calls(status: Status, circle: str = "") -> list[Any]:
    origin = Origin("comment", "5", thread_id=circle)
    trigger = Trigger(THREAD, Account("jira", "1", "alice"), Request(), "jira:comment:5", "mention", origin)
    return render(trigger, status, "status:1", "@onhand")


def ended(ending: Any, **more: Any) -> Status:
    return Status("ended", run_id="r-1", outcome=Outcome(ending, "", "What came of it."), **more)


@pytest.mark.parametrize(
    "status", [Status("queued"), Status("running"), Status("asking", question="Which?"), ended("finished")]
)
def test_there_is_one_comment_for_those_who_may_see_the_question(status: Status) -> None:
    (said,) = [call for call in calls(status, "role:Developers") if isinstance(call, Say)]
    assert (said.topic, said.thread, said.beneath) == ("status:1", THREAD, "role:Developers")
    assert isinstance(said, Progress) is (status.state in ("queued", "running"))


def test_the_issue_moves_when_work_begins_and_when_there_is_a_change() -> None:
    moves = {
        name: [call.when for call in calls(status) if isinstance(call, Move)]
        for name, status in {
            "queued": Status("queued"),
            "running": Status("running"),
            "done": ended("finished", change_url=CHANGE),
            "answered": ended("finished"),
            "limit": ended("limit", change_url=CHANGE),
        }.items()
    }
    assert moves == {"queued": [], "running": ["start"], "done": ["end"], "answered": [], "limit": []}


def test_the_change_is_linked_at_the_end_however_it_ended() -> None:
    for ending in ("finished", "limit"):
        (link,) = [call for call in calls(ended(ending, change_url=CHANGE)) if isinstance(call, LinkChange)]
        assert (link.url, link.topic) == (CHANGE, "status:1:link")


def test_every_call_has_a_topic_of_its_own() -> None:
    topics = [call.topic for call in calls(ended("finished", change_url=CHANGE, patch="x"))]
    assert len(set(topics)) == len(topics) == 4


@pytest.mark.parametrize("text", ["word " * 20_000, "*_[{" * 20_000, "\n- a" * 20_000, "`" * 60_000])
def test_whatever_is_said_fits_into_a_comment(text: str) -> None:
    status = Status("ended", outcome=Outcome("finished", "", text), patch=text)
    for call in calls(status):
        if isinstance(call, Say):
            assert len(wiki.markup(call.text)) <= 32_767
            assert "content" in adf.document(call.text)
