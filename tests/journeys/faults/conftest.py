"""Services of their own for faults that break one: a script instead of a model, so that a process is up in two seconds."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from bot.commands.service import free_port
from bot.redis_server import EmbeddedRedis, _socket_path
from bot.testing.github import GitHubServer
from bot.testing.models import ModelServer
from tests.journeys.conftest import Place, Scripts, Service, _need_sandbox, _remove_boxes
from tests.journeys.faults.proxy import Proxy
from tests.journeys.steps import CANARIES, MEND_CALC, bash, finish

MENDS = [bash(MEND_CALC), finish()]
"""The script of every conversation here, unless a test brings its own."""

Begin = Callable[..., AbstractAsyncContextManager[Service]]


def new_service(folder: Path, sandbox: str, redis_url: str, more: Mapping[str, str], script: Any = MENDS) -> Service:
    """Return a service that is not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.json").write_text(json.dumps(script))
    github_port = free_port("127.0.0.1")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")},
        "ONHAND_HOME": str(folder / "home"),
        "ONHAND_PORT": str(free_port("127.0.0.1")),
        "ONHAND_REDIS_URL": redis_url,
        "ONHAND_LOG_JSON": "1",
        "ONHAND_SECRET_KEYS": CANARIES["keys"],
        "ONHAND_SANDBOX__KIND": sandbox,
        "ONHAND_LLM__MODEL": f"script:{folder / 'script.json'}",
        "ONHAND_GITHUB__WEBHOOK_SECRET": CANARIES["webhook"],
        "ONHAND_GITHUB__TOKEN": CANARIES["github"],
        "ONHAND_GITHUB__BOT_LOGIN": "onhand-bot",
        "ONHAND_GITHUB__API_URL": f"http://127.0.0.1:{github_port}/api/v3",
        "ONHAND_GITHUB__WEB_URL": f"http://127.0.0.1:{github_port}",
        **more,
    }
    return Service("scripted", folder, environment, github_port, Scripts(), ModelServer([]))


@pytest.fixture
def begin(tmp_path: Path, need: Any) -> Begin:
    """Start a service of the test's own: `async with begin(sandbox=..., script=..., ONHAND_...=...) as service`.

    Its own Redis is in `tmp_path / "redis"`. `web` are settings of the web process alone.
    """

    @asynccontextmanager
    async def start(
        sandbox: str = "process", script: Any = MENDS, web: Mapping[str, str] | None = None, **more: str
    ) -> AsyncIterator[Service]:
        if sandbox != "process":
            _need_sandbox(sandbox, need)
        redis = EmbeddedRedis(tmp_path)
        service = new_service(tmp_path / "service", sandbox, await redis.start(), more, script)
        common = dict(service.environment)
        service.environment.update(web or {})
        service.start("web", "serve")
        service.environment.clear()
        service.environment.update(common)
        service.start("worker", "worker")
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield service
        finally:
            await asyncio.to_thread(service.stop)
            await _remove_boxes(service.environment)
            await redis.stop()

    return start


@asynccontextmanager
async def place_at(service: Service, folder: Path) -> AsyncIterator[Place]:
    """A repository at the stand-in, in front of a service."""
    async with GitHubServer(folder / "forge", port=service.github_port) as github:
        there = Place(service, github)
        await there.set_up()
        yield there
        await there.client.aclose()


async def put_to_sleep(service: Service, process: "subprocess.Popen[bytes]") -> None:
    """Stop a process (SIGSTOP), but not in the middle of a write to SQLite: nobody else could write until it wakes."""
    database = service.folder / "home" / "onhand.sqlite"
    process.send_signal(signal.SIGSTOP)
    while database.exists() and _is_locked(database):
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGSTOP)


def _is_locked(database: Path) -> bool:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


@pytest.fixture(scope="session")
def scripted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, need: Any) -> Iterator[Service]:
    """A scripted service that survives what its tests do to it; to be parametrized with (database, sandbox)."""
    database, sandbox = request.param
    _need_sandbox(sandbox, need)
    folder = tmp_path_factory.mktemp("scripted")
    redis = EmbeddedRedis(folder)
    more = {"ONHAND_LIMITS__CONCURRENT_RUNS": "16"}  # in no test here does a run wait for another's end
    if database == "postgresql":
        server = request.getfixturevalue("postgres")
        more["ONHAND_DATABASE_URL"] = server.create(f"faults-{uuid.uuid4().hex[:8]}", "migrated")
    service = new_service(folder, sandbox, asyncio.run(redis.start()), more)
    service.start("web", "serve")
    service.start("worker", "worker")
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.stop()
        asyncio.run(_remove_boxes(service.environment))
        asyncio.run(redis.stop())


@pytest.fixture
async def redis_proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    """A proxy in front of the Redis of `begin`."""
    async with Proxy(str(_socket_path(tmp_path / "redis"))) as proxy:
        yield proxy


@pytest.fixture
async def spot(scripted: Service, tmp_path: Path) -> AsyncIterator[Place]:
    """A repository of the test's own in front of the scripted service."""
    async with place_at(scripted, tmp_path) as there:
        yield there


SQLITE = pytest.param(("sqlite", "local"), marks=pytest.mark.xdist_group("faults-sqlite"), id="sqlite-local")
POSTGRESQL = pytest.param(
    ("postgresql", "docker"),
    marks=[pytest.mark.xdist_group("faults-postgresql"), pytest.mark.docker],
    id="postgresql-docker",
)
