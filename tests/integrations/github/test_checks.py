"""Check runs: what they say, who may make them, that there is one for each call, and that its buttons come back."""

from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest

from bot.core.errors import ProviderError
from bot.core.inbound import Account, Inbound, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.outbound import Ending, Outcome, SetCheck, Status
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.github import GitHubServer
from bot.testing.github_app import GitHubApp
from bot.testing.openapi import check_requests
from integrations.github import checks
from integrations.github.client import GitHub
from integrations.github.manifest import PERMISSIONS
from tests.integrations.github.conftest import REPO
from tests.integrations.github.test_app import given, settings

THREAD = Thread("github", REPO, "1")
TRIGGER = Trigger(THREAD, Account("github", "1", "octo-alice"), Request(), "m", "mention", Origin("change", "1"))
RUNNING = Status("running", "r-1", message_url="https://github.example/x#issuecomment-1")


@pytest.fixture
def app(server: GitHubServer) -> GitHubApp:
    app = server.apps.register("onhand-acme", PERMISSIONS)
    server.install(app, REPO)
    return app


@pytest.fixture
async def acting(server: GitHubServer, app: GitHubApp) -> AsyncIterator[GitHub]:
    client = GitHub(settings(server, app), Us())
    yield client
    await client.close()


@pytest.fixture
def head(server: GitHubServer) -> str:
    return server.git.branches(REPO)["main"]


def ended(ending: Ending, text: str = "It is done.", *commits: str) -> Status:
    return Status("ended", "r-1", outcome=Outcome(ending, "reason", text), commits=commits)


def check(commit: str, ending: Ending | None = None, topic: str = "status:1", item: str = "1") -> SetCheck:
    status = ended(ending, "It is done.", commit) if ending else Status("running", commits=(commit,))
    (call,) = checks.render(Thread("github", REPO, item), status, topic, "@onhand")
    assert isinstance(call, SetCheck)
    return call


# --- what it says -----------------------------------------------------------------------------------------------------


def test_without_a_head_there_is_no_check(acting: GitHub) -> None:
    assert len(acting.render(TRIGGER, RUNNING, "status:1")) == 1


def test_every_head_has_a_check_of_its_own(acting: GitHub) -> None:
    _, first, second = acting.render(TRIGGER, ended("finished", "Done.", "a" * 40, "b" * 40), "status:1")
    assert (first.topic, second.topic) == ("status:1:check:aaaaaaaaaaaa", "status:1:check:bbbbbbbbbbbb")


def test_with_a_token_alone_there_is_no_check(client: GitHub) -> None:
    assert len(client.render(TRIGGER, ended("finished", "Done.", "a" * 40), "status:1")) == 1


@pytest.mark.parametrize("ending", [None, *get_args(Ending)])
def test_there_is_stop_while_it_goes_on_and_retry_in_the_end(ending: Ending | None) -> None:
    body = checks.body(check("a" * 40, ending), "@onhand")
    (button,) = body["actions"]
    assert button["identifier"] == ("retry" if ending else "stop")
    assert (body["status"], "conclusion" in body) == (("completed", True) if ending else ("in_progress", False))
    assert len(button["label"]) <= 20
    assert len(button["description"]) <= 40


def test_each_ending_has_its_conclusion() -> None:
    found = {ending: checks.body(check("a" * 40, ending), "@onhand")["conclusion"] for ending in get_args(Ending)}
    assert found == {
        "finished": "success",
        "refused": "neutral",
        "stopped": "cancelled",
        "limit": "action_required",
        "failed": "failure",
    }


def test_it_leads_to_the_page_of_the_run_or_else_to_the_message() -> None:
    page = Status("running", details_url="https://onhand.example/c/1", message_url=RUNNING.message_url, commits=("a",))
    message = Status("running", message_url=RUNNING.message_url, commits=("a",))
    found = [checks.render(THREAD, status, "status:1", "@onhand")[0] for status in (page, message)]
    assert [getattr(call, "details_url", "") for call in found] == [page.details_url, RUNNING.message_url]


def test_what_the_agent_says_is_harmless_there_too() -> None:
    (call,) = checks.render(THREAD, ended("finished", "Ask @octo-alice <img src=x>", "a"), "status:1", "@onhand")
    assert isinstance(call, SetCheck)
    assert call.text == "Ask `@octo-alice` &lt;img src=x>"


@pytest.mark.parametrize("mark", ["", "/", "x/status:1", "-1/x", "1", "\uff11/x", "1.5/x", "9" * 20 + "/x", "\x001/x"])
def test_a_mark_that_is_not_ours_leads_to_no_thread(mark: str) -> None:
    assert checks.item_of(mark) == ""


def test_our_own_mark_leads_back_to_its_thread() -> None:
    assert checks.item_of(checks.external_id(check("a" * 40, item="12"))) == "12"


# --- at GitHub --------------------------------------------------------------------------------------------------------


async def test_a_check_is_made_once_shown_once_while_it_goes_on_and_then_completed(
    acting: GitHub, server: GitHubServer, head: str
) -> None:
    token = await given(acting)
    receipt = await acting.perform(check(head), None, token)
    before = len(server.requests)
    assert await acting.perform(check(head), receipt, token) == receipt
    assert len(server.requests) == before
    assert await acting.perform(check(head, "failed"), receipt, token) == receipt
    (made,) = server.checks(REPO)
    assert (made.commit, made.shown["status"], made.shown["conclusion"]) == (head, "completed", "failure")
    assert receipt.url == f"{server.web_url}/{REPO}/runs/{made.id}"


async def test_one_whose_receipt_was_lost_is_found(acting: GitHub, server: GitHubServer, head: str) -> None:
    token = await given(acting)
    assert await acting.find(check(head), token) is None
    others = [check(head, topic="status:9"), check(head, item="7")]
    for other in others:
        await acting.perform(other, None, token)
    made = await acting.perform(check(head), None, token)
    assert await acting.find(check(head), token) == made


async def test_another_apps_check_with_our_mark_is_not_ours(acting: GitHub, server: GitHubServer, head: str) -> None:
    other = server.apps.register("linter", PERMISSIONS)
    server.install(other, REPO)
    forger = GitHub(settings(server, other), Us())
    await forger.perform(check(head), None, await given(forger))
    await forger.close()
    assert await acting.find(check(head), await given(acting)) is None


@pytest.mark.parametrize("level", ["read", ""])
async def test_where_the_app_may_not_the_check_is_left_out(
    acting: GitHub, app: GitHubApp, server: GitHubServer, head: str, level: str
) -> None:
    app.installations[0].permissions = {**PERMISSIONS, "checks": level}
    token = await given(acting)
    receipt = await acting.perform(check(head), None, token)
    assert receipt.id == ""
    assert await acting.perform(check(head, "finished"), receipt, token) == receipt
    assert await acting.find(check(head), token) is None
    assert not any("check" in request.path for request in server.requests)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_right_that_is_gone_is_no_error(acting: GitHub, server: GitHubServer, head: str, status: int) -> None:
    server.fail("POST", r"/repos/octo/hello/check-runs", status=status)
    assert (await acting.perform(check(head), None, await given(acting))).id == ""


async def test_a_server_that_fails_is_one(acting: GitHub, server: GitHubServer, head: str) -> None:
    server.fail("POST", r"/repos/octo/hello/check-runs", status=503)
    with pytest.raises(ProviderError) as failed:
        await acting.perform(check(head), None, await given(acting))
    assert failed.value.worth_retrying


async def test_a_persons_token_makes_no_check(acting: GitHub, server: GitHubServer, head: str) -> None:
    persons = Secret(server.person("octo-alice").token)
    assert (await acting.perform(check(head), None, persons)).id == ""
    assert server.checks(REPO) == []


async def test_every_request_is_as_github_describes_it(
    acting: GitHub, server: GitHubServer, head: str, description: dict[str, Any]
) -> None:
    token = await given(acting)
    receipt = await acting.perform(check(head), None, token)
    for ending in get_args(Ending):
        await acting.perform(check(head, ending), receipt, token)
    await acting.find(check(head), token)
    assert sum("check" in request.path for request in server.requests) == 7
    assert check_requests(server.requests, description) == []


# --- the buttons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [None, "failed"])
async def test_a_pressed_button_is_delivered_as_the_verb_in_its_thread(
    acting: GitHub, server: GitHubServer, head: str, ending: Ending | None
) -> None:
    receipt = await acting.perform(check(head, ending), None, await given(acting))
    verb = "retry" if ending else "stop"
    await server.press(REPO, int(receipt.id), "octo-alice", verb)
    delivery = server.deliveries[-1]
    inbound = Inbound(acting.sign(delivery.body, delivery.event, delivery.id, 0.0), delivery.body)
    (trigger,) = acting.parse(acting.verify(inbound, 0.0)).triggers
    assert (trigger.thread, trigger.request.verb, trigger.actor.login) == (THREAD, verb, "octo-alice")
