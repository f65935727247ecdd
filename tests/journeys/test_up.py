"""`onhand up` on embedded defaults: one process tree that comes up, works, and goes without a trace. And `onhand demo`."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bot.commands.service import free_port
from tests.conftest import postgres_for_a_while
from tests.processes import outliving

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


@asynccontextmanager
async def up(home: Path, **more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`onhand up` when it says that it is; what it says on standard error is in `said` beside its home."""
    port = free_port("127.0.0.1")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "up",
        env={
            **environment,
            "ONHAND_HOME": str(home),
            "ONHAND_PORT": str(port),
            "ONHAND_SANDBOX__KIND": "process",
            "ONHAND_GITHUB__WEBHOOK_SECRET": "a secret for the test",
            **more,
        },
        stdout=asyncio.subprocess.PIPE, stderr=(home.parent / "said").open("wb"), start_new_session=True, cwd=home.parent,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while b"onhand is up" not in (line := await process.stdout.readline()):
                assert line, "it has ended"
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def tree(process: asyncio.subprocess.Process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


async def test_ctrl_c_ends_all_of_it_and_it_comes_up_again(tmp_path: Path) -> None:
    for _ in range(2):
        async with up(tmp_path / "home") as (process, url):
            children = tree(process)
            names = " ".join(" ".join(child.cmdline()) for child in children)
            assert "redis-server" in names
            assert " serve " in names
            assert " worker " in names
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(f"{url}/ready")).json() == {"database": "ok", "redis": "ok"}
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                assert await process.wait() == 0
            assert await asyncio.to_thread(outliving, children, 30.0) == []
    assert (tmp_path / "home" / "onhand.sqlite").exists()
    assert (tmp_path / "home" / "secret.keys").stat().st_mode & 0o777 == 0o600


async def test_nothing_stays_behind_when_it_is_killed(tmp_path: Path) -> None:
    async with up(tmp_path / "home") as (process, _):
        children = tree(process)
        process.kill()
        await process.wait()
        assert await asyncio.to_thread(outliving, children, 30.0) == []


@pytest.mark.parametrize("word", ["worker", "serve", "redis-server"])
async def test_what_is_killed_is_started_again_however_soon_and_often(word: str, tmp_path: Path) -> None:
    async with up(tmp_path / "home") as (process, url), httpx.AsyncClient(trust_env=False) as client:
        known: set[int] = set()

        async def another() -> psutil.Process:
            while True:
                for child in tree(process):
                    words = _words(child)  # the shell that watches over Redis names it as well
                    if child.pid not in known and words[:1] != ["/bin/sh"] and any(word in part for part in words):
                        return child
                await asyncio.sleep(0.1)

        async def ready() -> bool:
            try:
                return (await client.get(f"{url}/ready")).status_code == 200
            except httpx.TransportError:
                return False

        async with asyncio.timeout(60):
            for _ in range(2):
                child = await another()
                known.add(child.pid)
                child.kill()
            await another()
            while not await ready():
                await asyncio.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


def workers(process: asyncio.subprocess.Process) -> set[psutil.Process]:
    return {child for child in tree(process) if "worker" in _words(child)}


async def test_a_worker_that_dies_while_the_database_is_away_is_back_when_it_is(tmp_path: Path, postgres: Any) -> None:
    with postgres_for_a_while() as server:
        async with up(tmp_path / "home", ONHAND_DATABASE_URL=server.create("up", "migrated")) as (process, _):
            said = tmp_path / "said"

            def ready(worker: psutil.Process) -> bool:
                return f"-{worker.pid} is ready" in said.read_text()

            async with asyncio.timeout(90):
                [first] = workers(process)
                while not ready(first):
                    await asyncio.sleep(0.1)
                server.stop()
                first.kill()
                tried: set[psutil.Process] = set()
                while len(tried - workers(process)) < 3:  # the first, and two that found no database
                    assert process.returncode is None
                    tried |= workers(process) | {first}
                    await asyncio.sleep(0.05)
                server.start()
                while not any(ready(worker) for worker in workers(process)):
                    assert process.returncode is None
                    await asyncio.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
        assert said.read_text().count("onhand: worker died") == 2, (
            "once that it was killed, once that it could not start"
        )


async def test_a_worker_that_cannot_start_at_all_ends_it(tmp_path: Path) -> None:
    no_engine = {"ONHAND_SANDBOX__KIND": "docker", "DOCKER_HOST": f"unix://{tmp_path}/nowhere"}
    with suppress(AssertionError):  # it may end before it is up
        async with up(tmp_path / "home", **no_engine) as (process, _):
            async with asyncio.timeout(60):
                assert await process.wait() != 0
    said = (tmp_path / "said").read_text()
    assert "worker cannot start" in said or "worker ended while starting" in said


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _has_image() -> bool:
    image = ["docker", "image", "inspect", "onhand-sandbox"]
    return bool(shutil.which("docker")) and subprocess.run(image, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["local", "process", pytest.param("docker", marks=pytest.mark.docker)])
async def test_the_demo_ends_in_a_pull_request(kind: str, need: Any, tmp_path: Path) -> None:
    if kind == "local":
        need(shutil.which("bwrap"), "bubblewrap (deploy/engine.sh)")
    if kind == "docker":
        need(_has_image(), "a Docker engine with the image onhand-sandbox (deploy/engine.sh)")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "demo", "--json",
        env={**environment, "ONHAND_SANDBOX__KIND": kind}, stdout=asyncio.subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    [line] = out.decode().splitlines()
    shown = json.loads(line)
    assert (shown["tests_before"], shown["tests_after"]) == ("failed", "passed")
    assert (shown["model"], shown["sandbox"]) == ("scripted", kind)
    assert "/pull/" in shown["pull_request"]
