"""Deliveries that come at once share a transaction, and each is treated as if it had come alone."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text, update

from bot.core.conversation import conversation_id
from bot.core.events import Asked, RunStarted
from bot.core.events import Draft as EventDraft
from bot.core.inbound import Delivery, Trigger
from bot.core.ports import Accepted
from bot.core.secret import Secret
from bot.store import Store, open_store
from bot.store.projection import status_after
from bot.store.tables import conversations

Make = Callable[..., Delivery]
MakeTrigger = Callable[..., Trigger]


async def at_once(store: Store, *deliveries: Delivery) -> list[Accepted]:
    return await asyncio.gather(*(store.inbox.accept(delivery) for delivery in deliveries))


async def test_wishes_for_one_conversation_stand_in_it_in_the_order_in_which_they_came(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    first, second = await at_once(store, delivery(trigger("1"), trigger("2")), delivery(trigger("3"), trigger("4")))
    conversation = conversation_id(trigger().thread)
    assert first.fresh == ((conversation, 1), (conversation, 2))
    assert second.fresh == ((conversation, 3), (conversation, 4))
    asked = [event.fact for event in await store.log.read(conversation)]
    assert [fact.trigger.origin.id for fact in asked if isinstance(fact, Asked)] == ["1", "2", "3", "4"]
    record = await store.conversations.get(conversation)
    assert record is not None
    assert record.last_seq == 4


async def test_a_known_and_a_new_wish_in_one_group_are_told_apart(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    conversation = conversation_id(trigger().thread)
    await store.inbox.accept(delivery(trigger("1")))
    known, new = await at_once(store, delivery(trigger("1")), delivery(trigger("2")))
    assert known == Accepted(known=(conversation,), unanswered=((conversation, 1),))
    assert new == Accepted(fresh=((conversation, 2),))


async def test_a_redelivery_beside_others_names_all_that_it_asked_for(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    old = delivery(trigger("1", "1"), trigger("2", "2"))
    [(one, _), (two, _)] = (await store.inbox.accept(old)).fresh
    again, new = await at_once(store, old, delivery(trigger("3", "1")))
    assert again == Accepted(known=(one, two), unanswered=((one, 1), (two, 1)))
    assert new.fresh == ((one, 2),)


async def test_the_same_wish_twice_in_one_delivery_is_asked_once(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    accepted = await store.inbox.accept(delivery(trigger("1"), trigger("1")))
    conversation = conversation_id(trigger().thread)
    assert accepted == Accepted(fresh=((conversation, 1),), known=(conversation,), unanswered=((conversation, 1),))


async def test_equal_wishes_of_different_threads_are_one(store: Store, delivery: Make, trigger: MakeTrigger) -> None:
    elsewhere = replace(trigger("1", "2"), meaning=trigger("1", "1").meaning)
    first, second = await at_once(store, delivery(trigger("1", "1")), delivery(elsewhere))
    assert len(first.fresh) == 1
    assert (second.fresh, second.known) == ((), (first.fresh[0][0],))


async def test_a_delivery_that_cannot_be_stored_spoils_no_other(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    unstorable = replace(
        trigger("bad", "9"), request=replace(trigger().request, verb=json)
    )  # no database takes a module
    ends = await asyncio.gather(
        store.inbox.accept(delivery(trigger("1", "1"))),
        _without_encoding(store, delivery(unstorable)),
        store.inbox.accept(delivery(trigger("2", "2"))),
        return_exceptions=True,
    )
    assert isinstance(ends[1], Exception)
    assert [len(end.fresh) for end in (ends[0], ends[2]) if isinstance(end, Accepted)] == [1, 1]
    assert await store.conversations.get(conversation_id(unstorable.thread)) is None


async def _without_encoding(store: Store, delivery: Delivery) -> Any:
    """Accept a delivery whose trigger can be encoded but not stored."""
    from bot.store.acceptance import prepare
    from bot.store.log import Line

    [trigger] = delivery.triggers
    line = Line(EventDraft(Asked(trigger=trigger), source="user"), "{}")
    return await store.inbox._groups.do(prepare(delivery, [(trigger, line)], 1.0))


async def test_a_wish_during_a_run_leaves_the_conversation_running(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    [(conversation, _)] = (await store.inbox.accept(delivery(trigger("1")))).fresh
    await store.log.append(conversation, [EventDraft(RunStarted(run="r", holder="h"))], expected=1)
    await at_once(store, delivery(trigger("2")), delivery(trigger("3", "other")))
    record = await store.conversations.get(conversation)
    assert record is not None
    assert (record.status, record.last_seq) == ("running", 3)


async def test_more_than_a_group_holds_is_stored_in_several(store: Store, delivery: Make, trigger: MakeTrigger) -> None:
    accepted = await at_once(store, *(delivery(trigger(str(n), str(n % 7))) for n in range(300)))
    assert len({place for one in accepted for place in one.fresh}) == 300


@pytest.mark.parametrize("before", ["queued", "waiting", "running", "finished", "failed"])
async def test_a_wish_moves_a_conversations_status_as_any_other_event_does(
    store: Store, delivery: Make, trigger: MakeTrigger, before: str
) -> None:
    await store.inbox.accept(delivery(trigger("1")))
    conversation = conversation_id(trigger().thread)
    await store.database.write(
        lambda connection: connection.execute(update(conversations).values(status=before)).rowcount
    )
    await store.inbox.accept(delivery(trigger("2")))
    record = await store.conversations.get(conversation)
    assert record is not None
    assert record.status == status_after(Asked(trigger=trigger()), before, {"asked"})


async def test_processes_that_store_the_same_at_once_store_it_once(
    store: Store, database_url: str, delivery: Make, trigger: MakeTrigger
) -> None:
    groups = [[delivery(trigger(str(n), str(n % 3)), id=f"{service}-{n}") for n in range(20)] for service in "ab"]
    async with AsyncExitStack() as stack:
        stores = [store, await another(stack, database_url)]
        ends = await asyncio.gather(*(at_once(one, *group) for one, group in zip(stores, groups, strict=True)))
    places = [place for end in ends for accepted in end for place in accepted.fresh]
    assert len(places) == len(set(places)) == 20
    for item in "012":
        record = await store.conversations.get(conversation_id(trigger("x", item).thread))
        assert record is not None
        assert (
            record.last_seq == len(await store.log.read(record.id)) == len([n for n in range(20) if n % 3 == int(item)])
        )


async def another(stack: AsyncExitStack, url: str) -> Store:
    """What another process would have of the same database."""

    async def grown(_latest: object) -> None: ...

    opened = await open_store(url, clock=time.time, redact=str, grown=grown, keys=[Secret("a key for tests")])
    stack.push_async_callback(opened.close)
    return opened


_COUNTED = text("SELECT seq_tup_read, n_tup_ins FROM pg_stat_user_tables WHERE relname = 'requests'")


async def test_postgresql_keeps_no_plan_that_was_good_while_the_tables_were_small(
    postgres: Any, delivery: Make, trigger: MakeTrigger
) -> None:
    async def grown(_latest: object) -> None: ...

    turns, each, keys = 40, 64, [Secret("a key for tests, and for tests alone")]
    with postgres.database("migrated") as url:
        store = await open_store(url, clock=time.time, redact=str, grown=grown, keys=keys)
        for turn in range(turns):
            await at_once(store, *[delivery(trigger(f"{turn} {number}", str(number))) for number in range(each)])
        read = written = 0
        async with asyncio.timeout(20):
            while written < turns * each:  # PostgreSQL counts a moment later
                await asyncio.sleep(0.1)
                [(read, written)] = await store.database.read(lambda connection: connection.execute(_COUNTED).all())
        await store.close()
    assert read < turns * each, "the table was read whole, again and again"
