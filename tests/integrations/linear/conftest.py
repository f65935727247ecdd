"""A small Linear on loopback, and the client that talks to it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.core.ports import Us
from bot.core.secret import Secret
from integrations.linear.client import Linear
from tests.standins.linear import LinearServer


@pytest.fixture
async def server() -> AsyncIterator[LinearServer]:
    async with LinearServer() as server:
        yield server
    assert server.problems == []


@pytest.fixture
def app(server: LinearServer) -> dict[str, Any]:
    """The app's user, with its token."""
    return server.person("onhand", app=True)


@pytest.fixture
def alice(server: LinearServer) -> dict[str, Any]:
    return server.person("Alice")


@pytest.fixture
async def client(server: LinearServer, app: dict[str, Any]) -> AsyncIterator[Linear]:
    settings = Linear.Settings(
        webhook_secret=Secret("s3cret"),
        token=Secret(app["token"]),
        app_user_id=app["id"],
        api_url=server.url,
        timeout=2,
    )
    client = Linear(settings, Us())
    yield client
    await client.close()


@pytest.fixture
async def token(client: Linear) -> Secret:
    token = await client.token("ENG")
    assert token is not None
    return token
