"""Accounts, tokens and keys, on both databases."""

import stat
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bot.core.errors import ConfigError
from bot.core.inbound import Account
from bot.core.ports import User
from bot.core.secret import Secret
from bot.store import Store, keys_from, open_store

ANN = Account("github", "7", "ann")
OLD, NEW = Secret("the old key: long enough"), Secret("the new key: long enough")
Open = Callable[..., Coroutine[Any, Any, Store]]


@pytest.fixture
async def open_with(database_url: str) -> AsyncIterator[Open]:
    """Open the test's database with other keys."""
    opened: list[Store] = []

    async def grown(_latest: object) -> None: ...

    async def open_it(*keys: Secret) -> Store:
        opened.append(await open_store(database_url, clock=time.time, redact=str, grown=grown, keys=keys))
        return opened[-1]

    yield open_it
    for one in opened:
        await one.close()


async def sealed(store: Store) -> list[str]:
    query = text("SELECT sealed FROM secrets ORDER BY user_id, service")
    return list(await store.database.read(lambda connection: connection.execute(query).scalars().all()))


async def execute(store: Store, statement: str, **values: str) -> None:
    await store.database.write(lambda connection: connection.execute(text(statement), values))


async def test_a_link_says_whose_an_account_is(store: Store) -> None:
    assert await store.accounts.user_of(ANN) is None
    assert await store.accounts.link(ANN, "u1") == User("u1", "ann")
    assert await store.accounts.user_of(Account("github", "7", "renamed")) == User("u1", "ann")
    assert await store.accounts.user_of(Account("gitlab", "7", "ann")) is None


async def test_a_token_given_with_a_link_is_kept(store: Store) -> None:
    await store.accounts.link(ANN, "u1", Secret("token-1"))
    await store.accounts.link(Account("slack", "U1", "ann"), "u1")
    assert await store.vault.get("u1", "github") == Secret("token-1")
    links = await store.accounts.list()
    assert [(user.id, account.service, kept) for user, account, kept in links] == [
        ("u1", "github", True),
        ("u1", "slack", False),
    ]


async def test_linking_again_replaces_and_the_first_user_keeps_no_token(store: Store) -> None:
    await store.accounts.link(ANN, "u1", Secret("token-1"))
    await store.accounts.link(ANN, "u2", Secret("token-2"))
    assert await store.accounts.user_of(ANN) == User("u2", "ann")
    assert await store.vault.get("u1", "github") is None
    assert await store.vault.get("u2", "github") == Secret("token-2")


async def test_unlinking_forgets_the_token(store: Store) -> None:
    await store.accounts.link(ANN, "u1", Secret("token-1"))
    assert await store.accounts.unlink(ANN)
    assert not await store.accounts.unlink(ANN)
    assert await store.accounts.user_of(ANN) is None
    assert await store.vault.get("u1", "github") is None


async def test_the_vault_gives_back_what_was_put_and_stores_none_of_it(store: Store) -> None:
    assert await store.vault.get("u1", "github") is None
    await store.vault.put("u1", "github", Secret("token-1"))
    await store.vault.put("u1", "github", Secret("ghp_token-2-é"))
    assert await store.vault.get("u1", "github") == Secret("ghp_token-2-é")
    assert "token-2" not in repr(await sealed(store))


async def test_rotation_encrypts_everything_anew_with_the_first_key(open_with: Open) -> None:
    old = await open_with(OLD)
    for user in ("u1", "u2", "u3"):
        await old.vault.put(user, "github", Secret(f"token of {user}"))
    both = await open_with(NEW, OLD)
    assert await both.vault.get("u1", "github") == Secret("token of u1")
    assert await both.vault.rotate() == 3
    new = await open_with(NEW)
    assert await new.vault.get("u3", "github") == Secret("token of u3")


async def test_a_key_that_is_missing_is_named_as_the_trouble(open_with: Open) -> None:
    await (await open_with(OLD)).vault.put("u1", "github", Secret("token"))
    stranger = await open_with(NEW)
    with pytest.raises(ConfigError, match="ONHAND_SECRET_KEYS"):
        await stranger.vault.get("u1", "github")
    with pytest.raises(ConfigError, match="ONHAND_SECRET_KEYS"):
        await stranger.vault.rotate()


async def test_a_row_that_was_copied_to_another_user_does_not_open(store: Store) -> None:
    await store.vault.put("u1", "github", Secret("token"))
    await execute(store, "UPDATE secrets SET user_id = 'u2'")
    with pytest.raises(ConfigError, match="altered or moved"):
        await store.vault.get("u2", "github")


@pytest.mark.parametrize("cut", [-1, -10, 12])
async def test_a_row_that_was_altered_does_not_open(store: Store, cut: int) -> None:
    await store.vault.put("u1", "github", Secret("token"))
    [text_] = await sealed(store)
    other = "B" if text_[cut] == "A" else "A"
    await execute(store, "UPDATE secrets SET sealed = :sealed", sealed=text_[:cut] + other + text_[cut:][1:])
    with pytest.raises(ConfigError, match="altered or moved"):
        await store.vault.get("u1", "github")


def test_a_missing_key_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    [key] = keys_from(home)
    assert keys_from(home) == [key]
    assert stat.S_IMODE((home / "secret.keys").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["secret.keys"]


def test_processes_that_make_the_key_file_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(lambda _: keys_from(tmp_path)[0], range(8)))
    assert len(set(keys)) == 1


def test_keys_of_the_setting_count_instead_of_the_file(tmp_path: Path) -> None:
    assert keys_from(tmp_path, Secret("the first of two keys, the second of two keys\n")) == [
        Secret("the first of two keys"),
        Secret("the second of two keys"),
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["short", ",", "long enough to be a key,short"])
def test_a_key_that_is_too_short_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match="16 or more characters"):
        keys_from(tmp_path, Secret(setting))
