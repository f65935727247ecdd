"""The service that the storm blows over: Redis, a database, one web process, some workers, stand-ins of GitHub and a model."""

import asyncio
import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil

from bot import bootstrap, config
from bot.commands.service import free_port
from bot.core.errors import SandboxError
from bot.redis_server import EmbeddedRedis
from bot.testing.github import GitHubServer
from bot.testing.models import ModelServer
from tests.conftest import postgres_for_a_while
from tests.journeys.steps import CANARIES, SAMPLE
from tests.journeys.surroundings import environment
from tests.processes import kill_box, living, outliving

REPOSITORIES = [f"acme/app-{letter}" for letter in "abcd"]
PEOPLE = ["alice", "carol"]

_UNLIMITED = {
    "ONHAND_LIMITS__CONCURRENT_RUNS": "32",
    **dict.fromkeys([f"ONHAND_LIMITS__PER_{what}" for what in ("PERSON", "REPOSITORY", "THREAD")], "0"),
    "ONHAND_LIMITS__LOOP_REQUESTS": "0",
}


@dataclass
class Ground:
    """Everything that runs."""

    folder: Path
    environment: dict[str, str]
    github: GitHubServer
    model: ModelServer
    redis: EmbeddedRedis
    nursery: "Starter"
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    died: list[str] = field(default_factory=list)
    """Names of processes that ended though nobody killed them."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['ONHAND_PORT']}"

    @property
    def workers(self) -> list[str]:
        return [name for name in self.processes if name.startswith("worker")]

    async def start(self, name: str) -> None:
        """Start the web process (`web`) or a worker (`worker-N`)."""
        command = "serve" if name == "web" else "worker"
        pid = await asyncio.to_thread(self.nursery.start, self.folder / f"{name}.log", command)
        self.processes[name] = psutil.Process(pid)

    async def kill(self, name: str) -> int:
        """Kill a process at once, and start another in its place; return the pid of the killed one."""
        victim = self.processes[name]
        if living(victim):
            victim.kill()
        else:
            self.died.append(f"{name} (pid {victim.pid})")
        await self.start(name)
        return int(victim.pid)

    async def kill_redis(self, empty: bool) -> None:
        """Kill Redis and start it again; with `empty`, without anything that it knew."""
        assert self.redis._process is not None
        for child in psutil.Process(self.redis._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # the shell's helpers come and go
                if "redis-server" in child.name():
                    child.kill()
        await self.redis.stop()
        if empty:
            for kept in self.redis.folder.glob("*.aof"):
                kept.unlink()
        await self.redis.start()

    async def kill_box(self, which: float) -> None:
        """Kill all that runs in one of the boxes that there are now; `which` (0 to 1) says in which."""
        sandboxes = bootstrap.open_sandboxes(config.load(self.environment))
        states = sorted(state for state, _ in await sandboxes.list())
        await sandboxes.close()
        if states:
            state = states[int(which * len(states))]
            await asyncio.to_thread(kill_box, self.folder / "home" / "boxes", sandboxes.name, state)

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    async def ready(self) -> None:
        """Wait until the web process answers and every worker has said that it is ready."""
        async with asyncio.timeout(90):
            while self.logs().count("is ready") < len(self.workers) or not await self.answers():
                await asyncio.sleep(0.1)

    async def answers(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"{self.url}/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def end(self) -> None:
        """Stop every process in the ordinary way, by force what does not."""
        for process in self.processes.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in self.processes.values():
            await asyncio.to_thread(_gone, process, 20)


class Starter(Protocol):
    """Starts `onhand ARGUMENTS`."""

    def start(self, log: Path, *arguments: str) -> int: ...

    def close(self) -> None: ...


class Cold:
    """Starts each process as people do. Implements Starter."""

    def __init__(self, environment: Mapping[str, str], _folder: Path) -> None:
        self._environment = environment
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, log: Path, *arguments: str) -> int:
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "bot", *arguments, "--bound"],
                env=self._environment, cwd=Path(__file__).parents[2], start_new_session=True,
                stdin=subprocess.PIPE, stdout=out, stderr=out,
            )  # fmt: skip
        self._started.append(process)
        return process.pid

    def close(self) -> None:
        for process in self._started:
            process.wait(30)


class Nursery:
    """The process that forks the others; see tests/chaos/nursery.py. Implements Starter."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            env=environment, cwd=Path(__file__).parents[2], text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "nursery.log").open("w"),
        )  # fmt: skip
        assert self._ask() == "ready", (folder / "nursery.log").read_text()

    def start(self, log: Path, *arguments: str) -> int:
        return int(self._ask([str(log), *arguments]))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _ask(self, line: list[str] | None = None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if line is not None:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@asynccontextmanager
async def ground(
    pair: str,
    model: ModelServer,
    workers: int,
    folder: Path,
    more: Mapping[str, str] | None = None,
    *,
    warm: bool = True,
) -> AsyncIterator[Ground]:
    """Lay it out for a pair such as `sqlite-local`, and clear it away. `warm`: processes are forked from one that has
    imported everything; `more` are further settings.
    """
    database, _, sandbox = pair.partition("-")
    port = free_port("127.0.0.1")
    redis = EmbeddedRedis(folder)
    with database_of(database) as database_url:
        told = environment(folder, await redis.start(), sandbox, port, model.base_url) | database_url
        told |= _UNLIMITED | (more or {})
        nursery = await asyncio.to_thread(Nursery if warm else Cold, told, folder)
        async with GitHubServer(folder / "forge", port=port) as github:
            laid = Ground(folder, told, github, model, redis, nursery)
            try:
                await _people_and_code(github, laid.url)
                await laid.start("web")
                for number in range(workers):
                    await laid.start(f"worker-{number}")
                await laid.ready()
                yield laid
            finally:
                await laid.end()
                await asyncio.to_thread(nursery.close)
                await _remove_boxes(told)
                await redis.stop()


@contextmanager
def database_of(kind: str) -> Any:
    """Yield what the environment has to say of the database: nothing for the embedded one."""
    if kind == "sqlite":
        yield {}
        return
    with postgres_for_a_while() as server:
        yield {"ONHAND_DATABASE_URL": server.create(f"chaos-{uuid.uuid4().hex[:8]}", "migrated")}


async def _people_and_code(github: GitHubServer, url: str) -> None:
    for login in (*PEOPLE, "onhand-bot"):
        github.person(login)
    for name in REPOSITORIES:
        await github.repository(name, SAMPLE, dict.fromkeys([*PEOPLE, "onhand-bot"], "write"))
    github.hook(f"{url}/api/integration/github/events", CANARIES["webhook"])


async def _remove_boxes(environment: Mapping[str, str]) -> None:
    sandboxes = bootstrap.open_sandboxes(config.load(environment))
    for state, _ in await sandboxes.list():
        with contextlib.suppress(SandboxError):
            await sandboxes.remove(state)
    await sandboxes.close()


def _gone(process: psutil.Process, seconds: float) -> None:
    while outliving([process], seconds):
        process.kill()
