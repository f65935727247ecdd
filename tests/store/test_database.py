"""Migrations, refusals and the shelf, on both databases."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text

from bot.core.errors import ConfigError, OnhandError, Unavailable
from bot.core.events import Draft, Think
from bot.core.inbound import Delivery
from bot.store import Store, upgrade
from bot.store.database import Database
from bot.store.migrations import HEAD
from bot.store.sqlite import CHECKPOINT_EVERY
from bot.store.tables import metadata
from bot.store.upgrade import alembic_config
from tests.journeys.faults.proxy import Proxy

THINK = Draft(Think(thought="hm"))
ADD_USER = text("INSERT INTO users VALUES ('1', 'name', 0)")


def count_users(connection: Connection) -> Any:
    return connection.execute(text("SELECT count(*) FROM users")).scalar()


async def test_upgrade_makes_every_table_from_nothing_and_may_be_repeated(bare_database_url: str) -> None:
    await upgrade(bare_database_url)
    await upgrade(bare_database_url)
    database = Database(bare_database_url)
    await database.connect()
    assert await database.read(lambda connection: connection.execute(text("SELECT count(*) FROM events")).scalar()) == 0
    await database.close()


async def test_processes_that_upgrade_at_once_wait_for_each_other(bare_database_url: str) -> None:
    await asyncio.gather(*(upgrade(bare_database_url) for _ in range(3)))


async def test_the_migrations_end_in_the_tables_that_the_code_knows(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    assert await store.database.read(differences) == []


def test_the_revision_that_the_code_asks_for_is_the_last_one() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


async def test_a_database_without_tables_is_refused_with_the_command_that_helps(bare_database_url: str) -> None:
    with pytest.raises(ConfigError, match="onhand db upgrade"):
        await Database(bare_database_url).connect()


@pytest.mark.parametrize("url", ["mysql://u:hunter2secret@h/d", "sqlite://", "hunter2secret", ""])
def test_a_url_that_we_cannot_use_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match="ONHAND_DATABASE_URL") as refused:
        Database(url)
    assert "hunter2secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgresql_urls_are_mapped_to_our_driver(scheme: str) -> None:
    assert Database(f"{scheme}://u@h/d").url.drivername == "postgresql+psycopg"


async def test_a_database_out_of_reach_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await Database(f"postgresql://u@/d?host={tmp_path}").connect()


async def test_what_fails_is_undone_and_hurts_nobody_beside_it(store: Store) -> None:
    def insert(connection: Connection, name: str) -> None:
        connection.execute(text("INSERT INTO users VALUES (:n, :n, 0)"), {"n": name})
        if name == "3":
            raise OnhandError("no")

    works = [store.database.write(partial(insert, name=str(n))) for n in range(6)]
    ends = await asyncio.gather(*works, return_exceptions=True)
    assert [isinstance(end, OnhandError) for end in ends] == [False] * 3 + [True] + [False] * 2
    found = await store.database.read(
        lambda connection: connection.execute(text("SELECT id FROM users")).scalars().all()
    )
    assert sorted(found) == ["0", "1", "2", "4", "5"]


@pytest.fixture
def impatient(migrated_sqlite: Path, tmp_path: Path) -> Path:
    path = tmp_path / "onhand.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    return path


@pytest.mark.parametrize("durable", [True, False])
async def test_a_locked_sqlite_is_unavailable_within_its_patience(impatient: Path, durable: bool) -> None:
    database = Database(f"sqlite:///{impatient}", busy_seconds=0.2)
    await database.connect()
    other = sqlite3.connect(impatient, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(Unavailable, match="locked"):
        await database.write(lambda connection: connection.execute(text("DELETE FROM users")), durable=durable)
    assert time.monotonic() - began < 1.5
    other.execute("ROLLBACK")
    other.close()
    await database.write(lambda connection: connection.execute(text("DELETE FROM users")), durable=durable)
    await database.close()


async def test_a_sqlite_that_another_process_is_making_is_waited_for(impatient: Path) -> None:
    other = sqlite3.connect(impatient, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    release.start()
    database = Database(f"sqlite:///{impatient}", busy_seconds=0.0)
    await database.connect()
    release.join()
    await database.close()
    other.close()


async def test_a_small_write_waits_its_turn_while_the_lock_is_held(impatient: Path) -> None:
    database = Database(f"sqlite:///{impatient}")
    await database.connect()
    other = sqlite3.connect(impatient, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    work = asyncio.create_task(
        database.write(lambda connection: connection.execute(text("DELETE FROM users")).rowcount, durable=False)
    )
    await asyncio.sleep(0)
    assert not work.done()
    other.execute("ROLLBACK")
    other.close()
    assert await work == 0
    await database.close()


@pytest.mark.parametrize("durable", [True, False])
async def test_a_closed_database_takes_no_more(impatient: Path, durable: bool) -> None:
    database = Database(f"sqlite:///{impatient}")
    await database.connect()
    begun = asyncio.create_task(database.write(lambda _connection: "done"))
    await asyncio.sleep(0)
    await database.close()
    assert await begun == "done"
    with pytest.raises(Unavailable, match="closed"):
        await database.write(lambda _connection: None, durable=durable)


async def test_durable_writes_are_synced_once_for_all_that_wait_and_others_are_not(impatient: Path) -> None:
    synced: list[str] = []

    def note(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and called in (os.fsync, getattr(os, "fdatasync", None)):
            synced.append(Path(os.readlink(f"/proc/self/fd/{frame.f_locals['log']}")).name)

    threading.setprofile(note)
    try:
        database = Database(f"sqlite:///{impatient}")
        await database.connect()
    finally:
        threading.setprofile(None)
    add = text("INSERT INTO users VALUES (:n, 'name', 0)")
    works = [partial(Connection.execute, statement=add, parameters={"n": str(n)}) for n in range(20)]
    await database.write(works[0], durable=False)
    assert synced == []
    await database.write(works[1])
    assert synced == ["onhand.db-wal"]
    await asyncio.gather(*(database.write(work) for work in works[2:]))
    assert 2 <= len(synced) < 20
    await database.close()


async def test_a_log_that_cannot_be_synced_is_no_durable_write(impatient: Path) -> None:
    database = Database(f"sqlite:///{impatient}")
    await database.connect()
    os.dup2(os.open(os.devnull, os.O_RDONLY), database._driver._sync._log)  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="may be stored all the same"):
        await database.write(lambda connection: connection.execute(text("DELETE FROM users")))
    await database.close()


@pytest.mark.parametrize("durable", [True, False])
async def test_a_log_that_was_deleted_while_it_was_open_takes_no_more(impatient: Path, durable: bool) -> None:
    database = Database(f"sqlite:///{impatient}")
    await database.connect()
    await database.write(lambda connection: connection.execute(text("DELETE FROM users")))
    impatient.with_name("onhand.db-wal").unlink()
    with pytest.raises(Unavailable, match="deleted"):
        await database.write(lambda connection: connection.execute(text("DELETE FROM users")), durable=durable)
    await database.close()


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_file_that_was_deleted_or_replaced_while_it_was_open_takes_no_more(
    impatient: Path, replaced: bool, migrated_sqlite: Path
) -> None:
    database = Database(f"sqlite:///{impatient}")
    await database.connect()
    await database.write(lambda connection: connection.execute(text("DELETE FROM users")))
    if replaced:  # as by somebody who plays a backup back
        shutil.copy(migrated_sqlite, impatient.with_name("backup"))
        os.replace(impatient.with_name("backup"), impatient)
    else:
        os.unlink(impatient)
    with pytest.raises(Unavailable, match=r"onhand\.db was deleted or replaced"):
        await database.write(lambda connection: connection.execute(text("DELETE FROM users")))
    for few in (True, False):
        with pytest.raises(Unavailable, match=r"onhand\.db was deleted or replaced"):
            await database.read(count_users, few=few)
    await database.close()


REMAKE = "import sys, sqlite3; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM users').fetchone()"


async def test_a_log_that_was_deleted_before_the_first_write_is_not_mistaken_for_the_one_another_process_made(
    impatient: Path,
) -> None:
    database = Database(f"sqlite:///{impatient}")
    await database.connect()
    log = impatient.with_name("onhand.db-wal")
    for path in (log, impatient.with_name("onhand.db-shm")):
        path.unlink()
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", REMAKE, impatient], check=True)
    assert log.exists()
    for few in (True, False):
        with pytest.raises(Unavailable, match="deleted"):
            await database.read(count_users, few=few)
    with pytest.raises(Unavailable, match="deleted"):
        await database.write(lambda connection: connection.execute(ADD_USER))
    await database.close()


def size(path: Path) -> int:
    return path.stat().st_size


async def test_the_write_ahead_log_is_moved_into_the_database_and_used_again(impatient: Path) -> None:
    add, sizes = text("INSERT INTO users VALUES (:n, :text, 0)"), []
    with closing(sqlite3.connect(impatient)) as other:
        other.execute("SELECT count(*) FROM users").fetchall()  # while it is open, closing the database moves nothing
        for turn in range(3):
            database, before = Database(f"sqlite:///{impatient}"), size(impatient)
            await database.connect()
            for n in range(CHECKPOINT_EVERY):
                values = {"n": f"{turn} {n}", "text": "x" * 4000}
                await database.write(partial(Connection.execute, statement=add, parameters=values), durable=False)
            await database.close()  # after the checkpoint that the last write began
            assert size(impatient) - before > CHECKPOINT_EVERY * 4000
            sizes.append(size(Path(f"{impatient}-wal")))
    assert sizes[2] < 1.5 * sizes[0], "without checkpoints it is three times as long after three times as much"


async def test_a_postgresql_that_was_restarted_costs_nobody_a_request(postgres: object) -> None:
    with postgres.database("migrated") as url:  # type: ignore[attr-defined]
        database = Database(url)
        await database.connect()
        postgres.stop()  # type: ignore[attr-defined]
        with pytest.raises(Unavailable):
            await database.read(lambda connection: connection.execute(text("SELECT 1")).scalar())
        postgres.start()  # type: ignore[attr-defined]
        assert await database.read(lambda connection: connection.execute(text("SELECT 1")).scalar()) == 1
        await database.close()


async def test_a_connection_that_died_unseen_costs_nobody_a_write(postgres: object) -> None:
    with postgres.database("migrated") as url:  # type: ignore[attr-defined]
        database = Database(url)
        await database.connect()
        postgres.stop()  # type: ignore[attr-defined]
        postgres.start()  # type: ignore[attr-defined]
        add = text("INSERT INTO users VALUES ('1', 'name', 0)")
        assert await database.write(lambda connection: connection.execute(add).rowcount) == 1
        await database.close()


def through(network: Proxy, url: str) -> str:
    """The address of the same database behind the proxy."""
    return f"postgresql://onhand@127.0.0.1:{network.port}/{make_url(url).database}"


@pytest.fixture
async def silent(postgres: Any) -> AsyncIterator[tuple[Database, Proxy]]:
    """A database with several connections, through a network that loses all bytes of those, and only of those."""
    with postgres.database("migrated") as url:
        async with Proxy(f"{postgres.folder}/.s.PGSQL.5432") as network:
            database = Database(through(network, url), silent_seconds=1.0)
            await database.connect()
            await asyncio.gather(*(database.read(count_users) for _ in range(5)))
            yield database, network
            await database.close()


SLEEPER = """
import asyncio, os, signal, sys
from sqlalchemy import text
from bot.core.errors import Unavailable
from bot.store.database import Database

def work(connection):
    connection.execute(text("UPDATE users SET name = name || ' asleep'"))
    if not asleep:
        asleep.append(print("asleep", flush=True))
        os.kill(os.getpid(), signal.SIGSTOP)

async def main():
    database = Database(sys.argv[1])
    await database.connect()
    try:
        await database.write(work)
    except Unavailable:
        await database.write(work)
    await database.close()

asleep = []
asyncio.run(main())
"""
"""Stands still in the middle of a transaction; when it is woken, it goes on, and tries again where it is asked to."""


async def _renamed(database: Database) -> bool:
    add = text("UPDATE users SET name = name || ' awake'")
    try:
        await database.write(lambda connection: connection.execute(add))
    except Unavailable:  # the row is still locked
        return False
    return True


async def test_who_sleeps_in_a_transaction_keeps_its_rows_from_nobody_for_long(postgres: Any) -> None:
    with postgres.database("migrated") as url:
        database = Database(url)
        await database.connect()
        await database.write(lambda connection: connection.execute(ADD_USER))
        sleeper = await asyncio.create_subprocess_exec(sys.executable, "-c", SLEEPER, url, stdout=subprocess.PIPE)
        try:
            assert sleeper.stdout
            assert await sleeper.stdout.readline() == b"asleep\n"
            async with asyncio.timeout(10):
                while not await _renamed(database):
                    pass
            sleeper.send_signal(signal.SIGCONT)
            async with asyncio.timeout(10):
                assert await sleeper.wait() == 0
        finally:
            with suppress(ProcessLookupError):
                sleeper.kill()
        name = await database.read(lambda connection: connection.execute(text("SELECT name FROM users")).scalar())
        assert name == "name awake asleep", "what it did before it slept is undone, and done anew"
        await database.close()


async def test_connections_that_lose_their_bytes_cost_nobody_a_write_and_are_waited_for_once(
    silent: tuple[Database, Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    database, network = silent
    network.lose()
    assert await database.write(lambda connection: connection.execute(ADD_USER).rowcount) == 1
    assert await asyncio.gather(*(database.read(count_users) for _ in range(5))) == [1] * 5
    assert [r.getMessage() for r in caplog.records if r.name == "bot.store.postgres"] == [
        "PostgreSQL has not ended a transaction within 1 s; its connections are made anew"
    ]


async def test_a_commit_that_is_not_answered_is_unavailable_and_the_next_write_is_well(
    silent: tuple[Database, Proxy],
) -> None:
    database, network = silent

    def add(connection: Connection) -> None:
        connection.execute(ADD_USER)
        network.lose()

    with pytest.raises(Unavailable):
        await database.write(add)
    assert await database.write(lambda connection: connection.execute(ADD_USER).rowcount) == 1


async def test_who_goes_away_from_a_connection_that_says_nothing_leaves_the_others_well(
    silent: tuple[Database, Proxy],
) -> None:
    database, network = silent
    network.lose()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(database.read(count_users), 0.3)
    assert await database.read(count_users) == 0


async def test_a_new_connection_that_says_nothing_at_its_first_question_is_given_up(postgres: Any) -> None:
    """As with a pooler that lets everybody in and has nobody to ask."""
    with postgres.database("migrated") as url:
        async with Proxy(f"{postgres.folder}/.s.PGSQL.5432") as network:
            database = Database(through(network, url), silent_seconds=0.5)
            network.hold(once=b"version()")
            with pytest.raises(Unavailable):
                await database.connect()
            network.release()


async def test_the_shelf_lists_the_latest_change_first_and_goes_on_from_there(
    store: Store, delivery: Callable[..., Delivery], trigger: Callable[..., object]
) -> None:
    for item in ("1", "2", "3"):
        await store.inbox.accept(delivery(trigger(item, item)))
    [third, second] = await store.conversations.list(limit=2)
    assert (third.thread, second.thread) == ("github:owner/repo#3", "github:owner/repo#2")
    [first] = await store.conversations.list(before=second.updated_at)
    await store.log.append(first.id, [THINK], expected=1)
    assert (await store.conversations.list(limit=1))[0].id == first.id
    assert await store.conversations.get("no such conversation") is None


async def test_a_postgresql_that_takes_only_reads_is_unavailable(postgres: Any) -> None:
    """As after a failover, to whoever reaches the server that is a copy now."""
    database = Database(postgres.create("reads-only", "migrated"))
    await database.connect()

    def work(connection: Connection) -> None:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        connection.execute(text("DELETE FROM deliveries"))

    with pytest.raises(Unavailable, match="read-only"):
        await database.write(work)
    await database.close()
