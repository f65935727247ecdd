"""The embedded Redis: it starts, keeps what it was given, and ends with its owner."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis

from bot.core.errors import ConfigError
from bot.redis_server import EmbeddedRedis, running
from tests.processes import outliving

OWNER = """
import asyncio, sys
from pathlib import Path
from bot.redis_server import EmbeddedRedis

async def main():
    print(await EmbeddedRedis(Path(sys.argv[1])).start(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    embedded = EmbeddedRedis(tmp_path)
    yield embedded
    await embedded.stop()


async def put(url: str, key: str, value: str) -> None:
    async with Redis.from_url(url) as client:
        await client.set(key, value)


async def value_of(url: str, key: str) -> bytes | None:
    async with Redis.from_url(url) as client:
        value: bytes | None = await client.get(key)
        return value


def servers_on(folder: Path) -> list[psutil.Process]:
    """The redis-servers whose folder this is."""
    wanted = {"name": "redis-server", "cwd": str(folder)}
    return [process for process in psutil.process_iter(["name", "cwd"]) if process.info == wanted]


async def test_it_answers_on_a_socket_that_only_we_can_reach(server: EmbeddedRedis, tmp_path: Path) -> None:
    url = await server.start()
    assert url == f"unix://{tmp_path}/redis/redis.sock"
    await put(url, "a", "1")
    assert await value_of(url, "a") == b"1"
    assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "redis" / "redis.sock").stat().st_mode) == 0o700
    [process] = servers_on(tmp_path / "redis")
    assert [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []


async def another_owner(folder: Path, key: str, value: str) -> asyncio.subprocess.Process:
    """Start the server from a process of its own, and put something in."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    await put((await owner.stdout.readline()).decode().strip(), key, value)
    return owner


async def test_stopping_ends_it_and_keeps_what_it_holds(server: EmbeddedRedis, tmp_path: Path) -> None:
    await put(await server.start(), "a", "1")
    await server.stop()
    await server.stop()
    assert servers_on(tmp_path / "redis") == []
    assert await value_of(await server.start(), "a") == b"1"


async def test_it_ends_with_an_owner_that_was_killed_and_the_next_one_goes_on(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    owner = await another_owner(tmp_path, "a", "1")
    [orphan] = servers_on(tmp_path / "redis")
    owner.kill()
    await owner.wait()
    assert await asyncio.to_thread(outliving, [orphan], 10) == []
    assert await value_of(await server.start(), "a") == b"1"


async def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_server(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    owner = await another_owner(tmp_path, "a", "1")
    owner.kill()
    assert await value_of(await server.start(), "a") == b"1"
    await owner.wait()
    assert len(servers_on(tmp_path / "redis")) == 1


async def test_a_server_that_was_killed_leaves_nothing_that_stands_in_the_way(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    await put(await server.start(), "a", "1")
    [process] = servers_on(tmp_path / "redis")
    process.kill()
    await server.stop()
    assert (tmp_path / "redis" / "redis.sock").exists()
    assert await value_of(await server.start(), "a") == b"1"


async def test_a_folder_in_use_is_refused_and_the_first_owner_goes_on(
    server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.redis_server._LOCK_SECONDS", 0.1)
    url = await server.start()
    with pytest.raises(ConfigError, match="another onhand"):
        await EmbeddedRedis(tmp_path).start()
    await put(url, "a", "1")


async def test_another_process_finds_the_running_one(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert await running(tmp_path) is None
    url = await server.start()
    assert await running(tmp_path) == url
    await server.stop()
    assert await running(tmp_path) is None


async def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    embedded = EmbeddedRedis(tmp_path / ("long" * 20) / ("longer" * 10))
    url = await embedded.start()
    await put(url, "a", "1")
    await embedded.stop()
    socket = Path(url.removeprefix("unix://"))
    assert len(os.fsencode(socket)) <= 100
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    socket.parent.rmdir()


async def test_a_server_that_cannot_start_says_where_to_look(server: EmbeddedRedis, tmp_path: Path) -> None:
    (tmp_path / "redis" / "appendonly.aof").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"redis\.log"):
        await server.start()
    assert (tmp_path / "redis" / "appendonly.aof").exists(), "nobody said that it was bad"


async def test_a_damaged_file_is_set_aside_and_it_starts_empty(server: EmbeddedRedis, tmp_path: Path) -> None:
    file, kept = tmp_path / "redis" / "appendonly.aof", tmp_path / "redis" / "appendonly.aof.bad"
    for value in ("1", "2"):
        url = await server.start()
        assert await value_of(url, "a") is None
        await put(url, "a", value)
        await server.stop()
        file.write_bytes(damaged := file.read_bytes() + bytes(4096))  # as after a power loss
        assert await value_of(await server.start(), "a") is None
        assert kept.read_bytes() == damaged
        await server.stop()
