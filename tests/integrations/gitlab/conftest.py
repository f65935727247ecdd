"""A small GitLab on loopback with a project, and the client that talks to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.openapi import check_requests
from integrations.gitlab.client import GitLab
from tests.standins.gitlab import API, GitLabServer

PROJECT = "acme/shop/web"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitLabServer]:
    async with GitLabServer(tmp_path / "git") as server:
        for username in ("alice", "bob", "onhand-bot"):
            server.person(username)
        await server.project(PROJECT, {"README.md": "Hello\n"}, {"alice": 30, "bob": 20, "onhand-bot": 30})
        yield server
        assert check_requests(server.requests, API) == []


@pytest.fixture
async def client(server: GitLabServer) -> AsyncIterator[GitLab]:
    settings = GitLab.Settings(
        webhook_secret=Secret("s3cret"),
        url=server.url,
        token=Secret(server.person("onhand-bot").token),
        bot_username="onhand-bot",
        timeout=2,
    )
    client = GitLab(settings, Us())
    yield client
    await client.close()


@pytest.fixture
async def token(client: GitLab) -> Secret:
    token = await client.token(PROJECT)
    assert token is not None
    return token
