"""The client against a small GitLab: what it does there, and what it makes of every refusal.

Every request is held against gitlab_api.json when its test is over.
"""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from bot.core.errors import ConfigError, ProviderError, Refused
from bot.core.inbound import Account, Origin, Repository, Thread, Trigger
from bot.core.marks import mark
from bot.core.mentions import Request
from bot.core.outbound import Call, OpenChange, React, Receipt, Say
from bot.core.ports import Forge, Integration, Us
from bot.core.secret import Secret
from integrations.gitlab.client import GitLab
from integrations.gitlab.replies import SayInDiff
from tests.standins.gitlab import GitLabServer

PROJECT = "acme/shop/web"
PLACE = Repository("gitlab", PROJECT)
API_PATH = "/projects/acme%2Fshop%2Fweb"


def say(text: str = "Hello", topic: str = "status:1", beneath: str = "", item: str = "1") -> Say:
    return Say(topic=topic, thread=Thread("gitlab", PROJECT, item), text=text, beneath=beneath)


def change(head: str = "onhand/1-x", topic: str = "change:onhand/1-x", **more: Any) -> OpenChange:
    usual: dict[str, Any] = {"base": "main", "title": "Mend it", "body": "It is mended."}
    return OpenChange(
        topic=topic, thread=Thread("gitlab", PROJECT, "1"), repository=PLACE, head=head, **{**usual, **more}
    )


async def push(server: GitLabServer, branch: str, project: str = PROJECT) -> None:
    await asyncio.to_thread(server.git.commit, project, {"new.txt": branch}, "Add", branch)


def account(server: GitLabServer, username: str) -> Account:
    return Account("gitlab", str(server.person(username).id), username)


def discussion_of(server: GitLabServer, item: str) -> str:
    return str(server.notes(PROJECT, item)[-1]["_discussion"])


def test_the_client_is_what_the_ports_ask_for() -> None:
    client = GitLab(GitLab.Settings(), Us())
    integration: Integration = client
    assert isinstance(integration, Forge)


# --- saying ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ["1", "!1"])
async def test_a_note_is_written_and_then_edited(
    server: GitLabServer, client: GitLab, token: Secret, item: str
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await push(server, "topic")
    await server.merge_request(PROJECT, "alice", "A change", "topic")
    first = await client.perform(say("One", item=item), None, token)
    second = await client.perform(say("Two", item=item), first, token)
    (note,) = server.notes(PROJECT, item)
    kind = "merge_requests" if item == "!1" else "issues"
    assert first == second == Receipt(str(note["id"]), f"{server.url}/{PROJECT}/-/{kind}/1#note_{note['id']}")
    assert note["body"] == f"{mark('status:1')}\nTwo"


async def test_a_note_that_somebody_deleted_is_written_anew(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    first = await client.perform(say("One"), None, token)
    server.state.projects[PROJECT].notes.clear()
    second = await client.perform(say("Two"), first, token)
    assert [str(note["id"]) for note in server.notes(PROJECT, "1")] == [second.id]


async def test_an_answer_goes_into_the_thread_that_asked(server: GitLabServer, client: GitLab, token: Secret) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await server.note(PROJECT, "1", "alice", "why?", internal=True)
    call = say("Because", beneath=discussion_of(server, "1"))
    first = await client.perform(call, None, token)
    assert await client.perform(call, first, token) == first
    assert await client.find(call, token) == first
    question, answer = server.notes(PROJECT, "1")
    assert (answer["_discussion"], answer["internal"]) == (question["_discussion"], True)


async def test_where_the_thread_is_gone_the_answer_goes_below_the_whole(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    receipt = await client.perform(say("Because", beneath="0" * 40), None, token)
    assert [str(note["id"]) for note in server.notes(PROJECT, "1")] == [receipt.id]


@pytest.mark.parametrize("refused", [False, True])
async def test_where_a_remark_is_gone_the_answer_goes_on_its_line_or_says_which_line_it_means(
    server: GitLabServer, client: GitLab, token: Secret, refused: bool
) -> None:
    await push(server, "topic")
    item = await server.merge_request(PROJECT, "alice", "A change", "topic")
    server.routes.refuse_positions = refused
    origin = Origin("review_comment", "7", thread_id="0" * 40, path="new.txt", line=1)
    call = SayInDiff(
        topic="status:1", thread=Thread("gitlab", PROJECT, item), text="Because", beneath="0" * 40, origin=origin
    )
    made = await client.perform(call, None, token)
    assert await client.find(call, token) == made
    assert await client.perform(call, made, token) == made
    (note,) = server.notes(PROJECT, item)
    assert str(note["id"]) == made.id.removeprefix("b")
    if refused:
        assert note["type"] is None
        assert "On line 1 of `new.txt`:" in note["body"]
    else:
        assert (note["type"], note["position"]["new_path"], note["position"]["new_line"]) == ("DiffNote", "new.txt", 1)
        assert note["position"]["head_sha"] == server.git.branches(PROJECT)["topic"]


QUICK = ["/close", "Done.\n/assign @alice\n/label ~x", "\n\n/reopen now", "Done.\r/close\r\n/merge", "```\n/close"]


@pytest.mark.parametrize("text", QUICK)
async def test_quick_actions_in_our_texts_are_not_carried_out(
    server: GitLabServer, client: GitLab, token: Secret, text: str
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await push(server, "onhand/1-x")
    first = await client.perform(say(text), None, token)
    await client.perform(say(text), first, token)
    await client.perform(change(body=text), None, token)
    assert server.routes.commands == []


async def test_a_path_at_the_start_of_a_line_stays_as_it_is(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await client.perform(say("/usr/bin/env is\n/etc/hosts"), None, token)
    assert server.notes(PROJECT, "1")[0]["body"].endswith("/usr/bin/env is\n/etc/hosts")


async def test_a_mark_in_somebody_elses_note_is_not_ours(server: GitLabServer, client: GitLab, token: Secret) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await server.note(PROJECT, "1", "bob", f"{mark('status:1')} ha")
    assert await client.find(say(), token) is None


async def test_a_note_is_found_behind_hundreds_of_others(server: GitLabServer, client: GitLab, token: Secret) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    made = await client.perform(say(), None, token)
    for number in range(250):
        server.state.add_note(PROJECT, "1", "bob", f"me too {number}")
    assert await client.find(say(), token) == made


async def test_what_was_said_before_is_told_newest_first_without_what_is_ours_or_internal(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await server.note(PROJECT, "1", "alice", "one", type="DiscussionNote")
    thread = discussion_of(server, "1")
    await server.note(PROJECT, "1", "bob", "two")
    await server.note(PROJECT, "1", "bob", "between us", internal=True)
    await server.note(PROJECT, "1", "bob", "changed the title", system=True)
    await client.perform(say(), None, token)
    await server.note(PROJECT, "1", "alice", "three", discussion=thread)
    asked = await server.note(PROJECT, "1", "bob", "@onhand", discussion=thread)
    trigger = Trigger(
        Thread("gitlab", PROJECT, "1"), account(server, "bob"), Request(), "m", "mention",
        Origin("comment", str(asked), thread_id=thread),
    )  # fmt: skip
    said = await client.context(trigger, token)
    assert [(message.author, message.text) for message in said] == [
        ("alice", "three"),
        ("alice", "one"),
        ("bob", "two"),
    ]
    assert said[0].at > 1_700_000_000


# --- reacting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["issue", "comment", "review_comment"])
@pytest.mark.parametrize("item", ["1", "!1"])
async def test_an_emoji_is_put_on_what_asked_and_twice_is_once(
    server: GitLabServer, client: GitLab, token: Secret, kind: Any, item: str
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await push(server, "topic")
    await server.merge_request(PROJECT, "alice", "A change", "topic")
    asked = item.removeprefix("!") if kind == "issue" else str(await server.note(PROJECT, item, "alice", "hi"))
    call = React(topic="react:1", thread=Thread("gitlab", PROJECT, item), origin=Origin(kind, asked))
    await client.perform(call, None, token)
    await client.perform(call, None, token)
    assert server.awards(PROJECT, item if kind == "issue" else f"{item}/notes/{asked}") == ["onhand-bot:eyes"]


# --- opening changes ------------------------------------------------------------------------------------------------


async def test_a_merge_request_is_opened(server: GitLabServer, client: GitLab, token: Secret) -> None:
    await push(server, "onhand/1-x")
    receipt = await client.perform(change(draft=True), None, token)
    (made,) = server.merge_requests(PROJECT)
    assert receipt == Receipt("1", f"{server.url}/{PROJECT}/-/merge_requests/1")
    assert (made["title"], made["draft"], made["source_branch"]) == ("Draft: Mend it", True, "onhand/1-x")


async def test_an_overlong_title_is_cut_to_what_gitlab_takes(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    await client.perform(change(draft=True, title="x" * 250), None, token)
    assert len(server.merge_requests(PROJECT)[0]["title"]) == 255


async def test_a_merge_request_that_is_there_already_is_taken_over(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    assert await client.perform(change(title="Mend it well"), None, token) == first
    assert [made["title"] for made in server.merge_requests(PROJECT)] == ["Mend it well"]


async def test_a_persons_merge_request_keeps_its_words(server: GitLabServer, client: GitLab, token: Secret) -> None:
    await push(server, "onhand/1-x")
    await server.merge_request(PROJECT, "alice", "My words", "onhand/1-x", description="mine")
    assert (await client.perform(change(), None, token)).id == "1"
    assert [(made["title"], made["description"]) for made in server.merge_requests(PROJECT)] == [("My words", "mine")]


async def test_a_known_merge_request_is_renewed_and_a_merged_one_is_not(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    assert await client.perform(change(body="More of it."), first, token) == first
    server.merge_requests(PROJECT)[0]["state"] = "merged"
    assert (await client.perform(change(body="Again."), first, token)).id == "2"
    assert [made["description"].rpartition("\n")[2] for made in server.merge_requests(PROJECT)] == [
        "More of it.",
        "Again.",
    ]


@pytest.mark.parametrize("state", ["merged", "closed", "locked"])
@pytest.mark.parametrize("inside", [True, False], ids=["with the work in it", "before the work was pushed"])
async def test_one_that_was_merged_or_closed_meanwhile_is_the_one_if_the_work_is_in_it(
    server: GitLabServer, client: GitLab, token: Secret, inside: bool, state: str
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [there] = server.merge_requests(PROJECT)
    commit = (await asyncio.to_thread(server.git.branches, PROJECT))["onhand/1-x"]
    there |= {"state": state, "sha": commit if inside else "0" * 40}
    now = await client.perform(change(title="Mend more", commit=commit), first, token)
    assert (now == first) is inside
    assert len(server.merge_requests(PROJECT)) == (1 if inside else 2)
    assert there["title"] == "Mend it"


async def test_a_merge_request_whose_answer_was_lost_is_found(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    fault = server.hang("POST", rf"{API_PATH}/merge_requests", after=True)
    with pytest.raises(ProviderError) as lost:
        await client.perform(change(), None, token)
    fault.release()
    assert lost.value.word == "unavailable"
    found = await client.find(change(), token)
    assert found is not None
    assert found.id == "1"
    assert await client.find(change(topic="change:other"), token) is None


async def test_a_branch_that_is_not_there_is_said_to_be_so(server: GitLabServer, client: GitLab, token: Secret) -> None:
    with pytest.raises(ProviderError) as refused:
        await client.perform(change(head="nowhere"), None, token)
    assert refused.value.word == "invalid"


async def test_a_call_of_another_platform_is_refused(client: GitLab, token: Secret) -> None:
    with pytest.raises(ProviderError):
        await client.perform(Call(topic="x", thread=Thread("gitlab", PROJECT, "1")), None, token)


async def test_a_change_asked_for_elsewhere_is_opened_all_the_same(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    call = structs.replace(change(), thread=Thread("slack", "T1/C1", "1700000000.1"))
    assert (await client.perform(call, None, token)).id == "1"
    assert await client.find(call, token) == await client.perform(call, None, token)


async def test_what_others_have_open_for_an_issue_is_named(server: GitLabServer, client: GitLab, token: Secret) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    texts = (("alice", "Closes #1"), ("bob", "See #1"), ("onhand-bot", "Closes #1"), ("bob", "closes #1"))
    for number, (author, text) in enumerate(texts):
        await push(server, f"topic-{number}")
        await server.merge_request(PROJECT, author, "A change", f"topic-{number}", description=text)
    assert await client.rivals(Thread("gitlab", PROJECT, "1"), token) == ["!1", "!4"]
    server.merge_requests(PROJECT)[0]["state"] = "closed"
    assert await client.rivals(Thread("gitlab", PROJECT, "1"), token) == ["!4"]
    assert await client.rivals(Thread("gitlab", PROJECT, "!1"), token) == ()


# --- who ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "may"), [(50, True), (40, True), (30, True), (25, False), (20, False), (0, False)])
async def test_developers_and_better_may(
    server: GitLabServer, client: GitLab, token: Secret, level: int, may: bool
) -> None:
    server.state.projects[PROJECT].members["bob"] = level
    assert await client.may_write(PLACE, account(server, "bob"), token) is may


async def test_nobody_may_where_the_bot_may_not(server: GitLabServer, client: GitLab, token: Secret) -> None:
    assert await client.may_write(PLACE, None, token)
    server.state.projects[PROJECT].members["onhand-bot"] = 20
    assert not await client.may_write(PLACE, account(server, "alice"), token)
    assert not await client.may_write(PLACE, None, token)


async def test_bots_and_blocked_people_may_not(server: GitLabServer, client: GitLab, token: Secret) -> None:
    for username, more in (("robot", {"bot": True}), ("gone", {"state": "blocked"})):
        person = server.person(username, **more)  # type: ignore[arg-type]
        server.state.projects[PROJECT].members[username] = 40
        assert not await client.may_write(PLACE, Account("gitlab", str(person.id), username), token)


async def test_an_unknown_person_or_project_gives_no_right(server: GitLabServer, client: GitLab, token: Secret) -> None:
    assert not await client.may_write(PLACE, Account("gitlab", "1", "nobody"), token)
    assert not await client.may_write(Repository("gitlab", "acme/none"), account(server, "alice"), token)


async def test_outside_of_the_list_nobody_may_and_nothing_is_fetched(server: GitLabServer, token: Secret) -> None:
    client = GitLab(GitLab.Settings(url=server.url, token=token, allow="acme/other"), Us())
    assert not await client.may_write(PLACE, account(server, "alice"), token)
    with pytest.raises(Refused) as refused:
        await client.source(PLACE, "", token)
    assert "ONHAND_GITLAB__ALLOW" in refused.value.text
    assert await client.repositories("", token) == []
    await client.close()


async def test_the_owner_of_a_token_is_asked_for_once(server: GitLabServer, client: GitLab, token: Secret) -> None:
    assert await client.identify(token) == await client.identify(token) == account(server, "onhand-bot")
    assert [r.path for r in server.requests] == ["/user"]


async def test_an_account_is_found_by_its_name(server: GitLabServer, client: GitLab, token: Secret) -> None:
    assert await client.account("bob", token) == account(server, "bob")
    with pytest.raises(ProviderError) as missing:
        await client.account("nobody", token)
    assert missing.value.word == "missing"


def test_commits_are_shown_as_the_accounts_own() -> None:
    author = GitLab(GitLab.Settings(), Us()).author(Account("gitlab", "7", "bob"))
    assert author == "bob <7-bob@users.noreply.gitlab.com>"


async def test_the_check_says_as_whom_the_bot_acts(server: GitLabServer, client: GitLab, token: Secret) -> None:
    assert await client.check() == "acts as onhand-bot"
    for settings in (
        GitLab.Settings(url=server.url),
        GitLab.Settings(url=server.url, token=token, bot_username="alice"),
    ):
        other = GitLab(settings, Us())
        with pytest.raises(ConfigError):
            await other.check()
        await other.close()


# --- code -----------------------------------------------------------------------------------------------------------


async def test_a_project_is_described(server: GitLabServer, client: GitLab, token: Secret) -> None:
    source = await client.source(PLACE, "", token)
    assert (source.url, source.base, source.head) == (f"{server.url}/{PROJECT}.git", "main", "")
    assert (source.commit, source.username) == (server.git.branches(PROJECT)["main"], "oauth2")
    assert source.template == ""


async def test_a_template_that_cannot_be_read_now_is_not_taken_for_none(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    server.state.projects[PROJECT].template = "## What\n"
    server.fail("GET", rf"{API_PATH}/templates/merge_requests/Default", status=500)
    with pytest.raises(ProviderError) as away:
        await client.source(PLACE, "", token)
    assert away.value.worth_retrying, "so it is asked for again, patiently"
    assert (await client.source(PLACE, "", token)).template == "## What\n"


async def test_the_default_template_is_found(server: GitLabServer, client: GitLab, token: Secret) -> None:
    server.state.projects[PROJECT].template = "## What\n"
    assert (await client.source(PLACE, "", token)).template == "## What\n"


async def test_inside_a_merge_request_its_branch_is_the_place(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "topic")
    item = await server.merge_request(PROJECT, "alice", "A change", "topic")
    source = await client.source(PLACE, item, token)
    assert (source.head, source.base, source.pushable, source.head_url) == ("topic", "main", True, "")
    server.merge_requests(PROJECT)[0]["state"] = "merged"
    assert (await client.source(PLACE, item, token)).head == ""


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_fork_is_pushable_only_where_members_may(
    server: GitLabServer, client: GitLab, token: Secret, allowed: bool
) -> None:
    await server.fork(PROJECT, "bob/web", "bob")
    server.state.projects["bob/web"].members["onhand-bot"] = 10
    await push(server, "topic", "bob/web")
    item = await server.merge_request(PROJECT, "bob", "A change", "topic", fork="bob/web", allow_collaboration=allowed)
    source = await client.source(PLACE, item, token)
    assert (source.url, source.pushable) == (f"{server.url}/{PROJECT}.git", allowed)
    assert (source.head, source.head_ref) == ("topic", "refs/merge-requests/1/head")
    assert source.head_url == f"{server.url}/bob/web.git"


async def test_a_fork_that_we_do_not_see_is_read_but_not_pushed_to(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.fork(PROJECT, "bob/web", "bob")
    await push(server, "topic", "bob/web")
    item = await server.merge_request(PROJECT, "bob", "A change", "topic", fork="bob/web", allow_collaboration=True)
    source = await client.source(PLACE, item, token)
    assert (source.head_url, source.pushable, source.head_ref) == ("", False, "refs/merge-requests/1/head")


async def test_an_archived_project_is_refused(server: GitLabServer, client: GitLab, token: Secret) -> None:
    server.state.projects[PROJECT].archived = True
    with pytest.raises(Refused):
        await client.source(PLACE, "", token)


@pytest.mark.parametrize("name", ["", "web", "../x", "acme/web?x=1", "acme/%2e%2e"])
async def test_a_name_that_is_none_goes_into_no_address(
    server: GitLabServer, client: GitLab, token: Secret, name: str
) -> None:
    with pytest.raises(Refused):
        await client.source(Repository("gitlab", name), "", token)
    assert server.requests == []


async def test_projects_to_choose_from_are_those_that_the_bot_works_on(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.project("acme/docs", {"a": "b"}, {"onhand-bot": 20})
    await server.project("acme/api", {"a": "b"}, {"onhand-bot": 40})
    assert [r.name for r in await client.repositories("", token)] == [PROJECT, "acme/api"]
    assert [r.name for r in await client.repositories("shop", token)] == [PROJECT]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://gitlab.example/git/acme/shop/web", "acme/shop/web"),
        ("https://gitlab.example/git/acme/shop/web/-/issues/12#note_1", "acme/shop/web"),
        ("https://gitlab.example/git/acme/web.git", "acme/web"),
        ("https://oauth2:x@GitLab.example/git/acme/web.git?x", "acme/web"),
        ("https://gitlab.example/acme/web", ""),
        ("https://gitlab.com/git/acme/web", ""),
        ("https://gitlab.example/git/acme", ""),
        ("https://gitlab.example/git/acme/../web", ""),
    ],
)
def test_an_address_of_this_gitlab_names_its_project(address: str, name: str) -> None:
    client = GitLab(GitLab.Settings(url="https://gitlab.example/git/"), Us())
    assert client.repository_at(address) == (Repository("gitlab", name) if name else None)


def test_an_address_for_git_over_ssh_names_its_project() -> None:
    client = GitLab(GitLab.Settings(), Us())
    assert client.repository_at("git@gitlab.com:acme/shop/web.git") == PLACE


# --- refusals and trouble -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "word", "wait"),
    [
        (401, {}, "unauthorized", None),
        (403, {}, "forbidden", None),
        (404, {}, "missing", None),
        (409, {}, "conflict", None),
        (422, {}, "invalid", None),
        (429, {"Retry-After": "7"}, "limited", 7.0),
        (429, {"RateLimit-Remaining": "0"}, "limited", 60.0),
        (429, {"Retry-After": "soon"}, "limited", 60.0),
        (500, {}, "unavailable", None),
        (503, {"Retry-After": "9"}, "unavailable", 9.0),
    ],
)
async def test_a_refusal_is_told_by_its_word(
    server: GitLabServer, client: GitLab, token: Secret, status: int, headers: dict[str, str], word: str, wait: Any
) -> None:
    fault = server.fail("GET", API_PATH, status=status, headers=headers, times=9)
    with pytest.raises(ProviderError) as refused:
        await client.source(PLACE, "", token)
    assert (refused.value.word, refused.value.retry_after) == (word, wait)
    assert fault.times == 8, "it is not tried again here"
    assert token.reveal() not in str(refused.value)


async def test_no_answer_ends_in_time(server: GitLabServer, client: GitLab, token: Secret) -> None:
    fault = server.hang("GET", "/user")
    with pytest.raises(ProviderError) as lost:
        await client.identify(token)
    fault.release()
    assert lost.value.word == "unavailable"


async def test_nobody_there_is_told(token: Secret) -> None:
    client = GitLab(GitLab.Settings(url="http://127.0.0.1:9"), Us())
    with pytest.raises(ProviderError) as lost:
        await client.identify(token)
    assert lost.value.word == "unavailable"
    await client.close()


async def test_a_wrong_token_is_told(client: GitLab) -> None:
    with pytest.raises(ProviderError) as refused:
        await client.identify(Secret("glpat-wrong"))
    assert refused.value.word == "unauthorized"


async def test_two_dozen_calls_at_once_keep_apart(server: GitLabServer, client: GitLab, token: Secret) -> None:
    for number in range(24):
        await server.issue(PROJECT, "alice", f"Bug {number}")
    made = await asyncio.gather(*(client.perform(say(f"To {n}", item=str(n)), None, token) for n in range(1, 25)))
    assert len({receipt.id for receipt in made}) == 24
    assert [server.notes(PROJECT, str(n))[0]["body"].endswith(f"To {n}") for n in range(1, 25)] == [True] * 24


@pytest.mark.parametrize(
    "settings", [{"url": "gitlab.com"}, {"url": "https://u:p@gitlab.com"}, {"allow": "a, ../b"}, {"allow": "a b"}]
)
def test_settings_that_cannot_work_are_refused_at_start(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        GitLab(GitLab.Settings(**settings), Us())
