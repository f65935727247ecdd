"""Installing the app in a further workspace, with the real web process and a small Slack."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn

from bot import bootstrap, config
from bot.auth import tickets
from bot.commands.service import free_port
from bot.core.inbound import Thread
from bot.flows.identity import bots_token
from bot.web.app import create
from tests.standins.slack import TEAM, TOKEN, SlackServer


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with SlackServer() as slack:
        yield slack


@pytest.fixture
async def built(redis_url: str, tmp_path: Path, slack: SlackServer) -> AsyncIterator[bootstrap.Built]:
    environment = {
        "ONHAND_HOME": str(tmp_path / "home"),
        "ONHAND_REDIS_URL": redis_url,
        "ONHAND_PUBLIC_URL": "https://onhand.example",
        "ONHAND_SLACK__SIGNING_SECRET": "s3cret",
        "ONHAND_SLACK__BOT_TOKEN": TOKEN,
        "ONHAND_SLACK__API_URL": slack.api_url,
        "ONHAND_SLACK__CLIENT_ID": "1.2",
        "ONHAND_SLACK__CLIENT_SECRET": "the client's secret",
    }
    async with bootstrap.build(config.load(environment)) as built:
        yield built


@pytest.fixture
async def browser(built: bootstrap.Built) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port("127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(create(built), port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as browser:
        yield browser
    server.should_exit = True
    await serving


def invitation(built: bootstrap.Built, service: str = "slack", purpose: str = tickets.INSTALL) -> dict[str, str]:
    return {"ticket": tickets.issue(built.key, purpose, service, time.time() + 60)}


async def spoken_with(built: bootstrap.Built, team: str) -> str:
    token = await bots_token(built.services, Thread("slack", f"{team}/C1", "1.1"))
    return (await token()).reveal() if token else ""


async def test_the_operators_link_leads_to_slack_and_back_to_a_token_of_that_workspace(
    browser: httpx.AsyncClient, built: bootstrap.Built
) -> None:
    assert await spoken_with(built, "T0ELSEWHERE") == ""
    away = await browser.get("/api/install/slack", params=invitation(built))
    page = urlsplit(away.headers["location"])
    asked = {name: values[0] for name, values in parse_qs(page.query).items()}
    assert (page.hostname, asked["client_id"]) == ("slack.com", "1.2")
    assert asked["redirect_uri"] == "https://onhand.example/api/install/slack/done"
    back = {"code": "the-code", "state": asked["state"]}
    done = await browser.get("/api/install/slack/done", params=back)
    assert (done.status_code, "Elsewhere" in done.text) == (200, True)
    assert await spoken_with(built, "T0ELSEWHERE") == "xoxb-elsewhere"
    assert await spoken_with(built, TEAM) == TOKEN
    assert "xoxb" not in done.text


async def test_nobody_installs_without_the_operators_link(browser: httpx.AsyncClient, built: bootstrap.Built) -> None:
    wrong = [{}, {"ticket": "x"}, invitation(built, "github"), invitation(built, purpose="connect")]
    for params in wrong:
        assert (await browser.get("/api/install/slack", params=params)).status_code == 400
    for state in ("", "x", invitation(built)["ticket"]):
        back = {"code": "the-code", "state": state}
        assert (await browser.get("/api/install/slack/done", params=back)).status_code == 400
    assert (await browser.get("/api/install/nowhere", params=invitation(built, "nowhere"))).status_code == 404


async def test_a_code_that_slack_does_not_take_installs_nothing(
    browser: httpx.AsyncClient, built: bootstrap.Built
) -> None:
    away = await browser.get("/api/install/slack", params=invitation(built))
    state = parse_qs(urlsplit(away.headers["location"]).query)["state"][0]
    answer = await browser.get("/api/install/slack/done", params={"code": "another", "state": state})
    assert answer.status_code == 502
    assert await spoken_with(built, "T0ELSEWHERE") == ""
