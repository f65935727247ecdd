"""`onhand demo`: the main job once, on real parts, against a local stand-in of GitHub."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path

import click
import httpx
import msgspec

from bot import bootstrap, registry
from bot.commands.service import end, free_port, start_bound
from bot.config import Settings
from bot.core.errors import ConfigError, OnhandError, SandboxError
from bot.core.inbound import Repository
from bot.core.platform import endpoint
from bot.core.ports import Sandboxes, Source
from bot.core.secret import Secret
from bot.testing.github import Enrolled, GitHubServer

REPOSITORY = "acme/shop"
_SECRET = "the-demo-webhook-secret"  # noqa: S105  of a hook that lives for a minute on loopback
_WISH = "After login people land on the start page instead of the page they wanted.\n\n@onhand please fix the login redirect"
_START_SECONDS, _STOP_SECONDS = 60.0, 30.0
_SCRIPT_SECONDS = 120.0

Say = Callable[[str], None]


async def demo(settings: Settings, as_json: bool) -> int:
    """Run it; print progress and the pull request, or one line of JSON. Returns the exit status."""
    begun = time.monotonic()
    say: Say = (lambda _: None) if as_json else click.echo
    kind = await _sandbox_kind(settings)
    model = settings.llm.model or "scripted (no model is configured, a script plays its part)"
    say(f"sandbox: {kind}\nmodel:   {model}")
    with tempfile.TemporaryDirectory(prefix="onhand-demo-") as name:
        folder = Path(name)
        async with GitHubServer(folder / "forge") as github:
            bot = await _set_the_scene(github)
            stage = _Stage(settings, folder, kind, github, bot)
            before = await stage.tests("main")
            say(f"tests on main: {before}")
            async with stage.service() as url:
                say(f"onhand up:    {url}")
                github.hook(endpoint(url, "github"), _SECRET)
                number = await github.issue(REPOSITORY, "alice", "Login redirect loses the page", _WISH)
                say(f"issue #{number} by alice: @onhand please fix the login redirect")
                await stage.until_ended(number, say)
            pulls = github.pulls(REPOSITORY)
            if not pulls or pulls[0].pull is None:
                raise OnhandError(f"no pull request came: {github.comments(REPOSITORY, number)[-1].body}")
            branch = pulls[0].pull.head
            after = await stage.tests(branch)
            address = f"{github.web_url}/{REPOSITORY}/pull/{pulls[0].number}"
            say(f"\n{address}\n{pulls[0].title}\n\n{pulls[0].body}\n\ntests on {branch}: {after}")
    if as_json:
        line = {"pull_request": address, "branch": branch, "tests_before": before, "tests_after": after}
        shown = settings.llm.model or "scripted"
        click.echo(json.dumps({**line, "model": shown, "sandbox": kind, "seconds": round(time.monotonic() - begun, 1)}))
    return 0 if (before, after) == ("failed", "passed") else 1


async def _sandbox_kind(settings: Settings) -> str:
    """Return the configured backend, else bubblewrap where it works, else plain processes with a warning."""
    if "sandbox.kind" in settings.origins:
        await bootstrap.open_sandboxes(settings).check()
        return settings.sandbox.kind
    try:
        await bootstrap.open_sandboxes(settings, "local").check()
    except ConfigError as error:
        click.echo(f"warning: no isolation: the sandbox is a plain process of this user ({error})", err=True)
        return "process"
    return "local"


async def _set_the_scene(github: GitHubServer) -> Enrolled:
    sample = files("bot.commands.sample")
    code = {name: (sample / f"{name}.txt").read_text() for name in ("login.py", "test_login.py")}
    github.person("alice")
    bot = github.person("onhand-bot")
    readme = {"README.md": "# shop\n\nRun the tests with `python3 -m unittest`.\n", ".gitignore": "__pycache__/\n"}
    await github.repository(REPOSITORY, {**readme, **code}, {"alice": "write", bot.login: "write"})
    return bot


class _Stage:
    """The folder, the stand-in and the settings that the demo's service gets."""

    def __init__(self, settings: Settings, folder: Path, kind: str, github: GitHubServer, bot: Enrolled) -> None:
        self._settings, self._folder, self._kind = settings, folder, kind
        self._github, self._bot = github, bot

    async def tests(self, branch: str) -> str:
        """Run the sample's tests on a branch, in a sandbox of their own: `passed` or `failed`."""
        checkout = registry.load("checkouts", "git")(self._folder / "mirrors")
        source = Source(Repository("github", REPOSITORY), f"{self._github.web_url}/{REPOSITORY}.git", branch)
        sandboxes: Sandboxes = bootstrap.open_sandboxes(self._settings, self._kind)
        commit = await checkout.fetch(source, Secret(self._bot.token))
        box = await sandboxes.create({"demo": "tests"})
        try:
            await checkout.put(source, commit, "tests", box, "demo <demo@localhost>", "demo <demo@localhost>")
            result = await box.run("cd ${WORKSPACE:-/workspace} && python3 -m unittest")
        finally:
            await box.remove()
            await sandboxes.close()
        if "Ran " not in result.output:
            raise SandboxError(f"the sample's tests did not run: {result.output[-500:]}")
        return "passed" if result.exit_code == 0 else "failed"

    @asynccontextmanager
    async def service(self) -> AsyncIterator[str]:
        """Run `onhand up` for the demo; yield its address."""
        port = free_port("127.0.0.1")
        url = f"http://127.0.0.1:{port}"
        with as_file(files("bot.commands.sample") / "script.json") as script, (self._folder / "log").open("wb") as log:
            environment = self._environment(port, script)
            process = await start_bound("up", cwd=self._folder, env=environment, stdout=log, stderr=log)
            try:
                await self._until_ready(process, url)
                yield url
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGINT)
                await end(process, _STOP_SECONDS)
                await self._remove_boxes()

    async def _remove_boxes(self) -> None:
        """Remove what a run that was cut off has left."""
        home = msgspec.structs.replace(self._settings, home=self._folder / "home")
        sandboxes = bootstrap.open_sandboxes(home, self._kind)
        for state, _ in await sandboxes.list():
            with contextlib.suppress(SandboxError):
                await sandboxes.remove(state)
        await sandboxes.close()

    def _environment(self, port: int, script: Path) -> dict[str, str]:
        llm, box = self._settings.llm, self._settings.sandbox
        ours = {
            "HOME": str(self._folder / "home"),
            "PORT": str(port),
            "GITHUB__WEBHOOK_SECRET": _SECRET,
            "GITHUB__TOKEN": self._bot.token,
            "GITHUB__BOT_LOGIN": self._bot.login,
            "GITHUB__API_URL": self._github.api_url,
            "GITHUB__WEB_URL": self._github.web_url,
            "SANDBOX__KIND": self._kind,
            "SANDBOX__IMAGE": box.image,
            "LLM__MODEL": llm.model or f"{bootstrap.SCRIPT}{script}",
            "LLM__BASE_URL": llm.base_url,
            "LLM__API_KEY": llm.api_key.reveal() if llm.api_key else "",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")}
        return kept | {f"ONHAND_{name}": value for name, value in ours.items() if value}

    async def _until_ready(self, process: asyncio.subprocess.Process, url: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline and process.returncode is None:
                try:
                    if (await client.get(f"{url}/ready")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)
        raise OnhandError(f"onhand did not start:\n{self._log()}")

    async def until_ended(self, number: int, say: Say) -> None:
        """Follow the status comment until it shows an ending."""
        patience = self._settings.limits.minutes * 60 + 60 if self._settings.llm.model else _SCRIPT_SECONDS
        deadline, shown = time.monotonic() + patience, ""
        while time.monotonic() < deadline:
            comments = self._github.comments(REPOSITORY, number)
            first = _headline(comments[0].body) if comments else ""
            if first != shown:
                shown = first
                say(f"  status comment: {shown}")
            if self._github.pulls(REPOSITORY) and comments and "pull/" in (comments[0].body or ""):
                return
            await asyncio.sleep(0.1)
        raise OnhandError(f"issue #{number} has no ending after {patience:.0f} s:\n{self._log()}")

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-4000:]


def _headline(body: str | None) -> str:
    """Return the first line of a comment that people see."""
    return next((line for line in (body or "").splitlines() if line and not line.startswith("<!--")), "")
