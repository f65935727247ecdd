"""What operators do and are told: linking an account lets what waited for it go on; a Redis that is no good is named."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis

from bot import bootstrap, config
from bot.commands import doctor, operations
from bot.core.conversation import conversation_id
from bot.core.events import Draft, Waiting
from bot.core.inbound import Account, Delivery, Origin, Repository, Thread, Trigger
from bot.core.mentions import Request
from bot.redis_server import EmbeddedRedis
from bot.store import upgrade
from tests.conftest import PostgresServer
from tests.test_redis_server import servers_on

THREAD = Thread("github", "acme/app", "1")
ALICE = Account("github", "7", "alice")


async def test_a_request_that_waits_for_an_account_is_rung_for_when_it_is_linked(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = with_people(database_url, redis_url, tmp_path)
    await ask_and_wait(settings)
    said = await operations.link(settings, "github:alice", "ada", "7", "")
    assert said == "github:alice (7) belongs to ada; 1 waiting request went on"
    async with bootstrap.build(settings) as built:
        assert await built.bus.redis.zcard("onhand:actions") == 1
        user = await built.services.auth.user_of(ALICE)
        assert user is not None
        assert user.id == "ada"


async def test_an_account_is_linked_without_redis_and_what_waited_for_it_is_left_to_the_sweep(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await ask_and_wait(with_people(database_url, redis_url, tmp_path))
    away = with_people(database_url, "unix:///nowhere/redis.sock", tmp_path)
    said = await operations.link(away, "github:alice", "ada", "7", "")
    assert said.startswith("github:alice (7) belongs to ada; 1 waiting request will go on when Redis is back (Redis is")
    async with bootstrap.build(away) as built:
        assert await built.services.inbox.unanswered(0) == [(conversation_id(THREAD), 1, "connected")]


async def test_who_waits_for_a_person_is_no_fault_that_doctor_finds(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = with_people(f"sqlite:///{tmp_path}/onhand.sqlite", redis_url, tmp_path)
    await upgrade(f"sqlite:///{tmp_path}/onhand.sqlite")
    await ask_and_wait(settings)
    with closing(sqlite3.connect(tmp_path / "onhand.sqlite")) as raw, raw:
        raw.execute("UPDATE requests SET asked_at = asked_at - 1000")
    await doctor.doctor(settings, as_json=False)
    waits = "ok    queue              0 requests unanswered for ten minutes; 1 wait for a person's account or answer"
    assert waits in capsys.readouterr().out


def with_people(database_url: str, redis_url: str, home: Path) -> config.Settings:
    return config.load(
        {
            "ONHAND_HOME": str(home),
            "ONHAND_DATABASE_URL": database_url,
            "ONHAND_REDIS_URL": redis_url,
            "ONHAND_AUTH__STRATEGY": "multi_user",
            "ONHAND_GITHUB__WEBHOOK_SECRET": "a secret for the test",
        }
    )


async def ask_and_wait(settings: config.Settings) -> None:
    """Let alice ask, and wait for her account."""
    trigger = Trigger(
        THREAD, ALICE, Request("work", "fix it"), "github:comment:1", "mention", Origin("comment", "1"),
        repository=Repository("github", "acme/app"),
    )  # fmt: skip
    async with bootstrap.build(settings) as built:
        await built.services.inbox.accept(Delivery("github", "d-1", "issue_comment.created", (trigger,)))
        waiting = Draft(Waiting(request=1, account=ALICE.key))
        await built.services.log.append(conversation_id(THREAD), [waiting], expected=1)


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of the Redis of a service whose data folder this is."""
    embedded = EmbeddedRedis(tmp_path)
    yield await embedded.start()
    await embedded.stop()


async def test_a_redis_that_says_nothing_is_named_by_doctor(
    own_redis: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config.load({"ONHAND_HOME": str(tmp_path), "ONHAND_SANDBOX__KIND": "process"})
    [server] = servers_on(tmp_path / "redis")
    server.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            assert await doctor.doctor(settings, as_json=False) == 1
    finally:
        server.send_signal(signal.SIGCONT)
    assert "FAIL  redis              Redis is out of reach: no answer in time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "reason"),
    [("CONFIG SET maxmemory 1", "maxmemory"), ("REPLICAOF 127.0.0.1 1", "read only replica"), ("", "ok")],
)
async def test_a_redis_that_takes_no_writes_is_named_with_the_reason(
    own_redis: str, tmp_path: Path, command: str, reason: str
) -> None:
    async with Redis.from_url(own_redis) as client:
        await client.execute_command(*(command or "PING").split())
        async with bootstrap.build(config.load({"ONHAND_HOME": str(tmp_path)})) as built:
            found = await built.check()
        await client.execute_command("CONFIG", "SET", "maxmemory", "0")
    assert reason in found["redis"]
    assert found["database"] == "ok"


async def test_a_postgresql_that_takes_no_writes_is_named_with_the_reason(
    postgres: PostgresServer, redis_url: str, tmp_path: Path
) -> None:
    with postgres.database("migrated") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
        async with bootstrap.build(with_people(url, redis_url, tmp_path)) as built:
            found = await built.check()
    assert "read-only transaction" in found["database"]
    assert found["redis"] == "ok"


async def test_a_sqlite_that_takes_no_writes_is_named_with_the_reason(redis_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/onhand.sqlite"
    await upgrade(url)
    async with bootstrap.build(with_people(url, redis_url, tmp_path)) as built:
        assert (await built.check())["database"] == "ok"
        with closing(sqlite3.connect(tmp_path / "onhand.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            found = await built.check()
    assert "locked" in found["database"]
