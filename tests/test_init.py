"""`onhand init github` as a process, with a small GitHub and a browser that follows the form."""

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from html import unescape
from pathlib import Path

import httpx
import pytest

from bot.commands import settings_file
from bot.core.errors import ConfigError
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.github import GitHubServer
from bot.testing.openapi import check_requests
from integrations.github.client import GitHub
from integrations.github.manifest import EVENTS, PERMISSIONS

DESCRIPTION = Path(__file__).parent / "integrations" / "github" / "api.json"


def start(folder: Path, server: GitHubServer, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")} | {
        "ONHAND_PUBLIC_URL": "https://onhand.example",
        "ONHAND_GITHUB__API_URL": server.api_url,
        "ONHAND_GITHUB__WEB_URL": server.web_url,
        "PYTHONUNBUFFERED": "1",
        **more,
    }
    command = [sys.executable, "-m", "bot", "init", "github", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


async def test_a_code_that_is_spent_is_said_with_what_to_do(tmp_path: Path) -> None:
    async with GitHubServer(tmp_path / "git") as server, httpx.AsyncClient(trust_env=False) as browser:
        process = start(tmp_path, server)
        try:
            page = re.findall(r"http://[\d.:]+", first_line(process))[0]
            state = re.findall(r"state=([\w-]+)", (await browser.get(page)).text)[0]
            await browser.get(f"{page}/made", params={"code": "spent", "state": state})
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 1
    assert "run onhand init github again" in err
    assert not (tmp_path / "onhand.toml").exists()


async def test_the_app_is_made_in_the_browser_and_its_settings_are_written(tmp_path: Path) -> None:
    file = tmp_path / "onhand.toml"
    file.write_text("# kept\n[limits]\nsteps = 7\n\n[github]\ntimeout = 5  # seconds\n")
    async with GitHubServer(tmp_path / "git") as server, httpx.AsyncClient(trust_env=False, timeout=5) as browser:
        process = start(tmp_path, server, "--organization", "acme", "--name", "Onhand of Acme")
        try:
            page = re.findall(r"http://[\d.:]+", first_line(process))[0]
            _, ahead = await asyncio.open_connection("127.0.0.1", int(page.rpartition(":")[2]))
            assert (await browser.get(f"{page}/made", params={"code": "x", "state": "forged"})).status_code == 400
            form = unescape((await browser.get(page)).text)
            action, manifest = re.findall(r'action="([^"]+)"', form)[0], re.findall(r'value="(.*)"><button', form)[0]
            posted = await browser.post(action, data={"manifest": manifest})
            assert (await browser.get(posted.headers["location"])).status_code == 200
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        ahead.close()  # a browser's connection that brings no request holds nothing up
        assert process.returncode == 0, err
        (app,) = server.apps.apps.values()
        assert check_requests(server.requests, json.loads(DESCRIPTION.read_bytes())) == []
        written = tomllib.loads(file.read_text())
        assert action.startswith(f"{server.web_url}/organizations/acme/settings/apps/new?state=")
        assert app.manifest["hook_attributes"]["url"] == "https://onhand.example/api/integration/github/events"
        assert (app.manifest["default_permissions"], app.manifest["default_events"]) == (
            dict(PERMISSIONS),
            list(EVENTS),
        )
        assert written["github"]["private_key"] == app.key
        assert (written["github"]["app_id"], written["github"]["bot_login"]) == (str(app.id), "onhand-of-acme[bot]")
        assert (written["limits"], written["github"]["timeout"]) == ({"steps": 7}, 5)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert f"{server.web_url}/apps/onhand-of-acme/installations/new" in out
        assert app.webhook_secret not in out + err
        assert "PRIVATE KEY" not in out + err
        server.install(app)
        hidden = ("private_key", "webhook_secret", "client_secret")
        given = {name: Secret(value) if name in hidden else value for name, value in written["github"].items()}
        urls = {"api_url": server.api_url, "web_url": server.web_url}
        client = GitHub(GitHub.Settings(**given, **urls), Us())
        assert await client.check() == "App onhand-of-acme, installed at 1 place"
        await client.close()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"ONHAND_GITHUB__TOKEN": "ghp_1234567"}, "ONHAND_GITHUB__TOKEN set already"),
        ({"ONHAND_PUBLIC_URL": ""}, "ONHAND_PUBLIC_URL: expected"),
    ],
)
async def test_what_would_not_work_is_said_before_an_app_is_made(
    tmp_path: Path, given: dict[str, str], named: str
) -> None:
    async with GitHubServer(tmp_path / "git") as server:
        process = start(tmp_path, server, **given)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert named in err


def test_a_file_that_cannot_be_written_is_said_before_an_app_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder that can be written to"):
        settings_file.refuse_what_is_set(tmp_path / "none" / "onhand.toml", "github", ("app_id",))


def test_nothing_that_is_set_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "onhand.toml"
    file.write_text('[github]\napp_id = "1"\n')
    with pytest.raises(ConfigError, match="app_id already"):
        settings_file.add(file, "github", {"app_id": "2", "client_id": "3"})
    assert file.read_text() == '[github]\napp_id = "1"\n'


@pytest.mark.parametrize(
    "old", ["", "home = '/x'", "[github]", "[github] # ours\n[limits]\nsteps = 1\n", "[github.x]\ny = 1\n"]
)
def test_a_file_of_any_layout_keeps_what_it_says(tmp_path: Path, old: str) -> None:
    file = tmp_path / "onhand.toml"
    file.write_text(old)
    settings_file.add(file, "github", {"app_id": "1", "private_key": Secret('a\n"b"\n')})
    new = tomllib.loads(file.read_text())
    github = new.pop("github")
    assert (github.pop("app_id"), github.pop("private_key")) == ("1", 'a\n"b"\n')
    before = tomllib.loads(old)
    assert github == before.pop("github", {})
    assert new == before


def test_a_layout_that_cannot_be_added_to_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "onhand.toml"
    file.write_text("github = { timeout = 5 }\n")
    with pytest.raises(ConfigError):
        settings_file.add(file, "github", {"app_id": "1"})
    assert file.read_text() == "github = { timeout = 5 }\n"
