"""The app that onhand asks for, and what `onhand init slack` says."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.core.errors import ConfigError
from bot.core.secret import Secret
from integrations.slack import webhook
from integrations.slack.client import Slack
from integrations.slack.manifest import manifest

PUBLIC = "https://onhand.example"


def test_the_app_is_told_of_every_event_that_has_a_row() -> None:
    subscribed = {
        event.partition(".")[0] for event in manifest(PUBLIC, False)["settings"]["event_subscriptions"]["bot_events"]
    }  # type: ignore[index]
    assert subscribed == {event for event, _ in webhook.EVENTS}


def test_over_a_socket_no_address_of_ours_is_named_for_deliveries() -> None:
    assert "/api/integration/" in json.dumps(manifest(PUBLIC, False))
    assert "/api/integration/" not in json.dumps(manifest(PUBLIC, True))


@pytest.mark.parametrize("socket", [False, True])
async def test_init_shows_the_form_filled_in_and_the_steps(socket: bool) -> None:
    settings = Slack.Settings(app_token=Secret("xapp-1") if socket else None)
    lines = await Slack.set_up(settings, PUBLIC, ())
    form = parse_qs(urlsplit(lines[0].rpartition(" ")[2]).query)
    assert json.loads(form["manifest_json"][0]) == manifest(PUBLIC, socket)
    assert "xapp" not in "".join(lines)


async def test_init_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="ONHAND_PUBLIC_URL"):
        await Slack.set_up(Slack.Settings(), "http://127.0.0.1:3000", ())
    with pytest.raises(ConfigError, match="no further arguments"):
        await Slack.set_up(Slack.Settings(), PUBLIC, ("x",))
