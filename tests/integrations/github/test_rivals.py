"""What others have open for an issue: found by what their pull requests say, and only then."""

import asyncio
import time
from typing import Any

import pytest

from bot.core.errors import ProviderError
from bot.core.inbound import Thread
from bot.core.markdown import closes
from bot.core.marks import mark
from bot.core.secret import Secret
from bot.testing.github import GitHubServer
from bot.testing.openapi import check_requests
from integrations.github.client import GitHub
from tests.integrations.github.conftest import REPO

ISSUE = Thread("github", REPO, "1")


async def pull(server: GitHubServer, body: str | None, author: str = "octo-bob", branch: str = "topic") -> int:
    await asyncio.to_thread(server.git.commit, REPO, {"new.txt": branch}, "Add", branch)
    return await server.pull(REPO, author, "A change", branch, body=body)


@pytest.fixture(autouse=True)
async def issue(server: GitHubServer) -> None:
    await server.issue(REPO, "octo-alice", "A bug")


async def test_an_open_pull_request_that_closes_the_issue_is_one(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await pull(server, "Fixes #1")
    await pull(server, "This resolves octo/hello#1.", branch="other")
    assert await client.rivals(ISSUE, token) == ["#2", "#3"]


@pytest.mark.parametrize("body", [None, "", "See #1", "Fixes #2", "Fixes #12", "<!-- Fixes #1 -->", "unfixes #1x"])
async def test_one_that_only_mentions_it_is_none(
    server: GitHubServer, client: GitHub, token: Secret, body: str | None
) -> None:
    await pull(server, body)
    assert await client.rivals(ISSUE, token) == []


async def test_one_that_was_closed_is_none(server: GitHubServer, client: GitHub, token: Secret) -> None:
    number = await pull(server, "Fixes #1")
    server.state.repositories[REPO].items[number].state = "closed"
    assert await client.rivals(ISSUE, token) == []


async def test_another_issue_that_says_so_is_none(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await server.issue(REPO, "octo-bob", "The same", "fixes #1")
    assert await client.rivals(ISSUE, token) == []


async def test_our_own_is_none_but_one_with_our_mark_by_somebody_else_is(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    text = f"{mark('change:onhand/1-x')}\nFixes #1"
    await pull(server, text, "onhand-bot")
    assert await client.rivals(ISSUE, token) == []
    forged = await pull(server, text, "octo-bob", "other")
    assert await client.rivals(ISSUE, token) == [f"#{forged}"]


async def test_it_is_found_behind_hundreds_of_comments(server: GitHubServer, client: GitHub, token: Secret) -> None:
    number = await pull(server, "Fixes #1")
    for count in range(150):
        server.state.add_remark("issue_comment", REPO, 1, server.state.people["octo-bob"], f"me too {count}")
    assert await client.rivals(ISSUE, token) == [f"#{number}"]


async def test_a_forge_that_does_not_say_is_an_error_of_this_call(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    server.fail("GET", r"/repos/octo/hello/issues/1/timeline", status=404)
    with pytest.raises(ProviderError, match="missing"):
        await client.rivals(ISSUE, token)


async def test_every_request_is_one_that_github_describes(
    server: GitHubServer, client: GitHub, token: Secret, description: dict[str, Any]
) -> None:
    await client.rivals(ISSUE, token)
    assert [request.path for request in server.requests][-1].endswith("/timeline")
    assert check_requests(server.requests, description) == []


@pytest.mark.parametrize(
    "text",
    [
        "fixes #1",
        "Closes: #1.",
        "RESOLVED GH-1",
        "fix https://github.com/octo/hello/issues/1",
        "x\n\nCloses Octo/Hello#1",
    ],
)
def test_a_text_that_closes(text: str) -> None:
    assert closes(text, "octo/hello", "1")


@pytest.mark.parametrize("text", ["fixes 1", "fixes #11", "fixes octo/other#1", "prefixes #1", "fixes #1a", "#1 fixes"])
def test_a_text_that_does_not_close(text: str) -> None:
    assert not closes(text, "octo/hello", "1")


@pytest.mark.parametrize("text", ["fix #2 " * 10_000, "<!--" * 20_000, "fix " + " " * 60_000, "fix https://a" * 6_000])
def test_a_hostile_text_takes_no_time(text: str) -> None:
    before = time.process_time()
    assert not closes(text, "octo/hello", "1")
    assert time.process_time() - before < 2.0
