"""As a GitHub App, end to end: its tokens open one repository and end with their run, and no lost delivery stays lost."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.commands.service import free_port
from bot.redis_server import EmbeddedRedis
from bot.testing.github import GitHubServer
from bot.testing.github_app import GitHubApp
from bot.testing.models import ModelServer
from bot.testing.openapi import check_requests
from integrations.github.manifest import PERMISSIONS
from tests.journeys.conftest import Place, Scripts, Service
from tests.journeys.steps import CANARIES, MEND_CALC, SAMPLE, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

API = json.loads((Path(__file__).parents[1] / "integrations" / "github" / "api.json").read_text())


class AppPlace(Place):
    """A private repository on which the App is installed, and a service of its own."""

    app: GitHubApp

    async def set_up(self) -> None:
        self.github.person("alice")
        await self.github.repository(self.name, SAMPLE, {"alice": "write"}, private=True)
        self.github.install(self.app, self.name, "acme/not-asked-for")
        self.listen()

    def by_the_bot(self) -> tuple[int, int]:
        """How many comments and pull requests the bot made."""
        items = self.github.state.repositories[self.name].items.values()
        said = [remark for remark in list(self.github.state.remarks.values()) if remark.author == self.app.bot]
        return len(said), sum(bool(item.pull) and item.author == self.app.bot for item in items)


@pytest.fixture
async def place(tmp_path: Path, need: Any) -> AsyncIterator[AppPlace]:
    need(shutil.which("bwrap"), "bubblewrap (deploy/engine.sh)")
    folder, scripts = tmp_path / "service", Scripts()
    folder.mkdir()
    redis = EmbeddedRedis(folder)
    with ModelServer(scripts, key=CANARIES["model"]) as model:
        async with GitHubServer(tmp_path / "forge") as github:
            await github.repository("acme/not-asked-for", SAMPLE, {}, private=True)
            app = github.apps.register("onhand-acme", PERMISSIONS)
            port = int(github.web_url.rpartition(":")[2])
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")},
                "ONHAND_HOME": str(folder / "home"),
                "ONHAND_PORT": str(free_port("127.0.0.1")),
                "ONHAND_REDIS_URL": await redis.start(),
                "ONHAND_LOG_JSON": "1",
                "ONHAND_LLM__MODEL": "openai/scripted",
                "ONHAND_LLM__BASE_URL": model.base_url,
                "ONHAND_LLM__API_KEY": CANARIES["model"],
                "ONHAND_GITHUB__WEBHOOK_SECRET": CANARIES["webhook"],
                "ONHAND_GITHUB__APP_ID": str(app.id),
                "ONHAND_GITHUB__PRIVATE_KEY": app.key,
                "ONHAND_GITHUB__BOT_LOGIN": app.bot.login,
                "ONHAND_GITHUB__API_URL": github.api_url,
                "ONHAND_GITHUB__WEB_URL": github.web_url,
            }
            service = Service("app", folder, environment, port, scripts, model)
            there = AppPlace(service, github)
            there.app = app
            await there.set_up()
            service.start("web", "serve")
            service.start("worker", "worker")
            try:
                await asyncio.to_thread(service.wait_until_ready)
                yield there
            finally:
                await there.client.aclose()
                await asyncio.to_thread(service.stop)
                await redis.stop()


async def end(place: AppPlace, name: str) -> None:
    process = place.service.processes.pop(name)
    process.terminate()
    await asyncio.to_thread(process.wait, 30)


async def test_an_apps_tokens_open_one_repository_and_none_is_left_alive(place: AppPlace, tmp_path: Path) -> None:
    place.script(bash(MEND_CALC), finish())
    number = await place.github.issue(
        place.name, "alice", f"add is wrong in {place.name}", "@onhand-acme please fix it"
    )
    await place.ended(number)
    assert place.by_the_bot() == (1, 1)
    tokens = place.app.tokens
    assert len(tokens) >= 2, "the run has a token of its own"
    assert {tuple(token.repositories) for token in tokens} == {(place.name,)}
    assert all(token.permissions == PERMISSIONS for token in tokens)
    await place.until(
        lambda: len(place.github.apps.alive(place.app)) == 1
    )  # the place's; the run's own ends after the run
    await end(place, "worker")
    assert place.github.apps.alive(place.app) == []
    shown = place.service.logs() + json.dumps(await place.events(number))
    assert not any(token.value in shown for token in tokens)
    assert "PRIVATE KEY" not in shown
    assert check_requests(place.github.requests, API) == []


async def test_a_token_that_ends_in_gits_hands_is_made_anew(place: AppPlace) -> None:
    place.script(bash(MEND_CALC), finish())
    held = [place.github.hold("GET", rf"/.*service=git-{service}-pack") for service in ("upload", "receive")]
    number = await place.github.issue(place.name, "alice", f"add is wrong in {place.name}", "@onhand please fix it")
    for one in held:
        await one.met()
        for token in place.app.tokens:
            place.github.revoke(token.value)
        one.release()
    await place.ended(number)
    assert place.by_the_bot() == (1, 1)


async def test_an_installation_that_is_suspended_for_a_while_costs_no_work(place: AppPlace) -> None:
    place.script(bash(MEND_CALC), bash("sleep 8"), finish())
    number = await place.github.issue(place.name, "alice", f"add is wrong in {place.name}", "@onhand please fix it")
    await place.until(lambda: place.service.model.requests and len(place.service.model.requests) == 2)
    installation = place.app.installations[0]
    installation.suspended = True
    for token in place.app.tokens:
        place.github.revoke(token.value)
    await place.until(lambda: "suspended" in place.service.logs())
    installation.suspended = False
    await place.ended(number)
    assert place.by_the_bot() == (1, 1)
    assert any("**Done" in (said.body or "") for said in place.github.comments(place.name, number, "issue_comment"))


async def test_a_delivery_that_failed_while_we_were_away_is_sent_again_and_worked_on_once(place: AppPlace) -> None:
    place.script(bash(MEND_CALC), finish())
    await end(place, "web")
    await end(place, "worker")
    with pytest.raises(httpx.ConnectError):
        await place.github.issue(place.name, "alice", f"add is wrong in {place.name}", "@onhand please fix it")
    place.service.start("web", "serve")
    await place.until(place.service._answers)
    place.service.start("worker", "worker")
    await place.ended(1)
    [lost] = [attempt for attempt in place.github.apps.attempts if attempt.status == 502]
    again = [attempt.status for attempt in place.github.apps.attempts if attempt.delivery == lost.delivery]
    assert again == [502, 202]
    assert place.by_the_bot() == (1, 1)
    events = await place.events(1)
    assert [event.get("observation") for event in events].count("run_started") == 1
