"""Finding what people asked while no hook reached us."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bot.core.errors import ProviderError
from bot.core.inbound import Origin, Trigger
from bot.core.outbound import React
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.openapi import check_requests
from integrations.gitlab import webhook
from integrations.gitlab.client import GitLab
from tests.standins.gitlab import API, GitLabServer

PROJECT = "acme/shop/web"
BEFORE = -1000.0
"""When the server's people act, against this machine's clock: longer ago than a hook may take."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitLabServer]:
    async with GitLabServer(tmp_path / "git", clock=lambda: time.time() + BEFORE) as server:
        for username in ("alice", "bob", "onhand-bot"):
            server.person(username)
        await server.project(PROJECT, {"README.md": "Hello\n"}, {"alice": 30, "bob": 20, "onhand-bot": 30})
        yield server
        assert check_requests(server.requests, API) == []


async def found(client: GitLab, since: float = -2000.0) -> list[Trigger]:
    caught = await client.catch_up(time.time() + since)
    assert all(len(delivery.triggers) == 1 for delivery in caught.read)
    return [delivery.triggers[0] for delivery in caught.read]


def delivered(server: GitLabServer, client: GitLab, index: int = -1) -> Trigger:
    """What the hook's own payload would have asked."""
    delivery = server.deliveries[index]
    verified = webhook.Verified({"x-gitlab-event": delivery.event}, delivery.body)
    (trigger,) = client.parse(verified).triggers
    return trigger


@pytest.mark.parametrize("more", [{}, {"type": "DiscussionNote"}, {"internal": True}])
async def test_a_comment_that_mentions_us_is_found_as_the_hook_would_have_told_it(
    server: GitLabServer, client: GitLab, more: dict[str, Any]
) -> None:
    number = await server.issue(PROJECT, "alice", "A bug", "It is wrong.")
    await server.note(PROJECT, number, "bob", "Yes, it is")
    await server.note(PROJECT, number, "alice", "@onhand fix it", **more)
    assert await found(client) == [delivered(server, client)]


async def test_a_project_that_fails_hides_no_other(server: GitLabServer, client: GitLab) -> None:
    other = "acme/shop/api"
    await server.project(other, {"README.md": "Hello\n"}, {"alice": 30, "onhand-bot": 30})
    for project in (PROJECT, other):
        await server.issue(project, "alice", "A bug", "@onhand fix it")
    for project in (PROJECT, other):
        server.fail("GET", rf".*/projects/{quote(project, safe='')}/issues", status=500, times=9)
        caught = await client.catch_up(time.time() - 2000)
        (delivery,) = caught.read
        assert delivery.triggers[0].thread.place != project
        assert isinstance(caught.failed, ProviderError)
        server.faults.clear()
    caught = await client.catch_up(time.time() - 2000)
    assert (len(caught.read), caught.failed) == (2, None)


async def test_a_remark_on_a_line_is_found_with_its_place(server: GitLabServer, client: GitLab) -> None:
    server.git.commit(PROJECT, {"new.py": "x\n"}, "New", "topic")
    item = await server.merge_request(PROJECT, "alice", "A change", "topic")
    place = {"position_type": "text", "new_path": "new.py", "old_path": "new.py", "new_line": 1, "old_line": None}
    await server.note(PROJECT, item, "alice", "@onhand why?", type="DiffNote", position=place)
    [trigger] = await found(client)
    assert trigger == delivered(server, client)
    assert (trigger.origin.path, trigger.origin.line) == ("new.py", 1)


async def test_an_issue_and_a_merge_request_opened_with_a_mention_are_found(
    server: GitLabServer, client: GitLab
) -> None:
    server.git.commit(PROJECT, {"new.py": "x\n"}, "New", "topic")
    await server.issue(PROJECT, "alice", "A bug", "@onhand fix it")
    await server.merge_request(PROJECT, "alice", "A change", "topic", description="@onhand look")
    assert await found(client) == [delivered(server, client, 0), delivered(server, client, 1)]


async def test_what_has_our_eyes_or_was_rewritten_is_left(server: GitLabServer, client: GitLab, token: Secret) -> None:
    for _ in range(2):
        await server.issue(PROJECT, "alice", "A bug", "@onhand fix it")
    thread = delivered(server, client, 0).thread
    await client.perform(React(topic="react:1", thread=thread, origin=Origin("issue", "1")), None, token)
    await server.note(PROJECT, "2", "bob", "changed the description", system=True)
    assert await found(client) == []


async def test_what_is_older_or_so_young_that_its_hook_may_still_come_is_left(
    server: GitLabServer, client: GitLab
) -> None:
    await server.issue(PROJECT, "alice", "A bug", "@onhand fix it")
    assert await found(client, since=-900.0) == []
    server.state._clock = time.time
    await server.note(PROJECT, "1", "alice", "@onhand fix it now")
    assert len(await found(client)) == 1, "the issue, and not the comment"


async def test_what_nobody_has_commented_on_costs_no_request(server: GitLabServer, client: GitLab) -> None:
    for _ in range(20):
        await server.issue(PROJECT, "alice", "A bug", "It is wrong.")
    assert await found(client) == []
    assert [request.path.rpartition("/")[2] for request in server.requests] == [
        "user", "projects", "issues", "merge_requests",
    ]  # fmt: skip


async def test_however_many_changed_meanwhile_nothing_asked_is_passed_over(
    server: GitLabServer, client: GitLab, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody changed hundreds at once, say their labels: what a list tells is a hundred at a time."""
    for number in range(202):
        server.state.add_item(PROJECT, "alice", f"Bug {number}", "@onhand fix it" if number in (0, 201) else None)
    assert sorted(trigger.title for trigger in await found(client)) == ["Bug 0", "Bug 201"]
    for number in range(1000):
        server.state.add_item(PROJECT, "alice", f"More {number}", None)
    assert len(await found(client)) == 2
    assert "older ones are not looked at" in caplog.text


async def test_bots_our_own_words_and_places_off_the_list_ask_for_nothing(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    server.person("project_1_bot_a")
    number = await server.issue(PROJECT, "alice", "A bug", "It is wrong.")
    for who in ("onhand-bot", "project_1_bot_a"):
        await server.note(PROJECT, number, who, "@onhand fix it")
    assert await found(client) == []
    await server.note(PROJECT, number, "alice", "@onhand fix it")
    settings = GitLab.Settings(url=server.url, token=token, webhook_secret=Secret("s3cret"), allow="acme/other")
    elsewhere = GitLab(settings, Us())
    assert await found(elsewhere) == []
    await elsewhere.close()
    assert len(await found(client)) == 1


async def test_without_an_endpoint_or_a_token_nothing_is_looked_for(server: GitLabServer, token: Secret) -> None:
    for settings in (GitLab.Settings(url=server.url, token=token), GitLab.Settings(webhook_secret=Secret("s3cret"))):
        assert (await GitLab(settings, Us()).catch_up(0.0)).read == ()
    assert server.requests == []
