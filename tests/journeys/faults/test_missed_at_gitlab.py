"""A comment that no hook brought, by somebody who has not connected the account yet."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.commands.service import free_port
from tests.journeys.gitlab_project import FILES
from tests.journeys.surroundings import gitlab_settings
from tests.standins.gitlab import GitLabServer

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

PROJECT = "acme/shop/web"
A_WHILE_AGO = 300.0
"""Seconds: longer than a hook may take, and not before what a first look goes back."""


async def test_a_comment_that_no_hook_brought_is_found_and_goes_on_once_its_author_is_known(
    begin: Any, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1")
    async with GitLabServer(tmp_path / "gitlab", port=port, clock=lambda: time.time() - A_WHILE_AGO) as gitlab:
        alice = gitlab.person("alice")
        gitlab.person("onhand-bot", bot=True)
        await gitlab.project(PROJECT, FILES, {"alice": 30, "onhand-bot": 30})
        number = await gitlab.issue(PROJECT, "alice", "add is wrong", "It subtracts.")
        await gitlab.note(PROJECT, number, "alice", "@onhand fix it")

        def said() -> list[str]:
            return [
                note["body"] for note in gitlab.notes(PROJECT, number) if note["author"]["username"] == "onhand-bot"
            ]

        async with begin(ONHAND_AUTH__STRATEGY="multi_user", **gitlab_settings(port)) as service:
            await until(said, service)
            [polite] = said()
            assert "/api/auth/connect?ticket=" in polite
            link = ["users", "link", "gitlab:alice", "--id", str(alice.id), "--user", "ada"]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", *link, env=service.environment, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert "1 waiting request went on" in output.decode()
            await until(lambda: any("**Done" in text for text in said()), service)
        assert len(gitlab.merge_requests(PROJECT)) == 1
        assert gitlab.deliveries
        assert not any(delivery.status for delivery in gitlab.deliveries), "no hook was there"


async def until(what: Callable[[], Any], service: Any) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, service.logs()[-4000:]
        await asyncio.sleep(0.05)
