"""A small Slack on loopback, and the client that talks to it."""

from collections.abc import AsyncIterator

import pytest

from bot.core.ports import Us
from bot.core.secret import Secret
from integrations.slack.client import Slack
from tests.standins.slack import APP_TOKEN, TOKEN, SlackServer


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer() as server:
        yield server
        assert server.problems == []


@pytest.fixture
async def client(server: SlackServer) -> AsyncIterator[Slack]:
    settings = Slack.Settings(
        signing_secret=Secret("s3cret"),
        bot_token=Secret(TOKEN),
        app_token=Secret(APP_TOKEN),
        api_url=server.api_url,
        timeout=2,
    )
    client = Slack(settings, Us())
    yield client
    await client.close()


@pytest.fixture
def token() -> Secret:
    return Secret(TOKEN)
