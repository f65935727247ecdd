"""`onhand init jira`: the webhook is registered once, or the operator is told what is left."""

from typing import Any

import pytest

from bot.core.errors import ConfigError, ProviderError
from bot.core.secret import Secret
from integrations.jira.client import Jira
from tests.standins.jira import JiraServer

HOOKS = "/rest/webhooks/1.0/webhook"


def settings(server: JiraServer, **more: Any) -> Jira.Settings:
    email, _, key = server.people["onhand"].token.rpartition(":")
    usual: dict[str, Any] = {"webhook_secret": Secret("s3cret"), "url": server.url}
    return Jira.Settings(**{**usual, "email": email, "api_token": Secret(key), "timeout": 2, **more})


async def set_up(server: JiraServer, *projects: str, **more: Any) -> str:
    return "\n".join(await Jira.set_up(settings(server, **more), "https://onhand.example", projects))


async def test_the_webhook_is_registered_once(server: JiraServer) -> None:
    first, second = await set_up(server), await set_up(server)
    (hook,) = server.webhooks
    assert hook["url"] == "https://onhand.example/api/integration/jira/events"
    assert set(hook["events"]) == {"jira:issue_created", "jira:issue_updated", "comment_created", "comment_updated"}
    assert "is registered" in first
    assert "already" in second
    assert "ONHAND_JIRA__BOT_ACCOUNT_ID=" in first, "what is left is said"


async def test_it_is_for_the_projects_that_are_named(server: JiraServer) -> None:
    await set_up(server, "APP", "WEB")
    assert server.webhooks[0]["filters"] == {"issue-related-events-section": "project in (APP, WEB)"}


async def test_a_projects_key_that_is_none_is_refused(server: JiraServer) -> None:
    with pytest.raises(ConfigError):
        await set_up(server, 'APP) OR (reporter = "x"')
    assert server.webhooks == []


async def test_without_a_secret_one_is_proposed(server: JiraServer) -> None:
    assert "ONHAND_JIRA__WEBHOOK_SECRET=" in await set_up(server, webhook_secret=None)
    assert server.webhooks == []


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_without_the_right_the_steps_by_hand_are_told(server: JiraServer, status: int) -> None:
    server.fail("GET", HOOKS, status)
    told = await set_up(server)
    assert "By hand" in told
    assert "s3cret" not in told


async def test_a_jira_that_is_away_is_no_reason_to_do_it_by_hand(server: JiraServer) -> None:
    server.fail("GET", HOOKS, 503)
    with pytest.raises(ProviderError):
        await set_up(server)
