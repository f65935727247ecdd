"""The stand-ins that tests and the demo trust: git hosting, the small GitHub, the provider that only remembers."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.core.errors import ProviderError, Rejected
from bot.core.inbound import Account, Delivery, Inbound, Origin, Repository, Thread
from bot.core.outbound import React, Say
from bot.core.ports import Forge, Us
from bot.core.secret import Secret
from bot.testing.git_server import GitServer
from bot.testing.github import GitHubServer
from bot.testing.integrations import RecordingClient
from bot.testing.serving import Serving, answer, read_body
from integrations.github.client import GitHub

REPO = "octo/hello"


class Mailbox:
    """An endpoint that understands what is delivered to it."""

    def __init__(self) -> None:
        self.github = GitHub(GitHub.Settings(webhook_secret=Secret("s3cret"), bot_login="onhand-bot"), Us())
        self.deliveries: list[Delivery] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        try:
            verified = self.github.verify(Inbound(headers, await read_body(receive)), 0.0)
            self.deliveries.append(self.github.parse(verified))
        except Rejected as rejected:
            await answer(send, rejected.status, str(rejected).encode())
        else:
            await answer(send, 202, b"ok")


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[tuple[GitHubServer, Mailbox]]:
    mailbox = Mailbox()
    async with Serving(mailbox) as endpoint, GitHubServer(folder) as server:
        for login in ("octo-alice", "onhand-bot"):
            server.person(login)
        await server.repository(REPO, {"README.md": "Hello\n"}, {"octo-alice": "write", "onhand-bot": "write"})
        server.hook(endpoint.url, "s3cret")
        yield server, mailbox


async def git(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        ["git", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"},
    )


# --- git ------------------------------------------------------------------------------------------------------------


async def test_git_asks_for_a_token(tmp_path: Path) -> None:
    async with GitServer(tmp_path / "git", {"t0ken"}) as server:
        await server.create(REPO, {"README.md": "Hello\n"})
        refused = await git("clone", f"{server.url}/{REPO}.git", "a", cwd=tmp_path)
        allowed = await git("clone", f"{server.url}/{REPO}.git".replace("//", "//x:t0ken@"), "b", cwd=tmp_path)
        assert (refused.returncode != 0, allowed.returncode) == (True, 0)


async def test_git_takes_a_push(tmp_path: Path) -> None:
    async with GitServer(tmp_path / "git") as server:
        await server.create(REPO, {"README.md": "Hello\n"})
        await git("clone", f"{server.url}/{REPO}.git", "work", cwd=tmp_path)
        (tmp_path / "work" / "new.txt").write_text("new\n")
        await git("add", ".", cwd=tmp_path / "work")
        await git("-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-m", "Add", cwd=tmp_path / "work")
        pushed = await git("push", "origin", "HEAD:topic/x", cwd=tmp_path / "work")
        assert pushed.returncode == 0, pushed.stderr
        assert set(await server.branches(REPO)) == {"main", "topic/x"}
        assert await server.read(REPO, "topic/x", "new.txt") == "new\n"
        assert (await server.messages(REPO, "topic/x"))[0].strip() == "Add"


async def test_somebody_else_can_commit_and_delete(tmp_path: Path) -> None:
    async with GitServer(tmp_path / "git") as server:
        await server.create(REPO, {"a.txt": "a", "run.sh": "#!/bin/sh\n"})
        await server.commit(REPO, {"a.txt": None, "with space/b.txt": "é"}, "Change", author="Bob <bob@example.com>")
        assert await server.files(REPO, "main") == {"run.sh": "#!/bin/sh\n", "with space/b.txt": "é"}


async def test_an_empty_repository_has_no_branches(tmp_path: Path) -> None:
    async with GitServer(tmp_path / "git") as server:
        await server.create(REPO, {})
        assert await server.branches(REPO) == {}


@pytest.mark.parametrize("path", ["/octo/none.git/info/refs", "/../x.git/info/refs", "/octo/hello.git/../../x"])
async def test_what_is_not_hosted_is_not_found(tmp_path: Path, path: str) -> None:
    async with GitServer(tmp_path / "git") as server, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{server.url}{path}")).status_code == 404


# --- the small GitHub -----------------------------------------------------------------------------------------------


async def test_what_people_do_is_delivered_signed_and_understood(tmp_path: Path) -> None:
    async with town(tmp_path) as (server, mailbox):
        number = await server.issue(
            REPO, "octo-alice", "A bug", "@onhand mend it", labels=["onhand"], assignees=["onhand-bot"]
        )
        await server.comment(REPO, number, "octo-alice", "@onhand stop")
        said = [(d.event, d.ignored or d.triggers[0].by) for d in mailbox.deliveries]
        assert said == [
            ("issues.opened", "mention"),
            ("issues.labeled", "said_at_opening"),
            ("issues.assigned", "said_at_opening"),
            ("issue_comment.created", "mention"),
        ]


async def test_every_trigger_can_be_acted_out(tmp_path: Path) -> None:
    async with town(tmp_path) as (server, mailbox):
        await asyncio.to_thread(server.git.commit, REPO, {"x": "y"}, "Add", "topic")
        issue = await server.issue(REPO, "octo-alice", "A bug")
        pull = await server.pull(REPO, "octo-alice", "A change", "topic")
        clock = server.state.repositories[REPO].items
        clock[issue].created_at = clock[pull].created_at = "2020-01-01T00:00:00Z"
        await server.edit(REPO, issue, "octo-alice", body="@onhand mend it")
        await server.edit_comment(await server.comment(REPO, pull, "octo-alice", "hm"), "octo-alice", "@onhand hm")
        await server.review_comment(REPO, pull, "octo-alice", "@onhand why?")
        await server.review(REPO, pull, "octo-alice", "@onhand well")
        for number in (issue, pull):
            await server.label(REPO, number, "octo-alice", "onhand")
            await server.assign(REPO, number, "octo-alice", "onhand-bot")
        await server.request_review(REPO, pull, "octo-alice", "onhand-bot")
        asked = [d.event for d in mailbox.deliveries if d.triggers]
        assert asked == [
            "issues.edited",
            "issue_comment.edited",
            "pull_request_review_comment.created",
            "pull_request_review.submitted",
            "issues.labeled",
            "issues.assigned",
            "pull_request.labeled",
            "pull_request.assigned",
            "pull_request.review_requested",
        ]


async def test_what_the_bot_says_over_the_api_comes_back_and_starts_nothing(tmp_path: Path) -> None:
    async with town(tmp_path) as (server, mailbox):
        await server.issue(REPO, "octo-alice", "A bug")
        client = GitHub(GitHub.Settings(api_url=server.api_url, web_url=server.web_url), Us())
        say = Say(topic="status:1", thread=Thread("github", REPO, "1"), text="@onhand hello")
        await client.perform(say, None, Secret(server.person("onhand-bot").token))
        async with asyncio.timeout(10):
            while len(mailbox.deliveries) < 2:
                await asyncio.sleep(0.01)
        assert [(d.event, d.ignored) for d in mailbox.deliveries[1:]] == [("issue_comment.created", "own_message")]
        await client.close()


async def test_a_redelivery_carries_the_same_id(tmp_path: Path) -> None:
    async with town(tmp_path) as (server, mailbox):
        await server.issue(REPO, "octo-alice", "A bug", "@onhand go")
        await server.send(server.deliveries[0])
        first, second = mailbox.deliveries
        assert first == second


async def test_a_hook_with_another_secret_is_refused(tmp_path: Path) -> None:
    mailbox = Mailbox()
    async with Serving(mailbox) as endpoint, GitHubServer(tmp_path) as server:
        server.person("octo-alice")
        await server.repository(REPO, {"a": "b"}, {})
        server.hook(endpoint.url, "another")
        await server.issue(REPO, "octo-alice", "A bug", "@onhand go")
        assert server.deliveries[0].status == 401


async def test_requests_are_kept_without_their_tokens(tmp_path: Path) -> None:
    async with town(tmp_path) as (server, _), httpx.AsyncClient(trust_env=False) as http:
        token = server.person("octo-alice").token
        await http.get(f"{server.api_url}/user", headers={"authorization": f"Bearer {token}"})
        (request,) = server.requests
        assert (request.method, request.path, request.login, request.status) == ("GET", "/user", "octo-alice", 200)
        assert token not in repr(request)


async def test_a_revoked_token_opens_nothing(tmp_path: Path) -> None:
    async with town(tmp_path) as (server, _), httpx.AsyncClient(trust_env=False) as http:
        token = server.person("octo-alice").token
        server.revoke(token)
        assert (
            await http.get(f"{server.api_url}/user", headers={"authorization": f"Bearer {token}"})
        ).status_code == 401


# --- the provider that only remembers -------------------------------------------------------------------------------


async def test_it_fails_as_planned_before_or_after_the_deed() -> None:
    client, token = RecordingClient(), Secret("token")
    forge: Forge = client
    say = Say(topic="t", thread=Thread("memory", "p", "1"), text="hello")
    client.fail(Say, ProviderError("unavailable", "lost"), after=True)
    client.fail(Say, ProviderError("limited", "wait", 1.0))
    for _ in range(2):
        with pytest.raises(ProviderError):
            await forge.perform(say, None, token)
    assert await forge.find(say, token) == await forge.perform(say, None, token)
    assert len(client.calls) == 2
    assert client.failures == []


async def test_it_knows_who_may_write() -> None:
    client = RecordingClient(writers=["alice"])
    place = Repository("memory", "p")
    assert await client.may_write(place, Account("memory", "alice", "alice"), Secret("t"))
    assert not await client.may_write(place, Account("memory", "bob", "bob"), Secret("t"))


async def test_it_keeps_reactions_and_messages_by_topic() -> None:
    client, thread = RecordingClient(), Thread("memory", "p", "1")
    await client.perform(React(topic="r", thread=thread, origin=Origin("comment", "1")), None, Secret("t"))
    await client.perform(Say(topic="s", thread=thread, text="hi"), None, Secret("t"))
    assert client.messages == {"r": "eyes", "s": "hi"}
