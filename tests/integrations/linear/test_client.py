"""What the client does at Linear: once, with ids of our own, and what becomes of refusals."""

import asyncio
import time
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import pytest
from msgspec.structs import replace

from bot.core.errors import ConfigError, ProviderError
from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.outbound import OpenChange, Outcome, React, Receipt, Say, Status, Task
from bot.core.ports import Us
from bot.core.secret import Secret
from integrations.linear.client import Linear
from tests.standins.linear import Fault, LinearServer

Json = dict[str, Any]


def asked_in(issue: Json, session: Json | None = None, comment: Json | None = None) -> Trigger:
    """Return a request in a session, in a comment or by a label."""
    origin = Origin("issue", issue["id"])
    if session:
        origin = Origin("session", session["id"], thread_id=f"session:{session['id']}")
    elif comment:
        origin = Origin("comment", comment["id"], thread_id=comment["id"])
    thread = Thread("linear", issue["team"]["key"], issue["identifier"])
    return Trigger(thread, Account("linear", "a-1", "Alice"), Request(), "linear:x", "mention", origin)


async def show(client: Linear, token: Secret, trigger: Trigger, status: Status, known: dict[str, Receipt]) -> None:
    for call in client.render(trigger, status, "status:1"):
        known[call.topic] = await client.perform(call, known.get(call.topic), token)


RUNNING = Status("running", "r-1", tasks=(Task("Look", "done"), Task("Mend", "in_progress")), step="make test", steps=2)
DONE = Status(
    "ended", "r-1", outcome=Outcome("finished", text="It adds now."), change_url="https://forge.test/o/r/pull/3"
)


async def test_a_session_shows_thoughts_steps_plan_and_one_ending(server, client, token, alice, app) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    trigger, known = asked_in(issue, session), dict[str, Receipt]()
    for status in (Status("queued", ahead=2), RUNNING, replace(RUNNING, step="git diff"), DONE):
        await show(client, token, trigger, status, known)
    kinds = [(a["content"]["type"], a["ephemeral"]) for a in server.said(session)]
    assert kinds == [("thought", True), ("action", True), ("action", True), ("response", False)]
    assert server.said(session)[1]["content"]["parameter"] == "make test"
    [seen] = server.shown(session)
    assert "It adds now." in seen["content"]["body"]
    assert "pull/3" in seen["content"]["body"]
    assert session["plan"] == [{"content": "Look", "status": "completed"}, {"content": "Mend", "status": "inProgress"}]
    assert session["externalUrls"] == [{"label": "Pull request", "url": "https://forge.test/o/r/pull/3"}]
    assert issue["state"] == {"id": "doing", "type": "started"}, "the first of the started states"
    assert issue["delegate"]["id"] == app["id"]


async def test_what_was_said_is_not_said_again(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    known: dict[str, Receipt] = {}
    await show(client, token, asked_in(issue, session), RUNNING, known)
    count = len(server.requests)
    await show(client, token, asked_in(issue, session), RUNNING, known)
    assert len(server.requests) == count, "nothing is new, so nothing is sent"
    await show(client, token, asked_in(issue, session), RUNNING, {})
    assert len(server.said(session)) == 1, "an id of our own makes a second try harmless"


async def test_what_an_earlier_try_made_is_found(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    for trigger in (asked_in(issue, session), asked_in(issue)):
        call = client.render(trigger, DONE, "status:1")[0]
        assert await client.find(call, token) is None
        made = await client.perform(call, None, token)
        assert (await client.find(call, token)) == made


async def test_somebody_elses_delegate_and_a_finished_issue_are_left_alone(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    issue["state"], issue["delegate"] = {"id": "done", "type": "completed"}, {"id": "another"}
    await show(client, token, asked_in(issue, session), RUNNING, {})
    assert "UpdateIssue" not in [request.name for request in server.requests]


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("finished", "response"), ("stopped", "response"), ("refused", "error"), ("limit", "error"), ("failed", "error")],
)
async def test_each_ending_is_a_response_or_an_error(server, client, token, alice, ending: Any, kind: str) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    ended = Status("ended", "r-1", outcome=Outcome(ending, text="So it is."))
    await show(client, token, asked_in(issue, session), ended, {})
    [said] = server.said(session)
    assert said["content"]["type"] == kind


async def test_the_question_for_the_repository_has_choices_that_linear_ranks(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    server.suggested = {"o/b": 0.4, "o/c": 0.9}
    asking = Status(
        "asking", question="Which repository do you mean?", choices=("github:o/a", "github:o/b", "github:o/c")
    )
    await show(client, token, asked_in(issue, session), asking, {})
    [said] = server.said(session)
    assert (said["content"]["type"], said["signal"]) == ("elicitation", "select")
    assert [option["value"] for option in said["signalMetadata"]["options"]] == [
        "github:o/c",
        "github:o/b",
        "github:o/a",
    ]


async def test_choices_stay_as_they_are_when_linear_cannot_rank_them(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    server.fail("Suggestions", "FEATURE_NOT_ACCESSIBLE")
    await show(
        client, token, asked_in(issue, session), Status("asking", question="Which?", choices=("github:o/a",)), {}
    )
    assert server.said(session)[0]["signal"] == "select"


@pytest.mark.parametrize(
    ("topic", "text", "kind"),
    [
        ("reply:3", "Nothing is running here.", "response"),
        ("permission:linear:a-1", "I may only work for people who can write.", "error"),
        (
            "account:linear:a-1",
            "Please connect your account: https://onhand.test/connect?t=1 so that I know.",
            "elicitation",
        ),
        (
            "account:linear:a-1:7:retry:29000000",
            "Please connect your account: https://onhand.test/connect?t=1 so that I know.",
            "elicitation",
        ),
    ],
)
async def test_the_desks_words_take_the_form_that_fits(server, client, token, alice, topic, text, kind) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    trigger = asked_in(issue, session)
    call = Say(topic=topic, thread=trigger.thread, text=text, beneath=trigger.origin.thread_id)
    made = await client.perform(call, None, token)
    [said] = server.said(session)
    assert (said["content"]["type"], said["content"]["body"]) == (kind, text)
    assert await client.find(call, token) == made
    if kind == "elicitation":
        assert said["signal"] == "auth"
        assert said["signalMetadata"] == {"url": "https://onhand.test/connect?t=1", "userId": "a-1"}


async def test_where_it_was_asked_in_a_comment_one_comment_is_edited(server, client, token, alice, app) -> None:
    issue = server.issue("ENG", "Add is wrong")
    asked = await server.comment(issue, alice, "@onhand fix it")
    known: dict[str, Receipt] = {}
    for status in (Status("queued"), RUNNING, DONE):
        await show(client, token, asked_in(issue, comment=asked), status, known)
    [ours] = server.comments_of(issue, app)
    assert "It adds now." in ours["body"]
    assert ours["parentId"] == asked["id"]
    assert known["status:1"].url == ours["url"]
    assert issue["state"]["type"] == "started"
    assert issue["delegate"] is None, "in a workspace without agents there are no delegates"


async def test_a_deleted_comment_is_said_anew_and_a_deleted_thread_left(server, client, token, alice, app) -> None:
    issue = server.issue("ENG", "Add is wrong")
    asked = await server.comment(issue, alice, "@onhand fix it")
    trigger, known = asked_in(issue, comment=asked), dict[str, Receipt]()
    await show(client, token, trigger, Status("queued"), known)
    first = known["status:1"]
    server.comments.clear()
    await show(client, token, trigger, DONE, known)
    [ours] = server.comments_of(issue, app)
    assert ours["id"] == known["status:1"].id != first.id
    assert ours["parentId"] is None


@pytest.mark.parametrize("kind", ["comment", "issue", "session"])
async def test_a_first_sign_is_a_reaction_or_a_thought(server, client, token, alice, kind: str) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    trigger = {
        "session": asked_in(issue, session),
        "comment": asked_in(issue, comment=session["comment"]),
        "issue": asked_in(issue),
    }[kind]
    for _ in range(2):
        await client.perform(React(topic="react:1", thread=trigger.thread, origin=trigger.origin), None, token)
    if kind == "session":
        [said] = server.said(session)
        assert said["ephemeral"]
    else:
        [reaction] = server.reactions.values()
        assert (reaction["emoji"], reaction[f"{kind}Id"]) == ("eyes", trigger.origin.id)


async def test_an_agents_words_ping_nobody(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    text = "See @bob and https://linear.app/octo/profiles/bob"
    await show(client, token, asked_in(issue, session), Status("ended", outcome=Outcome("finished", text=text)), {})
    [said] = server.said(session)
    assert "`@bob`" in said["content"]["body"]
    assert "https://linear.app/octo/profiles" not in said["content"]["body"]


async def test_a_patch_is_folded_away_before_the_ending(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    await show(client, token, asked_in(issue, session), replace(DONE, patch="diff --git a b\n+</details>\n"), {})
    patch, ending = server.said(session)
    assert "+++ Show the patch" in patch["content"]["body"]
    assert ending["content"]["type"] == "response"


async def test_a_patch_that_would_ping_somebody_is_another_one_and_says_so(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    pinging = replace(DONE, patch="+See https://linear.app/octo/profiles/bob\n")
    await show(client, token, asked_in(issue, session), pinging, {})
    said = server.said(session)[0]["content"]["body"]
    assert ("https://linear.app/octo" in said, "git am" in said) == (False, False)
    assert "so it cannot be applied as it is" in said


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "word"),
    [
        ("AUTHENTICATION_ERROR", 200, "unauthorized"),
        ("AUTHENTICATION_ERROR", 400, "unauthorized"),
        ("FORBIDDEN", 200, "forbidden"),
        ("RATELIMITED", 400, "limited"),
        ("INVALID_INPUT", 200, "invalid"),
        ("GRAPHQL_VALIDATION_FAILED", 400, "invalid"),
        ("INTERNAL_SERVER_ERROR", 200, "unavailable"),
        ("LOCK_TIMEOUT", 200, "unavailable"),
        ("", 401, "unauthorized"),
        ("", 403, "forbidden"),
        ("", 404, "missing"),
        ("", 429, "limited"),
        ("", 500, "unavailable"),
        ("", 502, "unavailable"),
        ("", 200, "unavailable"),
    ],
)
async def test_a_refusal_is_told_by_its_code_also_with_http_200(server, client, token, code, status, word) -> None:
    server.fail("Viewer", code, status=status)
    with pytest.raises(ProviderError) as refused:
        await client.identify(token)
    assert refused.value.word == word
    assert refused.value.worth_retrying is (word in ("limited", "unavailable"))
    assert token.reveal() not in str(refused.value)


async def test_a_rate_limit_says_when_it_ends(server, client, token) -> None:
    reset = {"x-ratelimit-complexity-remaining": "0", "x-ratelimit-complexity-reset": str((time.time() + 30) * 1000)}
    server.fail("Viewer", "RATELIMITED", status=400, headers=reset)
    server.fail("Viewer", "RATELIMITED", status=400, headers={"retry-after": "7"})
    server.fail("Viewer", "RATELIMITED", status=400)
    date = formatdate(time.time() + 100, usegmt=True)
    server.fail("Viewer", "RATELIMITED", status=400, headers={"retry-after": date})
    waits = []
    for _ in range(4):
        with pytest.raises(ProviderError) as refused:
            await client.identify(token)
        waits.append(refused.value.retry_after)
    assert 25 < waits[0] <= 30
    assert waits[1:3] == [7.0, 60.0]
    assert 95 < waits[3] <= 101


async def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_set(server, client, token) -> None:
    server.fail("Viewer", hang=True)
    with pytest.raises(ProviderError) as refused:
        async with asyncio.timeout(20):
            await client.identify(token)
    assert refused.value.word == "unavailable"


async def test_an_activity_whose_answer_was_lost_is_there_once(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    server.fail("SayInSession", status=502, after=True)
    call = client.render(asked_in(issue, session), DONE, "status:1")[0]
    made = await client.perform(call, None, token)
    assert [said["id"] for said in server.said(session)] == [made.id]


@pytest.mark.parametrize("made", [None, [], 7, {"id": 7}])
async def test_an_answer_of_another_form_is_none(server, client, token, alice, made) -> None:
    session = await server.mention(server.issue("ENG", "Add is wrong"), alice, "@onhand fix it")
    said = Say(topic="reply:1", thread=Thread("linear", "ENG", "ENG-1"), text="Hello")
    first = await client.perform(said, None, token)
    server.faults.append(Fault("UpdateComment", 200, {"data": {"x": {"success": True, "comment": made}}}, 1, {}))
    with pytest.raises(ProviderError) as untold:
        await client.perform(said, first, token)
    assert untold.value.word == "unavailable"
    answered = Fault("SayInSession", 200, {"data": {"x": {"success": True, "agentActivity": made}}}, 1, {}, after=True)
    server.faults.append(answered)
    there = await client.perform(replace(said, beneath=f"session:{session['id']}"), None, token)
    assert [activity["id"] for activity in server.said(session)] == [there.id]


async def test_what_is_not_allowed_is_not_tried_at_every_step(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    server.fail("Issue|UpdateSession", "FORBIDDEN", times=99)
    known: dict[str, Receipt] = {}
    for step in ("one", "two", "three"):
        await show(client, token, asked_in(issue, session), replace(RUNNING, step=step), known)
    names = [request.name for request in server.requests]
    assert (names.count("Issue"), names.count("UpdateSession"), names.count("SayInSession")) == (1, 1, 3)


async def test_a_session_without_an_issue_begins_none(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    apart = replace(asked_in(issue, session), thread=Thread("linear", "session", session["id"]))
    await show(client, token, apart, RUNNING, {})
    assert "Issue" not in [request.name for request in server.requests]
    assert await client.context(apart, token) == ()


async def test_what_it_does_not_know_is_refused(client, token) -> None:
    thread = Thread("linear", "ENG", "ENG-1")
    change = OpenChange(topic="t", thread=thread, repository=None, head="h", base="b", title="t", body="b")  # type: ignore[arg-type]
    with pytest.raises(ProviderError):
        await client.perform(change, None, token)


# --- who --------------------------------------------------------------------------------------------------------------


async def test_members_may_ask_and_guests_apps_and_those_who_left_may_not(server, client, token, alice, app) -> None:
    people = [alice, app, server.person("Gus", guest=True), server.person("Ivy", active=False), {"id": "nobody"}]
    thread = Thread("linear", "ENG", "ENG-1")
    may = [await client.may_ask(thread, Account("linear", who["id"], ""), token) for who in people]
    assert may == [True, False, False, False, False]


async def test_accounts_are_found_by_name(server, client, token, alice) -> None:
    assert await client.account("alice", token) == Account("linear", alice["id"], "alice")
    with pytest.raises(ProviderError):
        await client.account("nobody", token)


async def test_the_check_says_as_whom_and_with_which_id(server, client, app) -> None:
    assert app["id"] in await client.check()


async def test_a_wrong_id_of_the_apps_user_is_found(server, app) -> None:
    wrong = Linear(Linear.Settings(token=Secret(app["token"]), api_url=server.url, app_user_id="x"), Us())
    with pytest.raises(ConfigError, match=app["id"]):
        await wrong.check()
    await wrong.close()


async def test_a_persons_key_is_sent_as_it_is(server, client) -> None:
    server.tokens["lin_api_secret"] = next(iter(server.people))
    await client.identify(Secret("lin_api_secret"))
    assert server.requests[-1].token == "lin_api_secret"


# --- what was said, and what was missed --------------------------------------------------------------------------------


async def test_the_comments_before_are_told_newest_first(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    await server.comment(issue, alice, "It was right last week")
    await server.comment(issue, alice, "Look at calc.py")
    asked = await server.comment(issue, alice, "@onhand fix it")
    said = await client.context(asked_in(issue, comment=asked), token)
    assert [(m.author, m.text) for m in said] == [("Alice", "Look at calc.py"), ("Alice", "It was right last week")]
    assert said[0].at > said[1].at > 0


async def test_a_sessions_context_came_with_it(server, client, token, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    session = await server.mention(issue, alice, "@onhand fix it")
    assert await client.context(replace(asked_in(issue, session), body='<issue identifier="ENG-1">'), token) == ()


async def test_what_was_missed_is_read_as_its_delivery_would_have_been(server, client, alice) -> None:
    issue = server.issue("ENG", "Add is wrong")
    begin, settled = time.time() - 300, datetime.fromtimestamp(time.time() - 120, UTC).isoformat()
    session = await server.mention(issue, alice, "@onhand fix it")
    session["createdAt"] = "2026-01-01T00:00:00Z"
    late = await server.mention(issue, alice, "@onhand plan it")
    await server.prompt(session, alice, "and mind the tests")
    await server.comment(issue, alice, "@onhand look here")
    await server.comment(issue, alice, "nothing for you, `@onhand`")
    edited = await server.comment(issue, alice, "@onhand and here")
    edited["editedAt"] = "2026-01-01T00:00:00Z"
    for comment in server.comments.values():
        comment["createdAt"] = settled
    await server.comment(issue, alice, "@onhand this may be a session in a moment")
    caught = await client.catch_up(begin)
    server.fail("Prompts", status=500, times=9)
    partly = await client.catch_up(begin)
    assert isinstance(partly.failed, ProviderError)
    assert {d.id for d in caught.read} - {d.id for d in partly.read} == {caught.read[1].id}, (
        "the prompt alone is missing"
    )
    assert caught.failed is None
    found = caught.read
    meanings = [delivery.triggers[0].meaning for delivery in found]
    assert meanings[0] == f"linear:comment:{late['comment']['id']}"
    texts = [delivery.triggers[0].request.text for delivery in found]
    assert texts[:2] == ["it", "and mind the tests"]
    assert "look here" in texts
    assert "and here" not in texts
    assert "this may be a session in a moment" not in texts
    assert len({delivery.id for delivery in found}) == len(set(meanings))


# --- tokens of the app, and setting up ---------------------------------------------------------------------------------


def as_application(server: LinearServer, secret: str = "hush") -> Linear:
    settings = Linear.Settings(
        webhook_secret=Secret("s3cret"), client_id="c-1", client_secret=Secret(secret), api_url=server.url
    )
    return Linear(settings, Us())


async def test_an_application_asks_for_its_token_and_again_when_it_has_ended(server, app) -> None:
    server.applications["c-1"] = ("hush", app["id"])
    client, beside = as_application(server), as_application(server)
    first = await client.token("ENG")
    assert first == await client.token("ENG")
    assert await beside.token("ENG") != first, "the other worker's ends ours"
    assert (await client.identify(first)).id == app["id"]
    assert await client.token("ENG") != first
    await client.close()
    await beside.close()


async def test_a_wrong_secret_of_the_application_is_told(server, app) -> None:
    server.applications["c-1"] = ("hush", app["id"])
    client = as_application(server, "wrong")
    with pytest.raises(ProviderError) as refused:
        await client.check()
    assert refused.value.word == "unauthorized"
    await client.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"api_url": "linear.app"},
        {"client_id": "c-1"},
        {"client_secret": Secret("x")},
        {"token": Secret("t"), "client_id": "c-1", "client_secret": Secret("x")},
    ],
)
def test_settings_that_cannot_work_are_told(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="linear"):
        Linear(Linear.Settings(**settings), Us())


async def test_init_tells_what_to_do_and_then_as_whom_we_act(server, app) -> None:
    by_hand = await Linear.set_up(Linear.Settings(api_url=server.url), "https://onhand.test", [])
    assert any("https://onhand.test/api/integration/linear/events" in line for line in by_hand)
    server.applications["c-1"] = ("hush", app["id"])
    settings = Linear.Settings(client_id="c-1", client_secret=Secret("hush"), api_url=server.url)
    assert f"set ONHAND_LINEAR__APP_USER_ID={app['id']}" in await Linear.set_up(settings, "https://onhand.test", [])
    assert server.webhooks == []


async def test_init_makes_a_persons_webhook_once(server, alice) -> None:
    settings = Linear.Settings(token=Secret(alice["token"]), webhook_secret=Secret("s3cret"), api_url=server.url)
    said = [await Linear.set_up(settings, "https://onhand.test", []) for _ in range(2)]
    [hook] = server.webhooks
    assert (hook["url"], hook["secret"]) == ("https://onhand.test/api/integration/linear/events", "s3cret")
    assert "made" in said[0][-1]
    assert "is there" in said[1][-1]
