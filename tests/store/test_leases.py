"""One holder per conversation, on both databases."""

import asyncio
import time

import pytest

from bot.core.errors import OnhandError
from bot.core.secret import Secret
from bot.store import Store, open_store


async def test_a_lease_has_one_holder_and_the_other_learns_how_long(store: Store, conversation: str) -> None:
    assert await store.leases.take(conversation, "a", 30) == 0.0
    assert 28 < await store.leases.take(conversation, "b", 30) <= 30


async def test_of_many_who_take_it_at_once_one_gets_it(store: Store, conversation: str) -> None:
    answers = await asyncio.gather(*(store.leases.take(conversation, f"worker-{n}", 30) for n in range(20)))
    assert answers.count(0.0) == 1


async def test_its_holder_may_take_it_again(store: Store, conversation: str) -> None:
    assert await store.leases.take(conversation, "a", 30) == 0.0
    assert await store.leases.take(conversation, "a", 30) == 0.0


async def test_a_lease_that_ran_out_is_free_and_its_holder_learns_of_the_loss(store: Store, conversation: str) -> None:
    await store.leases.take(conversation, "a", -1)
    assert await store.leases.take(conversation, "b", 30) == 0.0
    assert not await store.leases.renew(conversation, "a", 30)
    assert await store.leases.renew(conversation, "b", 30)


async def test_renewal_puts_the_end_off(store: Store, conversation: str) -> None:
    await store.leases.take(conversation, "a", 1)
    assert await store.leases.renew(conversation, "a", 60)
    assert await store.leases.take(conversation, "b", 30) > 50


async def test_only_the_holder_releases(store: Store, conversation: str) -> None:
    await store.leases.take(conversation, "a", 30)
    await store.leases.release(conversation, "b")
    assert await store.leases.take(conversation, "b", 30) > 0
    await store.leases.release(conversation, "a")
    assert await store.leases.take(conversation, "b", 30) == 0.0


async def test_a_process_whose_clock_is_wrong_sees_the_same_lease(
    store: Store, database_url: str, conversation: str
) -> None:
    async def grown(_latest: object) -> None: ...

    ahead = await open_store(
        database_url, clock=lambda: time.time() + 120, redact=str, grown=grown, keys=[Secret("k" * 32)]
    )
    await store.leases.take(conversation, "a", 30)
    assert 28 < await ahead.leases.take(conversation, "b", 30) <= 30
    await ahead.close()


async def test_a_lease_of_a_time_when_the_clock_was_ahead_binds_nobody(store: Store, conversation: str) -> None:
    """As after a restart of the machine that counts how long it runs, or of one whose clock was set back."""
    await store.leases.take(conversation, "a", 3600)
    assert await store.leases.clear(older_than=3600) == 1
    await store.leases.take(conversation, "a", 3600)
    assert await store.leases.take(conversation, "b", 30) == 0.0


async def test_there_is_no_lease_on_nothing(store: Store) -> None:
    with pytest.raises(OnhandError, match="no conversation"):
        await store.leases.take("no such conversation", "a", 30)
