"""The client against a small Jira, Cloud and Data Center: what it does there, and what it makes of every refusal."""

import asyncio
import time
from email.utils import formatdate
from typing import Any

import pytest
from msgspec import structs

from bot.core.errors import ConfigError, ProviderError
from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.outbound import OpenChange, React, Receipt, Say
from bot.core.ports import Integration, Us
from bot.core.secret import Secret
from integrations.jira.client import Jira
from integrations.jira.replies import LinkChange, Move, Progress
from tests.standins.jira import JiraServer
from tests.standins.jira_state import plain

THREAD = Thread("jira", "APP", "APP-1")
COMMENTS = r"/rest/api/[23]/issue/APP-1/comment"
CHANGE = "https://github.example/acme/app/pull/7"


def say(text: str = "**Hello** `x`", topic: str = "status:1", beneath: str = "") -> Say:
    return Say(topic=topic, thread=THREAD, text=text, beneath=beneath)


def asked(circle: str = "", comment: str = "1") -> Trigger:
    origin = Origin("comment", comment, thread_id=circle)
    return Trigger(THREAD, Account("jira", "1", "alice"), Request(), "jira:comment:1", "mention", origin)


@pytest.fixture
async def key(server: JiraServer) -> str:
    return await server.issue("APP", "alice", "A bug")


def test_the_client_is_what_the_port_asks_for() -> None:
    client: Integration = Jira(Jira.Settings(), Us())
    assert client.name == "jira"


# --- saying ---------------------------------------------------------------------------------------------------------


async def test_a_comment_is_made_and_then_edited(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    first = await client.perform(say(), None, token)
    second = await client.perform(say("Two"), first, token)
    (comment,) = server.comments(key)
    assert first == second == Receipt(comment.id, f"{server.url}/browse/APP-1?focusedCommentId={comment.id}")
    assert plain(comment.body).strip() == "Two"


async def test_each_jira_gets_its_own_markup(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    await client.perform(say(), None, token)
    (comment,) = server.comments(key)
    if server.cloud:
        marks = [part.get("marks") for part in comment.body["content"][0]["content"]]
        assert marks == [[{"type": "strong"}], None, [{"type": "code"}]]
    else:
        assert comment.body == "*Hello* {{x}}"


async def test_only_progress_is_edited_without_a_word_to_anybody(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    made = await client.perform(say(), None, token)
    await client.perform(Progress(topic="status:1", thread=THREAD, text="Half"), made, token)
    await client.perform(say("Done"), made, token)
    told = [request.query.get("notifyUsers") for request in server.requests if request.method == "PUT"]
    assert told == (["false", None] if server.cloud else [None, None])


async def test_a_comment_that_somebody_deleted_is_made_anew(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    first = await client.perform(say(), None, token)
    del server.said[first.id]
    second = await client.perform(say("Two"), first, token)
    assert [comment.id for comment in server.comments(key)] == [second.id]
    again = await client.perform(say("Three"), first, token)
    assert again == second, "its answer may have been lost"
    assert len(server.comments(key)) == 1


async def test_a_comment_of_ours_is_found_by_its_topic(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    assert await client.find(say(), token) is None
    made = await client.perform(say(), None, token)
    await client.perform(say(topic="status:12"), None, token)
    for number in range(30):
        await server.comment(key, "alice", f"me too {number}")
    assert await client.find(say(), token) == made


async def test_a_comment_whose_answer_was_lost_is_found(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    server.drop("POST", COMMENTS, after=True)
    with pytest.raises(ProviderError) as lost:
        await client.perform(say(), None, token)
    found = await client.find(say(), token)
    assert (lost.value.worth_retrying, found and found.id) == (True, server.comments(key)[0].id)


async def test_somebody_elses_comment_with_our_topic_is_not_ours(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    forged = await server.comment(key, "bob", "ha")
    server.said[forged].properties["onhand"] = {"topic": "status:1"}
    assert await client.find(say(), token) is None


@pytest.mark.parametrize(
    ("circle", "shown"),
    [("role:Developers", {"type": "role", "value": "Developers"}), ("group:a:b", {"type": "group", "value": "a:b"})],
)
async def test_an_answer_is_seen_by_those_who_see_the_question(
    server: JiraServer, client: Jira, token: Secret, key: str, circle: str, shown: Any
) -> None:
    made = await client.perform(say(beneath=circle), None, token)
    await client.perform(say("Two", beneath=circle), made, token)
    assert server.comments(key)[0].visibility == shown


async def test_an_internal_note_is_answered_internally(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    await client.perform(say(beneath="internal"), None, token)
    assert server.comments(key)[0].properties["sd.public.comment"] == {"internal": True}


async def test_a_reaction_is_nothing_to_jira(server: JiraServer, client: Jira, token: Secret) -> None:
    await client.perform(React(topic="r", thread=THREAD, origin=Origin("comment", "1")), None, token)
    assert server.requests == []


async def test_what_jira_has_not_is_refused(client: Jira, token: Secret) -> None:
    from bot.core.inbound import Repository

    change = OpenChange(
        topic="t", thread=THREAD, repository=Repository("jira", "x"), head="a", base="b", title="", body=""
    )
    with pytest.raises(ProviderError) as refused:
        await client.perform(change, None, token)
    assert refused.value.word == "invalid"


@pytest.mark.parametrize("item", ["", "../x", "APP-1/comment", "APP-1?x", "app-1"])
async def test_no_key_of_another_shape_goes_into_an_address(
    server: JiraServer, client: Jira, token: Secret, item: str
) -> None:
    with pytest.raises(ProviderError):
        await client.perform(Say(topic="t", thread=Thread("jira", "APP", item), text="x"), None, token)
    assert all(request.path == "/rest/api/2/serverInfo" for request in server.requests)


# --- the issue itself -----------------------------------------------------------------------------------------------


async def test_an_issue_is_moved_at_start_and_end_and_once_each(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    states = []
    for when in ("start", "end"):
        call = Move(topic=f"status:1:{when}", thread=THREAD, when=when)  # type: ignore[arg-type]
        receipt = await client.perform(call, None, token)
        states.append(server.issues[key].state)
        server.issues[key].state = "Done"
        await client.perform(call, receipt, token)
        states.append(server.issues[key].state)
    assert states == ["In Progress", "Done", "In Review", "Done"]


async def test_where_the_workflow_has_no_way_the_issue_stays(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    server.issues[key].state = "In Progress"
    receipt = await client.perform(Move(topic="t", thread=THREAD, when="start"), None, token)
    assert (receipt, server.issues[key].state) == (Receipt(""), "In Progress")


@pytest.mark.parametrize("status", [400, 403, 404, 409])
async def test_a_workflow_that_asks_for_more_leaves_the_issue_as_it_is(
    server: JiraServer, client: Jira, token: Secret, key: str, status: int
) -> None:
    server.fail("POST", r"/rest/api/[23]/issue/APP-1/transitions", status)
    assert await client.perform(Move(topic="t", thread=THREAD, when="start"), None, token) == Receipt("")
    assert server.issues[key].state == "To Do"


async def test_the_change_is_linked_once(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    call = LinkChange(topic="status:1:link", thread=THREAD, url=CHANGE)
    for receipt in (None, None, Receipt(CHANGE)):
        assert (await client.perform(call, receipt, token)).url == CHANGE
    (link,) = server.issues[key].links
    assert link["object"] == {"url": CHANGE, "title": "Pull request 7"}


# --- who ------------------------------------------------------------------------------------------------------------


async def test_who_may_be_assigned_may_ask(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    may = {
        name: await client.may_ask(THREAD, Account("jira", server.people[name].id, name), token)
        for name in ("alice", "customer")
    }
    assert may == {"alice": True, "customer": False}


@pytest.mark.parametrize("kind", ["app", "gone"])
async def test_neither_apps_nor_the_deactivated_may_ask(
    server: JiraServer, client: Jira, token: Secret, key: str, kind: str
) -> None:
    person = server.person("eve", kind)
    if server.cloud or kind == "gone":
        assert not await client.may_ask(THREAD, Account("jira", person.id, "eve"), token)


async def test_a_stranger_may_not_ask(client: Jira, token: Secret, key: str) -> None:
    assert not await client.may_ask(THREAD, Account("jira", "nobody", "nobody"), token)


async def test_an_answer_that_tells_of_nobody_is_no_refusal(
    server: JiraServer, client: Jira, key: str, token: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = Account("jira", server.people["alice"].id, "alice")
    monkeypatch.setattr(server, "_shown", lambda person: {})
    with pytest.raises(ProviderError) as untold:
        await client.may_ask(THREAD, alice, token)
    assert untold.value.word == "unavailable"


async def test_an_answer_that_names_no_comment_is_none(
    server: JiraServer, client: Jira, key: str, token: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_comment", lambda said, **more: {})
    with pytest.raises(ProviderError) as untold:
        await client.perform(say(), None, token)
    assert untold.value.word == "unavailable"


async def test_the_token_belongs_to_somebody(server: JiraServer, client: Jira, token: Secret) -> None:
    us = server.people["onhand"]
    assert await client.identify(token) == Account("jira", us.id, f"Onhand ({us.id})" if server.cloud else "onhand")
    before = len(server.requests)
    await client.identify(token)
    assert len(server.requests) == before


async def test_an_account_is_found_by_what_people_write(server: JiraServer, client: Jira, token: Secret) -> None:
    alice = server.people["alice"]
    found = await client.account(alice.id if server.cloud else "alice", token)
    assert found.id == alice.id
    assert await client.account(found.login, token) == found


async def test_the_doctor_says_as_whom_it_acts(server: JiraServer, client: Jira) -> None:
    assert ("Cloud" if server.cloud else "Data Center") in await client.check()


async def test_the_doctor_minds_an_account_that_is_not_the_tokens(server: JiraServer) -> None:
    email, _, key = server.people["onhand"].token.rpartition(":")
    settings = Jira.Settings(url=server.url, email=email, api_token=Secret(key), bot_account_id="another")
    with pytest.raises(ConfigError, match="BOT_ACCOUNT_ID"):
        await Jira(settings, Us()).check()


async def test_the_doctor_asks_for_a_token() -> None:
    with pytest.raises(ConfigError, match="API_TOKEN"):
        await Jira(Jira.Settings(url="https://acme.atlassian.net"), Us()).check()


@pytest.mark.parametrize("url", ["acme", "ftp://x", "https://", "https://user@host", "https://x/?y"])
def test_an_address_that_is_none_is_refused_at_start(url: str) -> None:
    with pytest.raises(ConfigError, match=r"jira\.url"):
        Jira(Jira.Settings(url=url), Us())


def test_every_secret_is_known_to_the_mask() -> None:
    values = {"webhook_secret": Secret("aaaaaa"), "automation_secret": Secret("bbbbbb"), "api_token": Secret("cccccc")}
    client = Jira(Jira.Settings(email="bot@example.org", **values), Us())
    assert {secret.reveal() for secret in client.secrets()} == {"aaaaaa", "bbbbbb", "cccccc", "bot@example.org:cccccc"}


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "word", "again"),
    [
        (400, "invalid", False),
        (401, "unauthorized", False),
        (403, "forbidden", False),
        (404, "missing", False),
        (409, "conflict", False),
        (429, "limited", True),
        (500, "unavailable", True),
        (503, "unavailable", True),
    ],
)
async def test_every_refusal_has_its_word(
    server: JiraServer, client: Jira, token: Secret, key: str, status: int, word: str, again: bool
) -> None:
    server.fail("POST", COMMENTS, status)
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(), None, token)
    assert (refused.value.word, refused.value.worth_retrying) == (word, again)
    assert len([r for r in server.requests if r.method == "POST"]) == 1, "the caller retries, not the library"


async def test_the_time_that_jira_names_is_passed_on(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    server.fail("POST", COMMENTS, 429, retry_after="7")
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(), None, token)
    assert refused.value.retry_after == 7.0


async def test_a_date_until_which_to_wait_is_understood(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    server.fail("POST", COMMENTS, 503, retry_after=formatdate(time.time() + 100, usegmt=True))
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(), None, token)
    assert 95 < (refused.value.retry_after or 0) <= 101


async def test_a_redirect_is_not_followed(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    server.fail("POST", COMMENTS, 302, location="https://login.example.org/")
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(), None, token)
    assert "jira.url" in str(refused.value)


async def test_a_jira_that_hangs_is_unavailable(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    server.hang("POST", COMMENTS)
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(), None, token)
    assert refused.value.word == "unavailable"


async def test_no_refusal_shows_the_token(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    server.fail("POST", COMMENTS, 401)
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(), None, token)
    assert token.reveal().rpartition(":")[2] not in str(refused.value)


async def test_one_tokens_requests_are_never_anothers(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    other = Secret(server.people["alice"].token)
    await asyncio.gather(*(client.perform(say(topic=f"t:{n}"), None, (token, other)[n % 2]) for n in range(20)))
    assert sorted(c.author.name for c in server.comments(key)) == ["alice"] * 10 + ["onhand"] * 10


# --- what was said, and what was missed -----------------------------------------------------------------------------


async def test_the_context_is_what_the_person_may_see_newest_first(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    ours = {"type": "role", "value": "Developers"}
    await server.comment(key, "alice", "first")
    await server.comment(key, "bob", "secret", visibility={"type": "role", "value": "Administrators"})
    await server.comment(key, "bob", "for us", visibility=ours)
    last = await server.comment(key, "alice", "now do it", visibility=ours)
    server.attach(key, "log.txt", b"it broke\n")
    server.attach(key, "big.txt", b"x" * 200_000)
    server.attach(key, "a.png", b"\x89PNG", "image/png")
    await client.perform(LinkChange(topic="t", thread=THREAD, url=CHANGE), None, token)
    server.issues[key].description = "Steps: sign in."
    said = {message.text.strip() for message in await client.context(asked("role:Developers", last), token)}
    assert said == {"first", "for us", "it broke", f"Pull request 7: {CHANGE}", "Steps: sign in."}
    told = structs.replace(asked("", last), body="Steps: sign in.")
    said = {message.text.strip() for message in await client.context(told, token)}
    assert said == {"first", "it broke", f"Pull request 7: {CHANGE}"}


async def test_a_files_name_leads_nowhere_else(server: JiraServer, client: Jira, token: Secret, key: str) -> None:
    server.attach(key, "../../rest/api/2/myself?x=.txt", b"it broke\n")
    assert [message.text for message in await client.context(asked(), token)] == ["it broke\n"]
    assert not [request for request in server.requests if request.path.endswith("/myself")]


async def test_links_and_the_development_panel_are_told(
    server: JiraServer, client: Jira, token: Secret, key: str
) -> None:
    await client.perform(LinkChange(topic="t", thread=THREAD, url=CHANGE), None, token)
    other = "https://gitlab.example/group/app"
    server.developments = {
        (key, "GitLab", "branch"): {"branches": [{"name": "x", "url": f"{other}/x", "repository": {"url": other}}]},
        (key, "GitHub", "pullrequest"): {"pullRequests": [{"id": "#8", "url": f"{CHANGE}8", "status": "OPEN"}]},
    }
    assert (await client.links(THREAD, token)).split() == [CHANGE, f"{CHANGE}8", other]
    server.developments, server.issues[key].description = None, "in acme/app"
    assert (await client.links(THREAD, token)).split() == [CHANGE, "in", "acme/app"]


async def test_what_was_missed_is_read_and_means_the_same(server: JiraServer, client: Jira, key: str) -> None:
    us, began = server.people["onhand"], time.time() - 1
    mention = f"[~accountid:{us.id}]" if server.cloud else "[~onhand]"
    first = await server.comment(key, "alice", f"{mention} fix it")
    for number in range(25):
        await server.comment(key, "bob", f"me too {number}")
    await server.comment(key, "onhand", f"{mention} I am myself")
    last = await server.comment(key, "bob", "@onhand and that")
    await server.label(key, "alice", "bug", "onhand")
    other = await server.issue("APP", "bob", "Another", f"{mention} please")
    await server.assign(other, "bob", "onhand")
    told = {
        trigger.meaning: trigger
        for delivery in server.deliveries
        for trigger in client.parse(client.verify(_inbound(client, delivery.body), began)).triggers
    }
    read = {d.triggers[0].meaning: d.triggers[0] for d in (await client.catch_up(began)).read}
    assert read.keys() == told.keys()
    assert {f"jira:comment:{first}", f"jira:comment:{last}"} <= read.keys()
    assert len(read) == 5
    assert {m: (t.actor, t.by, t.thread) for m, t in read.items()} == {
        m: (t.actor, t.by, t.thread) for m, t in told.items()
    }


async def test_a_label_of_which_a_rule_told_is_not_found_a_second_time(
    server: JiraServer, client: Jira, key: str
) -> None:
    """The body of a rule has no number of the change in the history, which is how the sweep would know it."""
    began = time.time() - 1
    rules = Jira(structs.replace(client._settings, webhook_secret=None, automation_secret=Secret("shared")), Us())
    both = Jira(structs.replace(client._settings, automation_secret=Secret("shared")), Us())
    await server.label(key, "alice", "onhand")
    await server.assign(key, "alice", "onhand")
    await server.comment(key, "alice", "@onhand fix it")
    found = [[d.event for d in (await jira.catch_up(began)).read] for jira in (client, both, rules)]
    assert found[0] == found[1] == ["issue_updated.labels", "issue_updated.assignee", "comment_created"]
    assert found[2] == ["issue_updated.assignee", "comment_created"]
    for jira in (rules, both):
        await jira.close()


async def test_an_issue_whose_comments_cannot_be_read_hides_no_other(
    server: JiraServer, client: Jira, key: str
) -> None:
    for number in range(25):
        await server.comment(key, "bob", f"@onhand try {number}")
    other = await server.issue("APP", "bob", "Another", "@onhand please")
    since = time.time() - 60
    everything = (await client.catch_up(since)).read
    server.fail("GET", rf".*/issue/{key}/comment", status=500, times=9)
    caught = await client.catch_up(since)
    assert [delivery.triggers[0].thread.item for delivery in caught.read] == [other]
    assert isinstance(caught.failed, ProviderError)
    server.faults.clear()
    assert (await client.catch_up(since)).read == everything


async def test_what_was_said_before_is_not_read_again(server: JiraServer, client: Jira, key: str) -> None:
    await server.comment(key, "alice", "@onhand fix it")
    await server.issue("APP", "alice", "Another", "@onhand too")
    assert (await client.catch_up(time.time() + 5)).read == ()


async def test_a_sweep_reads_page_by_page(server: JiraServer, client: Jira) -> None:
    began = time.time() - 1
    for number in range(230):
        await server.issue("APP", "alice", f"Number {number}", "@onhand do it" if number % 100 == 99 else "")
    assert len((await client.catch_up(began)).read) == 2


async def test_without_a_token_nothing_is_swept() -> None:
    assert (await Jira(Jira.Settings(webhook_secret=Secret("x")), Us()).catch_up(0)).read == ()


def _inbound(client: Jira, body: bytes) -> Any:
    from bot.core.inbound import Inbound

    return Inbound(client.sign(body, "", "d-1", 0.0), body)
