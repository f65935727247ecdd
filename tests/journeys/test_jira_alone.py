"""Jira before a service of its own: who is not linked, what was missed, the commands. Data Center, where not told."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.commands import operations
from bot.config import load
from bot.testing.github import GitHubServer
from tests.journeys.conftest import Place
from tests.journeys.faults.conftest import begin  # noqa: F401  # a fixture
from tests.journeys.steps import CANARIES
from tests.standins.jira import JiraServer
from tests.standins.jira_state import plain

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180), pytest.mark.xdist_group("jira-alone")]

EVENTS = "/api/integration/jira/events"
PAYLOADS = Path(__file__).parents[1] / "integrations" / "jira" / "payloads"


def settings(jira: JiraServer, **more: str) -> dict[str, str]:
    us = jira.person("onhand", token=CANARIES["jira"])
    return {
        "ONHAND_JIRA__WEBHOOK_SECRET": CANARIES["jira webhook"],
        "ONHAND_JIRA__URL": jira.url,
        "ONHAND_JIRA__API_TOKEN": CANARIES["jira"],
        **({"ONHAND_JIRA__EMAIL": "onhand@example.org"} if jira.cloud else {}),
        "ONHAND_JIRA__BOT_ACCOUNT_ID": us.id if jira.cloud else us.name,
        **more,
    }


@asynccontextmanager
async def company(begin: Any, folder: Path, jira: JiraServer, **more: str) -> AsyncIterator[Place]:  # noqa: F811
    """A service with Jira and GitHub, and a repository that is the default of the project APP."""
    jira.person("alice")
    name = "acme/app"
    default = {"ONHAND_REPOSITORIES__JIRA__APP": name}
    async with (
        begin(**settings(jira, **default, **more)) as service,
        GitHubServer(folder / "forge", port=service.github_port) as github,
    ):
        place = Place(service, github)
        place.name = name
        await place.set_up()
        yield place
        await place.client.aclose()


def said(jira: JiraServer, key: str) -> list[str]:
    return [plain(comment.body) for comment in jira.comments(key, "onhand")]


async def test_who_is_not_linked_is_asked_to_and_then_it_goes_on_by_itself(begin: Any, tmp_path: Path) -> None:  # noqa: F811
    async with (
        JiraServer(cloud=False) as jira,
        company(begin, tmp_path, jira, ONHAND_AUTH__STRATEGY="multi_user") as place,
    ):
        jira.hook(f"{place.service.url}{EVENTS}", CANARIES["jira webhook"])
        key = await jira.issue("APP", "alice", "add is wrong", "[~onhand] fix it")
        await place.until(lambda: said(jira, key))
        [asked] = said(jira, key)
        page = await place.client.get(asked.partition("by myself: ")[2].strip().replace("\\", ""))
        assert f"onhand users link jira:alice --id {jira.people['alice'].id}" in page.text
        mine = load(place.service.environment)
        await operations.link(mine, "jira:alice", "alice", None, "")
        await operations.link(mine, "github:alice", "alice", None, "")
        await place.until(lambda: len(said(jira, key)) == 2 and "Done" in said(jira, key)[1])
        [pull] = place.pulls()
        assert f"/browse/{key}" in pull.body


@pytest.mark.parametrize("cloud", [True, False], ids=["cloud", "data-center"])
async def test_what_was_asked_while_nobody_listened_is_done_once(begin: Any, tmp_path: Path, cloud: bool) -> None:  # noqa: F811
    async with JiraServer(cloud=cloud) as jira:
        jira.person("onhand", token=CANARIES["jira"])
        jira.person("alice")
        key = await jira.issue("APP", "alice", "add is wrong", "It is.")
        await jira.comment(key, "alice", "@onhand fix it")
        async with company(begin, tmp_path, jira) as place:
            jira.hook(f"{place.service.url}{EVENTS}", CANARIES["jira webhook"])
            await place.until(lambda: said(jira, key) and "Done" in said(jira, key)[0])
            for delivery in jira.deliveries:
                [answer] = await jira.send(delivery)
                assert answer.status_code == 200
            assert len(place.pulls()) == len(said(jira, key)) == 1


async def test_a_token_that_is_not_taken_any_more_is_tried_again_later(begin: Any, tmp_path: Path) -> None:  # noqa: F811
    async with JiraServer(cloud=False) as jira, company(begin, tmp_path, jira) as place:
        jira.hook(f"{place.service.url}{EVENTS}", CANARIES["jira webhook"])
        refusal = jira.fail("GET", "/rest/api/2/user", 401, 3)
        key = await jira.issue("APP", "alice", "add is wrong", "@onhand fix it")
        await refusal.met()
        await place.until(lambda: said(jira, key) and "Done" in said(jira, key)[0], 90)
        assert len(place.pulls()) == len(said(jira, key)) == 1


# --- an administrator's commands --------------------------------------------------------------------------------------


async def onhand(folder: Path, environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bot", *arguments],
        cwd=folder,
        env={**outside, "ONHAND_HOME": str(folder / "home"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_the_doctor_checks_intake_and_token(tmp_path: Path) -> None:
    async with JiraServer() as jira:
        _, told = await onhand(tmp_path, settings(jira), "doctor", "--json")
        rows = {
            row["check"]: row for row in map(json.loads, filter(lambda row: row.startswith("{"), told.splitlines()))
        }
        assert rows["jira intake"]["ok"]
        assert rows["jira token"]["ok"]
        assert "acts as Onhand" in rows["jira token"]["detail"]
        _, told = await onhand(tmp_path, settings(jira, ONHAND_JIRA__API_TOKEN="another"), "doctor", "--json")
        assert '"check": "jira token", "ok": false' in told
        assert not any(CANARIES[name] in told for name in ("jira", "jira webhook"))


async def test_init_registers_the_webhook_of_the_projects(tmp_path: Path) -> None:
    async with JiraServer() as jira:
        environment = settings(jira, ONHAND_PUBLIC_URL="https://onhand.example")
        status, told = await onhand(tmp_path, environment, "init", "jira", "APP", "WEB")
        assert (status, "is registered" in told) == (0, True), told
        assert jira.webhooks[0]["filters"] == {"issue-related-events-section": "project in (APP, WEB)"}


async def test_recorded_deliveries_are_sent_again_as_jira_signs_them(begin: Any, tmp_path: Path) -> None:  # noqa: F811
    async with JiraServer(cloud=False) as jira, company(begin, tmp_path, jira) as place:
        files = [PAYLOADS / f"{name}.json" for name in ("comment_created__nothing_for_us", "issue_deleted__mention")]
        environment = dict(place.service.environment)
        status, told = await onhand(tmp_path, environment, "replay", "jira", *map(str, files))
        assert (status, told.count('"ignored"')) == (0, 2), told
