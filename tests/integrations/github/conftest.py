"""A small GitHub on loopback with a repository, and the client that talks to it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.github import GitHubServer
from integrations.github.client import GitHub

REPO = "octo/hello"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitHubServer]:
    async with GitHubServer(tmp_path / "git") as server:
        for login in ("octo", "octo-alice", "octo-bob"):
            server.person(login)
        server.person("onhand-bot")
        await server.repository(REPO, {"README.md": "Hello\n"}, {"octo-alice": "write", "onhand-bot": "write"})
        yield server


@pytest.fixture
async def client(server: GitHubServer) -> AsyncIterator[GitHub]:
    settings = GitHub.Settings(
        webhook_secret=Secret("s3cret"),
        api_url=server.api_url,
        web_url=server.web_url,
        token=Secret(server.person("onhand-bot").token),
        bot_login="onhand-bot",
        timeout=2,
    )
    client = GitHub(settings, Us())
    yield client
    await client.close()


@pytest.fixture
async def token(client: GitHub) -> Secret:
    token = await client.token(REPO)
    assert token is not None
    return token


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "api.json").read_bytes())
    return loaded
