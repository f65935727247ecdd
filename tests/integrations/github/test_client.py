"""The client against a small GitHub: what it does there, and what it makes of every refusal."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bot.core import patience
from bot.core.errors import ConfigError, ProviderError, Refused
from bot.core.inbound import Account, Origin, Repository, Thread, Trigger
from bot.core.marks import mark
from bot.core.mentions import Request as RequestText
from bot.core.outbound import OpenChange, React, Receipt, Say
from bot.core.ports import Forge, Integration, Us
from bot.core.secret import Secret
from bot.testing.github import GitHubServer
from bot.testing.openapi import check_requests
from integrations.github.client import GitHub

REPO = "octo/hello"
PLACE = Repository("github", REPO)
COMMENTS = r"/repos/octo/hello/issues/1/comments"
PULLS = r"/repos/octo/hello/pulls"


def say(text: str = "Hello", topic: str = "status:1", beneath: str = "", item: str = "1") -> Say:
    return Say(topic=topic, thread=Thread("github", REPO, item), text=text, beneath=beneath)


def change(head: str = "onhand/1-x", topic: str = "change:onhand/1-x", **more: Any) -> OpenChange:
    usual: dict[str, Any] = {"base": "main", "title": "Mend it", "body": "It is mended."}
    thread = Thread("github", REPO, "1")
    return OpenChange(topic=topic, thread=thread, repository=PLACE, head=head, **{**usual, **more})


async def push(server: GitHubServer, branch: str, repository: str = REPO) -> None:
    await asyncio.to_thread(server.git.commit, repository, {"new.txt": branch}, "Add", branch)


def asked(kind: Any = "issue", origin: str = "1", thread_id: str = "") -> Trigger:
    thread = Thread("github", REPO, "1")
    return Trigger(thread, Account("github", "1", "x"), RequestText(), "m", "mention", Origin(kind, origin, thread_id))


def account(server: GitHubServer, login: str) -> Account:
    return Account("github", str(server.person(login).id), login)


@pytest.fixture
def missing_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is missing is not waited for."""
    monkeypatch.setattr("integrations.github.client._UNSEEN", 0.0)


def test_the_client_is_what_the_ports_ask_for() -> None:
    client = GitHub(GitHub.Settings(), Us())
    integration: Integration = client
    forge: Forge = client
    assert integration is forge


# --- saying ---------------------------------------------------------------------------------------------------------


async def test_a_message_is_created_and_then_edited(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    first = await client.perform(say("One"), None, token)
    second = await client.perform(say("Two"), first, token)
    (comment,) = server.comments(REPO, 1)
    assert (
        first == second == Receipt(str(comment.id), f"{server.web_url}/octo/hello/issues/1#issuecomment-{comment.id}")
    )
    assert comment.body == f"{mark('status:1')}\nTwo"


@pytest.mark.usefixtures("missing_is_deleted")
async def test_a_message_that_somebody_deleted_is_said_anew(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    first = await client.perform(say("One"), None, token)
    await server.delete_comment(int(first.id), "octo-alice")
    second = await client.perform(say("Two"), first, token)
    assert [str(c.id) for c in server.comments(REPO, 1)] == [second.id]
    assert second.id != first.id


@pytest.mark.usefixtures("missing_is_deleted")
async def test_a_message_said_anew_whose_answer_was_lost_is_not_said_a_third_time(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    first = await client.perform(say("One"), None, token)
    await server.delete_comment(int(first.id), "octo-alice")
    server.fail("POST", f"/repos/{REPO}/issues/1/comments", after=True)
    with pytest.raises(ProviderError):
        await client.perform(say("Two"), first, token)
    await client.perform(say("Two"), first, token)
    assert len(server.comments(REPO, 1)) == 1


async def test_a_message_that_was_just_made_and_cannot_be_seen_yet_is_not_said_twice(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    made = await server.comment(REPO, 1, "onhand-bot", f"{mark('status:1')}\nOne")  # by another worker
    first = Receipt(str(made), f"{server.web_url}/{REPO}/issues/1#issuecomment-{made}")
    server.fail("PATCH", f"/repos/{REPO}/issues/comments/{first.id}", status=404)
    server.fail("GET", COMMENTS, status=200, body=[])
    with pytest.raises(ProviderError) as not_yet:
        await client.perform(say("Two"), first, token)
    assert not_yet.value.word == "unavailable"
    assert 0 < (not_yet.value.retry_after or 0) <= 10
    assert await client.perform(say("Two"), first, token) == first
    assert [c.body for c in server.comments(REPO, 1)] == [f"{mark('status:1')}\nTwo"]


async def test_a_message_that_stays_missing_is_said_anew(
    server: GitHubServer, client: GitHub, token: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.github.client._UNSEEN", 0.3)
    await server.issue(REPO, "octo-alice", "A bug")
    first = await client.perform(say("One"), None, token)
    await server.delete_comment(int(first.id), "octo-alice")
    second = await patience.patiently(lambda: client.perform(say("Two"), first, token))
    assert [str(c.id) for c in server.comments(REPO, 1)] == [second.id]


@pytest.mark.usefixtures("missing_is_deleted")
async def test_a_message_that_moved_with_its_issue_is_edited_where_it_is_now(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.repository("octo/other", {"a": "a"}, {"onhand-bot": "write"})
    for place in (REPO, "octo/other"):
        await server.issue(place, "octo-alice", "A bug")
    first = await client.perform(say("One"), None, token)
    await server.delete_comment(int(first.id), "octo-alice")
    moved = await server.comment("octo/other", 1, "onhand-bot", f"{mark('status:1')}\nOne")
    there = {"location": f"{server.api_url}/repos/octo/other/issues/1/comments"}
    server.fail("GET", f"/repos/{REPO}/issues/1/comments", status=301, headers=there)
    receipt = await client.perform(say("Two"), first, token)
    assert receipt.id == str(moved)
    await client.perform(say("Three"), receipt, token)
    assert server.comments(REPO, 1) == []
    assert [c.body for c in server.comments("octo/other", 1)] == [f"{mark('status:1')}\nThree"]


async def test_an_answer_goes_beneath_the_remark_that_asked(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "topic")
    await server.pull(REPO, "octo-alice", "A change", "topic")
    above = await server.review_comment(REPO, 1, "octo-alice", "why?")
    first = await client.perform(say("Because", beneath=str(above)), None, token)
    again = await client.perform(say("Because so", beneath=str(above)), first, token)
    remark = server.comments(REPO, 1, "review_comment")[-1]
    assert remark.in_reply_to == above
    assert (remark.body or "").endswith("Because so")
    assert first == again
    assert server.comments(REPO, 1) == []


async def test_where_the_remark_is_gone_the_answer_goes_below_the_whole(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "topic")
    await server.pull(REPO, "octo-alice", "A change", "topic")
    receipt = await client.perform(say("Because", beneath="99999"), None, token)
    assert [str(c.id) for c in server.comments(REPO, 1)] == [receipt.id]


async def test_a_message_of_ours_is_found_by_its_mark(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    assert await client.find(say(), token) is None
    made = await client.perform(say(), None, token)
    await client.perform(say(topic="status:12"), None, token)
    assert await client.find(say(), token) == made


async def test_a_mark_in_somebody_elses_message_is_not_ours(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    await server.comment(REPO, 1, "octo-bob", f"{mark('status:1')} ha")
    assert await client.find(say(), token) is None


async def test_a_message_is_found_behind_hundreds_of_others(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    for number in range(250):
        server.state.add_remark("issue_comment", REPO, 1, server.state.people["octo-bob"], f"me too {number}")
    made = await client.perform(say(), None, token)
    server.requests.clear()
    assert await client.find(say(), token) == made
    assert len(server.requests) <= 3


async def test_a_reply_beneath_a_remark_is_found(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "topic")
    await server.pull(REPO, "octo-alice", "A change", "topic")
    above = str(await server.review_comment(REPO, 1, "octo-alice", "why?"))
    made = await client.perform(say(beneath=above), None, token)
    assert await client.find(say(beneath=above), token) == made


# --- reacting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["issue", "comment", "review_comment"])
async def test_a_reaction_is_put_on_what_asked_and_twice_is_once(
    server: GitHubServer, client: GitHub, token: Secret, kind: Any
) -> None:
    await push(server, "topic")
    await server.pull(REPO, "octo-alice", "A change", "topic")
    asked = {
        "issue": "1",
        "comment": str(await server.comment(REPO, 1, "octo-alice", "hi")),
        "review_comment": str(await server.review_comment(REPO, 1, "octo-alice", "hi")),
    }[kind]
    call = React(topic="react:1", thread=Thread("github", REPO, "1"), origin=Origin(kind, asked))
    assert await client.perform(call, None, token) == await client.perform(call, None, token)
    target = {"issue": "issues/1", "comment": f"issues/comments/{asked}", "review_comment": f"pulls/comments/{asked}"}
    assert server.reactions(f"{REPO}/{target[kind]}") == ["eyes"]


async def test_a_review_has_no_reactions_and_is_left_alone(server: GitHubServer, client: GitHub, token: Secret) -> None:
    call = React(topic="react:1", thread=Thread("github", REPO, "1"), origin=Origin("review", "7"))
    assert await client.perform(call, None, token) == Receipt("")
    assert server.requests == []


# --- opening changes ------------------------------------------------------------------------------------------------


async def test_a_pull_request_is_opened(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "onhand/1-x")
    receipt = await client.perform(change(draft=True), None, token)
    (pull,) = server.pulls(REPO)
    assert receipt == Receipt(str(pull.number), f"{server.web_url}/octo/hello/pull/{pull.number}")
    assert pull.pull is not None
    assert (pull.title, pull.pull.draft, pull.pull.head) == ("Mend it", True, "onhand/1-x")


async def test_a_pull_request_that_is_there_already_is_taken_over(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    again = await client.perform(change(title="Mend it well"), None, token)
    assert first == again
    assert [p.title for p in server.pulls(REPO)] == ["Mend it well"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_in_a_renamed_repository_the_pull_request_of_the_branch_is_found(
    server: GitHubServer, client: GitHub, token: Secret, status: int
) -> None:
    for branch in ("onhand/1-x", "onhand/2-y"):
        await push(server, branch)
        await client.perform(change(branch, f"change:{branch}"), None, token)
    path = f"/repos/{REPO}/pulls"
    for verb in ("GET", "POST"):
        server.fail(verb, path, status=status, headers={"location": f"{server.api_url}{path}"})
    assert (await client.perform(change(title="Mend it well"), None, token)).id == "1"
    assert [p.title for p in server.pulls(REPO)][1:] == [change().title]


async def test_a_persons_pull_request_keeps_its_words(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "onhand/1-x")
    number = await server.pull(REPO, "octo-alice", "My words", "onhand/1-x", body="mine")
    assert (await client.perform(change(), None, token)).id == str(number)
    assert [(p.title, p.body) for p in server.pulls(REPO)] == [("My words", "mine")]


async def test_a_known_pull_request_is_renewed(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    assert await client.perform(change(body="More of it."), first, token) == first
    assert (server.pulls(REPO)[0].body or "").endswith("More of it.")


async def test_where_drafts_are_not_sold_a_ready_one_is_opened(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    server.fail("POST", r"/repos/octo/hello/pulls", status=422, message="Draft pull requests are not supported here")
    await client.perform(change(draft=True), None, token)
    assert [p.pull.draft for p in server.pulls(REPO) if p.pull] == [False]


async def test_a_pull_request_whose_answer_was_lost_is_found(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    server.drop("POST", r"/repos/octo/hello/pulls", after=True)
    with pytest.raises(ProviderError) as lost:
        await client.perform(change(), None, token)
    assert lost.value.word == "unavailable"
    found = await client.find(change(), token)
    assert found is not None
    assert found.id == str(server.pulls(REPO)[0].number)
    assert await client.find(change(topic="change:other"), token) is None


async def test_a_base_that_was_renamed_meanwhile_is_followed(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    await asyncio.to_thread(server.git.git, REPO, "branch", "-m", "main", "trunk")
    branches = f"/repos/{REPO}/branches"
    server.fail(
        "GET", f"{branches}/main", status=301, headers={"location": f"{server.api_url}{branches}/trunk"}, times=2
    )
    first = await client.perform(change(), None, token)
    assert [p.pull.base for p in server.pulls(REPO) if p.pull] == ["trunk"]
    assert await client.perform(change(title="Mend it well"), None, token) == first, "its answer may have been lost"


async def test_a_base_that_is_gone_is_said_to_be_so(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "onhand/1-x")
    await asyncio.to_thread(server.git.git, REPO, "branch", "-m", "main", "trunk")
    with pytest.raises(Refused, match="no branch `main` any more"):
        await client.perform(change(), None, token)


async def test_a_branch_without_commits_is_said_to_be_so(
    server: GitHubServer, client: GitHub, token: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)  # it is looked for several times
    with pytest.raises(ProviderError) as refused:
        await client.perform(change(head="nowhere"), None, token)
    assert refused.value.word == "invalid"


async def test_a_pull_request_that_exists_and_is_not_to_be_seen_yet_is_come_back_to(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    server.fail("GET", PULLS, status=200, body=[])
    with pytest.raises(ProviderError, match="already exists") as not_yet:
        await client.perform(change(), None, token)
    assert not_yet.value.word == "unavailable"
    assert await client.perform(change(), None, token) == first


async def test_a_conflict_where_it_is_opened_tells_of_nobodys_push(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    server.fail("POST", PULLS, status=409, body={"message": "Conflict"}, times=2)
    with pytest.raises(ProviderError, match="409") as refused:
        await client.perform(change(), None, token)
    assert refused.value.word == "invalid"
    alices = await server.pull(REPO, "octo-alice", "Mine", "onhand/1-x")
    assert (await client.perform(change(), None, token)).id == str(alices), "it is the one that is in the way"


HEAD_INVALID = {
    "message": "Validation Failed",
    "errors": [{"resource": "PullRequest", "field": "head", "code": "invalid"}],
}


async def test_a_branch_that_was_pushed_and_is_not_to_be_seen_yet_is_come_back_to(
    server: GitHubServer, client: GitHub, token: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)
    await push(server, "onhand/1-x")
    server.fail("POST", PULLS, status=422, body=HEAD_INVALID)
    server.fail("GET", f"/repos/{REPO}/branches/onhand/1-x", status=404)  # nor is it seen there at first
    with pytest.raises(ProviderError) as not_yet:
        await client.perform(change(), None, token)
    assert not_yet.value.word == "unavailable"
    assert (await client.perform(change(), None, token)).id == "1"


async def test_a_pull_request_that_comes_too_quickly_is_a_limit(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    errors = [{"resource": "PullRequest", "code": "custom", "message": "was submitted too quickly"}]
    server.fail("POST", PULLS, status=422, body={"message": "Validation Failed", "errors": errors})
    with pytest.raises(ProviderError) as limited:
        await client.perform(change(), None, token)
    assert (limited.value.word, limited.value.retry_after) == ("limited", 60.0)


# --- who ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permission", "may"),
    [("admin", True), ("maintain", True), ("write", True), ("triage", False), ("read", False), ("none", False)],
)
async def test_write_or_better_may(
    server: GitHubServer, client: GitHub, token: Secret, permission: str, may: bool
) -> None:
    server.permit(REPO, "octo-bob", permission)
    assert await client.may_write(PLACE, account(server, "octo-bob"), token) is may


async def test_the_owner_of_a_personal_repository_may(server: GitHubServer, client: GitHub, token: Secret) -> None:
    assert await client.may_write(PLACE, account(server, "octo"), token)


async def test_nobody_may_where_the_bot_may_not(server: GitHubServer, client: GitHub, token: Secret) -> None:
    server.permit(REPO, "onhand-bot", "read")
    assert not await client.may_write(PLACE, account(server, "octo-alice"), token)


async def test_a_login_that_changed_hands_gives_no_right(server: GitHubServer, client: GitHub, token: Secret) -> None:
    assert not await client.may_write(PLACE, Account("github", "4711", "octo-alice"), token)


async def test_an_unknown_person_or_repository_gives_no_right(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    assert not await client.may_write(PLACE, Account("github", "1", "nobody"), token)
    assert not await client.may_write(Repository("github", "octo/none"), account(server, "octo-alice"), token)


@pytest.mark.parametrize("answer", [{}, {"permission": "write"}, {"role_name": "write", "user": None}, "a page"])
async def test_an_answer_that_tells_no_right_is_none_and_no_refusal(
    server: GitHubServer, client: GitHub, token: Secret, answer: Any
) -> None:
    server.fail("GET", f"/repos/{REPO}/collaborators/octo-alice/permission", status=200, body=answer)
    with pytest.raises(ProviderError) as unread:
        await client.may_write(PLACE, account(server, "octo-alice"), token)
    assert unread.value.word == "unavailable"
    assert await client.may_write(PLACE, account(server, "octo-alice"), token)


@pytest.mark.parametrize("more", [{}, {"permissions": None}, {"permissions": {}}])
async def test_a_repository_that_does_not_tell_what_the_token_may_is_asked_for_again(
    server: GitHubServer, client: GitHub, token: Secret, more: dict[str, Any]
) -> None:
    server.fail("GET", f"/repos/{REPO}", status=200, body={"full_name": REPO, "default_branch": "main", **more})
    with pytest.raises(ProviderError) as unread:
        await client.may_write(PLACE, account(server, "octo-alice"), token)
    assert unread.value.word == "unavailable"
    assert await client.may_write(PLACE, account(server, "octo-alice"), token)


async def test_without_a_token_nobody_tells_what_it_may_and_it_may_nothing(
    server: GitHubServer, client: GitHub
) -> None:
    server.fail("GET", f"/repos/{REPO}", status=200, body={"full_name": REPO})
    assert not await client.may_write(PLACE, None, Secret(""))


async def test_a_login_is_no_path(server: GitHubServer, client: GitHub, token: Secret) -> None:
    assert not await client.may_write(PLACE, Account("github", "1", "../../../user?x="), token)
    assert all(r.path.startswith("/repos/octo/hello") for r in server.requests)


async def test_the_owner_of_a_token_is_asked_for_once(server: GitHubServer, client: GitHub, token: Secret) -> None:
    assert await client.identify(token) == await client.identify(token) == account(server, "onhand-bot")
    assert [r.path for r in server.requests] == ["/user"]


async def test_an_account_is_found_by_login(server: GitHubServer, client: GitHub, token: Secret) -> None:
    assert await client.account("octo-bob", token) == account(server, "octo-bob")
    with pytest.raises(ProviderError) as missing:
        await client.account("nobody", token)
    assert missing.value.word == "missing"


async def test_repositories_are_searched_by_name(server: GitHubServer, client: GitHub, token: Secret) -> None:
    assert await client.repositories("HELL", token) == [PLACE]
    assert await client.repositories("nothing", token) == []


async def test_what_was_said_before_comes_newest_first_without_ours(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    for number in range(230):
        await server.comment(REPO, 1, "octo-bob", f"comment {number}")
    await client.perform(say("ours"), None, token)
    last = await server.comment(REPO, 1, "octo-alice", "@onhand fix it")
    said = await client.context(asked("comment", str(last)), token)
    assert [message.text for message in said[:2]] == ["comment 229", "comment 228"]
    assert (said[0].author, len(said)) == ("octo-bob", 98)
    assert said[0].at > 1_000_000_000


async def test_a_review_thread_comes_whole_and_first(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "topic")
    await server.pull(REPO, "octo-alice", "A change", "topic")
    other = await server.review_comment(REPO, 1, "octo-bob", "elsewhere")
    above = await server.review_comment(REPO, 1, "octo-bob", "why?")
    assert other != above
    await server.comment(REPO, 1, "octo-bob", "nice")
    said = await client.context(asked("review_comment", "999", str(above)), token)
    assert [message.text for message in said] == ["why?", "nice"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://github.com/acme/shop", "acme/shop"),
        ("https://github.com/acme/shop.git", "acme/shop"),
        ("https://github.com/acme/shop/issues/1?x=1#y", "acme/shop"),
        ("git@github.com:acme/shop.git", "acme/shop"),
        ("ssh://git@github.com/acme/shop.git", "acme/shop"),
        ("https://GitHub.com/acme/shop", "acme/shop"),
        ("https://github.com.evil.example/acme/shop", ""),
        ("https://evil.example/github.com/acme/shop", ""),
        ("https://gitlab.com/acme/shop", ""),
        ("https://github.com/acme", ""),
        ("https://github.com/../shop", ""),
    ],
)
def test_an_address_here_names_its_repository(address: str, name: str) -> None:
    found = GitHub(GitHub.Settings(), Us()).repository_at(address)
    assert (found.name if found else "") == name


def test_commits_are_shown_as_the_accounts_own() -> None:
    author = GitHub(GitHub.Settings(), Us()).author(Account("github", "7", "octo-bob"))
    assert author == "octo-bob <7+octo-bob@users.noreply.github.com>"


# --- code -----------------------------------------------------------------------------------------------------------


async def test_a_repository_is_described(server: GitHubServer, client: GitHub, token: Secret) -> None:
    source = await client.source(PLACE, "", token)
    assert (source.url, source.base, source.head) == (f"{server.web_url}/octo/hello.git", "main", "")


async def test_another_default_branch_is_seen(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await server.repository("octo/old", {"a": "b"}, {"onhand-bot": "write"}, branch="trunk")
    assert (await client.source(Repository("github", "octo/old"), "", token)).base == "trunk"


@pytest.mark.parametrize(
    "path",
    [
        ".github/PULL_REQUEST_TEMPLATE.md",
        ".github/pull_request_template.md",
        "PULL_REQUEST_TEMPLATE.md",
        ".github/PULL_REQUEST_TEMPLATE",
        "docs/Pull_Request_Template.txt",
        "docs/pull_request_template.md",
    ],
)
async def test_the_template_is_found_in_the_usual_places(
    server: GitHubServer, client: GitHub, token: Secret, path: str
) -> None:
    await asyncio.to_thread(server.git.commit, REPO, {path: "## What\n"}, "Add a template")
    assert await client.template(PLACE, token) == "## What\n"


@pytest.mark.parametrize("path", ["docs", ".github"])
async def test_a_file_in_the_place_of_a_templates_folder_hides_no_template(
    server: GitHubServer, client: GitHub, token: Secret, path: str
) -> None:
    await asyncio.to_thread(server.git.commit, REPO, {path: "see the wiki\n"}, "Tell where to read")
    await server.repository("octo/.github", {"pull_request_template.md": "## Ours\n"}, {"onhand-bot": "read"})
    assert await client.template(PLACE, token) == "## Ours\n"


async def test_without_its_own_the_owners_template_counts_where_everybody_may_read_it(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.repository("octo/.github", {"pull_request_template.md": "## Ours\n"}, {"onhand-bot": "read"})
    assert await client.template(PLACE, token) == "## Ours\n"
    inside = {"pull_request_template.md": "## Inside\n"}
    await server.repository("acme/.github", inside, {"onhand-bot": "read"}, private=True)
    await server.repository("acme/app", {"a": "a"}, {"onhand-bot": "write"})
    assert await client.template(Repository("github", "acme/app"), token) == ""


async def test_inside_a_pull_request_its_branch_is_the_place(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "topic")
    await server.pull(REPO, "octo-alice", "A change", "topic")
    source = await client.source(PLACE, "1", token)
    assert (source.head, source.base, source.pushable, source.repository) == ("topic", "main", True, PLACE)


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_fork_is_pushable_only_where_maintainers_may(
    server: GitHubServer, client: GitHub, token: Secret, allowed: bool
) -> None:
    await server.repository("octo-bob/hello", {"a": "b"}, {"octo-bob": "admin"})
    await push(server, "topic", "octo-bob/hello")
    await server.pull(REPO, "octo-bob", "A change", "topic", fork="octo-bob/hello", maintainer_can_modify=allowed)
    source = await client.source(PLACE, "1", token)
    assert (source.repository, source.url, source.pushable) == (PLACE, f"{server.web_url}/{REPO}.git", allowed)
    assert (source.head, source.head_ref) == ("topic", "refs/pull/1/head")
    assert source.head_url == f"{server.web_url}/octo-bob/hello.git"


async def test_a_fork_that_is_gone_is_read_and_not_pushed_to(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await server.pull(REPO, "octo-bob", "A change", "topic", fork="")
    source = await client.source(PLACE, "1", token)
    assert (source.pushable, source.head_url, source.head_ref) == (False, "", "refs/pull/1/head")


async def test_a_closed_pull_request_means_a_new_branch(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "topic")
    number = await server.pull(REPO, "octo-alice", "A change", "topic")
    server.state.repositories[REPO].items[number].state = "closed"
    assert (await client.source(PLACE, "1", token)).head == ""


async def test_an_archived_repository_is_refused_in_a_sentence(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    server.archive(REPO)
    with pytest.raises(Refused, match="archived"):
        await client.source(PLACE, "", token)


# --- refusals -------------------------------------------------------------------------------------------------------

REFUSALS: list[tuple[int, dict[str, str], str, str, float | None]] = [
    (401, {}, "Bad credentials", "unauthorized", None),
    (403, {}, "Resource not accessible by personal access token", "forbidden", None),
    (403, {"retry-after": "7"}, "You have exceeded a secondary rate limit", "limited", 7.0),
    (403, {}, "You have exceeded a secondary rate limit", "limited", 60.0),
    (
        403,
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000030"},
        "API rate limit exceeded",
        "limited",
        30.0,
    ),
    (403, {}, "You have triggered an abuse detection mechanism. Please wait a few minutes.", "limited", 60.0),
    (404, {}, "Not Found", "missing", None),
    (409, {}, "Conflict", "conflict", None),
    (410, {}, "Issues are disabled", "missing", None),
    (422, {}, "Validation Failed", "invalid", None),
    (429, {"retry-after": "3"}, "Too many", "limited", 3.0),
    (429, {"retry-after": "soon"}, "Too many", "limited", 60.0),
    (451, {}, "Blocked", "missing", None),
    (500, {}, "Oops", "unavailable", None),
    (502, {}, "Bad gateway", "unavailable", None),
    (503, {"retry-after": "5"}, "Busy", "unavailable", 5.0),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: f"{r[0]}-{r[3]}")
async def test_a_refusal_becomes_a_word_and_a_time_to_wait(
    server: GitHubServer, client: GitHub, token: Secret, refusal: tuple[int, dict[str, str], str, str, float | None]
) -> None:
    status, headers, message, word, wait = refusal
    await server.issue(REPO, "octo-alice", "A bug")
    date = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}  # GitHub's clock counts, not ours
    server.fail("POST", COMMENTS, status=status, headers={**headers, **date}, message=message)
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(), None, token)
    assert (refused.value.word, refused.value.retry_after) == (word, wait)
    assert message in refused.value.detail
    assert len([r for r in server.requests if r.method == "POST"]) == 1


async def test_a_call_that_hangs_ends_and_stalls_no_other(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    fault = server.hang("POST", COMMENTS)
    hanging = asyncio.create_task(client.perform(say(), None, token))
    await fault.met()
    started = time.monotonic()
    await client.perform(say("other", "status:2"), None, token)
    assert time.monotonic() - started < 1.5
    with pytest.raises(ProviderError) as silent:
        await hanging
    assert silent.value.word == "unavailable"


async def test_a_closed_connection_is_an_absence(server: GitHubServer, client: GitHub, token: Secret) -> None:
    server.drop("GET", "/user")
    with pytest.raises(ProviderError) as gone:
        await client.identify(token)
    assert gone.value.word == "unavailable"
    assert (await client.identify(token)).login == "onhand-bot"


async def test_a_github_that_is_not_there_is_an_absence() -> None:
    client = GitHub(GitHub.Settings(api_url="http://127.0.0.1:9", timeout=1), Us())
    with pytest.raises(ProviderError) as gone:
        await client.identify(Secret("secret-token"))
    assert gone.value.word == "unavailable"
    assert "secret-token" not in str(gone.value)
    await client.close()


async def test_a_worthless_token_is_unauthorized(server: GitHubServer, client: GitHub) -> None:
    with pytest.raises(ProviderError) as refused:
        await client.identify(Secret("worthless"))
    assert refused.value.word == "unauthorized"


async def test_many_calls_at_once_do_not_mix(server: GitHubServer, client: GitHub, token: Secret) -> None:
    for login in ("octo-alice", "octo-bob", "octo"):
        server.person(login)
    logins = ["octo-alice", "octo-bob", "octo"] * 15
    found = await asyncio.gather(*(client.account(login, token) for login in logins))
    assert [a.login for a in found] == logins


@pytest.mark.parametrize("name", ["../../user", "octo", "octo/hello/issues", "octo/..", "octo/a?b=c", "octo/a#b", ""])
async def test_a_name_of_another_shape_goes_into_no_address(
    server: GitHubServer, client: GitHub, token: Secret, name: str
) -> None:
    calls = [
        client.source(Repository("github", name), "", token),
        client.may_write(Repository("github", name), Account("github", "1", "octo"), token),
        client.perform(Say(topic="t", thread=Thread("github", name, "1"), text="x"), None, token),
        client.perform(say(item="1/../../x"), None, token),
    ]
    for call in calls:
        with pytest.raises((Refused, ProviderError)) as refused:
            await call
        assert refused.value.word in ("repository", "invalid")
    assert server.requests == []


@pytest.mark.parametrize("url", ["", "github.com", "ftp://github.com", "https://user:pw@github.com", "https://"])
def test_an_address_that_cannot_work_is_refused_at_start(url: str) -> None:
    with pytest.raises(ConfigError, match="api_url"):
        GitHub(GitHub.Settings(api_url=url), Us())


# --- against GitHub's own description -------------------------------------------------------------------------------


async def test_every_request_is_one_that_github_describes(
    server: GitHubServer, client: GitHub, token: Secret, description: dict[str, Any]
) -> None:
    await push(server, "topic")
    await server.pull(REPO, "octo-alice", "A change", "topic")
    above = str(await server.review_comment(REPO, 1, "octo-alice", "why?"))
    origin = Origin("comment", str(await server.comment(REPO, 1, "octo-alice", "hi")))
    await push(server, "onhand/1-x")
    for call in (
        say(),
        say(topic="status:2", beneath=above),
        change(),
        React(topic="react:1", thread=Thread("github", REPO, "1"), origin=origin),
        React(topic="react:2", thread=Thread("github", REPO, "1"), origin=Origin("review_comment", above)),
        React(topic="react:3", thread=Thread("github", REPO, "1"), origin=Origin("change", "1")),
    ):
        receipt = await client.perform(call, None, token)
        await client.perform(call, receipt, token)
        await client.find(call, token)
    await client.perform(change(), None, token)
    await client.source(PLACE, "1", token)
    await client.source(PLACE, "", token)
    await client.may_write(PLACE, account(server, "octo-alice"), token)
    await client.account("octo-bob", token)
    await client.repositories("hello", token)
    await client.context(asked("review_comment", above), token)
    assert len(server.requests) > 20
    assert check_requests(server.requests, description) == []


def test_a_request_that_departs_from_the_description_is_noticed(description: dict[str, Any]) -> None:
    from bot.testing.github_http import Request

    def problems(method: str, path: str, body: Any = None, **query: str) -> list[str]:
        return check_requests([Request(method, path, query, {}, body, "x")], description)

    assert problems("GET", "/no/such/thing")
    assert problems("POST", "/repos/a/b/issues/1/comments", {})
    assert problems("POST", "/repos/a/b/issues/1/comments", {"body": 1})
    assert problems("POST", "/repos/a/b/issues/1/comments", {"body": "x", "colour": "red"})
    assert problems("POST", "/repos/a/b/issues/1/reactions", {"content": "shrug"})
    assert problems("GET", "/repos/a/b/pulls", state="half-open")
    assert problems("GET", "/repos/a/b/issues/x/comments")
    assert not problems("GET", "/repos/a/b/contents/.github/x.md")


def test_nothing_is_opened_by_making_a_client(tmp_path: Path) -> None:
    import threading

    before = threading.active_count()
    GitHub(GitHub.Settings(), Us())
    assert threading.active_count() == before
