"""`onhand init gitlab`: registering our webhook."""

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import ConfigError, ProviderError
from bot.core.secret import Secret
from integrations.gitlab.client import GitLab
from tests.standins.gitlab import GitLabServer

PROJECT = "acme/shop/web"
SIGNING = Secret(f"whsec_{base64.b64encode(bytes(32)).decode()}")
URL = "https://onhand.example"


async def init(server: GitLabServer, token: Secret, *names: str, **settings: Any) -> list[str]:
    return await GitLab.set_up(GitLab.Settings(url=server.url, token=token, **settings), URL, names)


@pytest.fixture
def maintained(server: GitLabServer) -> GitLabServer:
    server.state.projects[PROJECT].members["onhand-bot"] = 40
    server.state.groups["acme"] = {"id": 7, "full_path": "acme"}
    server.state.groups["7"] = server.state.groups["acme"]
    return server


async def test_a_hook_is_made_once_with_the_events_that_we_read(maintained: GitLabServer, token: Secret) -> None:
    first = await init(maintained, token, PROJECT, signing_token=SIGNING)
    again = await init(maintained, token, PROJECT, signing_token=SIGNING, webhook_secret=Secret("s3cret"))
    assert (first[0], again[0]) == (f"{PROJECT}: webhook made", f"{PROJECT}: webhook renewed")
    [hook] = maintained.state.projects[PROJECT].hooks
    assert hook["url"] == f"{URL}/api/integration/gitlab/events"
    assert (hook["signing_token"], hook["token"]) == (SIGNING.reveal(), "s3cret")
    on = {name for name, value in hook.items() if name.endswith("_events") and value}
    assert on == {
        "issues_events", "confidential_issues_events", "merge_requests_events", "note_events", "confidential_note_events",
    }  # fmt: skip
    assert not any(SIGNING.reveal() in line or "s3cret" in line for line in first + again)


async def test_a_group_gets_its_hook_too(maintained: GitLabServer, token: Secret) -> None:
    assert (await init(maintained, token, "acme", signing_token=SIGNING))[0] == "acme: webhook made"
    assert len(maintained.state.groups["acme"]["hooks"]) == 1


async def test_what_this_gitlab_cannot_do_is_said(maintained: GitLabServer, token: Secret) -> None:
    maintained.routes.version, maintained.routes.knows_signing = "16.11.2", False
    lines = "\n".join(await init(maintained, token, PROJECT, signing_token=SIGNING))
    assert "does not sign; set ONHAND_GITLAB__WEBHOOK_SECRET" in lines
    assert "16.11.2 sends no Idempotency-Key" in lines


async def test_a_token_that_may_not_manage_webhooks_is_told_so(server: GitLabServer, token: Secret) -> None:
    assert "Maintainer" in (await init(server, token, PROJECT, signing_token=SIGNING))[0]


async def test_a_second_hook_to_us_is_named(maintained: GitLabServer, token: Secret) -> None:
    maintained.state.projects[PROJECT].hooks += [
        {"id": n, "url": f"{URL}/api/integration/gitlab/events"} for n in (1, 2)
    ]
    assert "2 webhooks" in "\n".join(await init(maintained, token, PROJECT, signing_token=SIGNING))


async def test_what_is_missing_is_named(maintained: GitLabServer, token: Secret) -> None:
    with pytest.raises(ConfigError, match="name the projects"):
        await init(maintained, token, signing_token=SIGNING)
    with pytest.raises(ConfigError, match="name the projects"):
        await init(maintained, token, "../x", signing_token=SIGNING)
    with pytest.raises(ConfigError, match="ONHAND_GITLAB__SIGNING_TOKEN=whsec_"):
        await init(maintained, token, PROJECT)
    with pytest.raises(ConfigError, match="32 bytes"):
        await init(maintained, token, PROJECT, signing_token=Secret("whsec_short"))
    with pytest.raises(ConfigError, match="ONHAND_GITLAB__TOKEN"):
        await init(maintained, Secret(""), PROJECT, signing_token=SIGNING)
    with pytest.raises(ProviderError, match="missing"):
        await init(maintained, token, "acme/none", signing_token=SIGNING)


async def test_an_address_that_gitlab_cannot_reach_is_refused(token: Secret) -> None:
    with pytest.raises(ConfigError, match="ONHAND_PUBLIC_URL"):
        await GitLab.set_up(GitLab.Settings(token=token, signing_token=SIGNING), "http://127.0.0.1:3000", [PROJECT])


async def test_the_command_shows_what_was_done(maintained: GitLabServer, token: Secret, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")},
        "ONHAND_HOME": str(tmp_path / "home"),
        "ONHAND_PUBLIC_URL": URL,
        "ONHAND_GITLAB__URL": maintained.url,
        "ONHAND_GITLAB__TOKEN": token.reveal(),
        "ONHAND_GITLAB__SIGNING_TOKEN": SIGNING.reveal(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "init", "gitlab", PROJECT, "acme", env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.decode().splitlines()[:2] == [f"{PROJECT}: webhook made", "acme: webhook made"]
