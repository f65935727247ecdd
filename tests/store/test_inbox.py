"""Deliveries become work once, on both databases."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

from bot.core.conversation import conversation_id
from bot.core.events import Admitted, Asked, Closed, Draft, Waiting
from bot.core.inbound import Account, Delivery, Thread, Trigger
from bot.store import Store
from bot.store.inbox import SqlInbox

Make = Callable[..., Delivery]
MakeTrigger = Callable[..., Trigger]


async def test_a_delivery_becomes_a_conversation_with_a_request(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    accepted = await store.inbox.accept(delivery())
    conversation = conversation_id(trigger().thread)
    assert accepted.fresh == ((conversation, 1),)
    assert (accepted.known, accepted.unanswered) == ((), ())
    [event] = await store.log.read(conversation)
    assert (event.source, event.fact) == ("user", Asked(trigger=trigger()))
    record = await store.conversations.get(conversation)
    assert record is not None
    assert (record.thread, record.title, record.status) == ("github:owner/repo#12", "Login fails", "queued")


async def test_a_redelivery_is_known_and_names_what_nobody_has_looked_at(store: Store, delivery: Make) -> None:
    first = delivery()
    [(conversation, seq)] = (await store.inbox.accept(first)).fresh
    again = await store.inbox.accept(first)
    assert (again.fresh, again.known, again.unanswered) == ((), (conversation,), ((conversation, seq),))
    await store.log.append(conversation, [Draft(Admitted(request=seq))], expected=1)
    again = await store.inbox.accept(first)
    assert (again.fresh, again.known, again.unanswered) == ((), (conversation,), ())


async def test_old_deliveries_are_forgotten_and_what_they_asked_for_is_not(store: Store, delivery: Make) -> None:
    [(conversation, _)] = (await store.inbox.accept(delivery())).fresh
    assert await store.inbox.forget(older_than=60.0) == 0
    assert await store.inbox.forget(older_than=-60.0) == 1
    assert (await store.inbox.accept(delivery())).known == (conversation,)


async def test_the_same_wish_by_another_hook_is_known(store: Store, delivery: Make) -> None:
    [(conversation, _)] = (await store.inbox.accept(delivery(id="hook-a"))).fresh
    again = await store.inbox.accept(delivery(id="hook-b"))
    assert (again.fresh, again.known) == ((), (conversation,))
    assert len(await store.log.read(conversation)) == 1


async def test_a_further_wish_goes_to_the_end_of_the_same_conversation(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    [(conversation, _)] = (await store.inbox.accept(delivery(trigger("1")))).fresh
    await store.log.append(conversation, [Draft(Admitted(request=1))], expected=1)
    assert (await store.inbox.accept(delivery(trigger("2")))).fresh == ((conversation, 3),)


async def test_one_delivery_may_ask_in_several_threads(store: Store, delivery: Make, trigger: MakeTrigger) -> None:
    accepted = await store.inbox.accept(delivery(trigger("1", "20"), trigger("2", "10"), trigger("3", "20")))
    assert sorted(seq for _, seq in accepted.fresh) == [1, 1, 2]
    assert len({conversation for conversation, _ in accepted.fresh}) == 2


async def test_of_equal_deliveries_at_once_one_is_fresh(store: Store, delivery: Make) -> None:
    accepted = await asyncio.gather(*(store.inbox.accept(delivery(id="same")) for _ in range(25)))
    assert Counter(len(one.fresh) for one in accepted) == {1: 1, 0: 24}
    assert all(one.unanswered for one in accepted if not one.fresh)


async def test_of_equal_wishes_at_once_one_is_fresh(store: Store, delivery: Make) -> None:
    accepted = await asyncio.gather(*(store.inbox.accept(delivery()) for _ in range(25)))
    assert Counter(len(one.fresh) for one in accepted) == {1: 1, 0: 24}


async def test_different_wishes_at_once_all_find_a_place(store: Store, delivery: Make, trigger: MakeTrigger) -> None:
    wishes = [trigger(str(n), str(n % 3)) for n in range(60)]
    accepted = await asyncio.gather(*(store.inbox.accept(delivery(wish)) for wish in wishes))
    places = [place for one in accepted for place in one.fresh]
    assert len(set(places)) == 60
    assert Counter(seq for _, seq in places) == dict.fromkeys(range(1, 21), 3)


RACER = """
import asyncio, sys, time
from bot.core.inbound import Account, Delivery, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.secret import Secret
from bot.store import open_store

async def grown(latest): ...

async def main(url, start):
    store = await open_store(url, clock=time.time, redact=str, grown=grown, keys=[Secret("k" * 32)])
    triggers = [
        Trigger(
            Thread("github", "o/r", str(n)), Account("github", "7", "ann"), Request("work", "go"), f"m{n}", "mention",
            Origin("comment", "1"),
        )
        for n in range(20)
    ]
    time.sleep(max(0, start - time.time()))
    done = await asyncio.gather(*(
        store.inbox.accept(Delivery("github", f"d{n % 20}", "e", (triggers[n % 20],))) for n in range(100)
    ))
    print(sum(len(one.fresh) for one in done))
    await store.close()

asyncio.run(main(sys.argv[1], float(sys.argv[2])))
"""


async def test_two_processes_share_twenty_deliveries_without_doubling_one(store: Store, database_url: str) -> None:
    start = str(time.time() + 2)
    command = [sys.executable, "-c", RACER, database_url, start]
    racers = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(2)]
    counts = [(await racer.communicate())[0] for racer in racers]
    assert sum(map(int, counts)) == 20
    conversations = await store.conversations.list()
    assert [record.last_seq for record in conversations] == [1] * 20


async def test_text_that_postgresql_cannot_hold_is_taken(store: Store, delivery: Make, trigger: MakeTrigger) -> None:
    hostile = trigger("1\x00", "12\x00", Account("github", "7\x00", "a\x00"), "t\x00\ud800")
    first = delivery(hostile, id="d\x00")
    [(conversation, _)] = (await store.inbox.accept(first)).fresh
    assert (await store.inbox.accept(first)).known == (conversation,)
    [event] = await store.log.read(conversation)
    assert isinstance(event.fact, Asked)
    assert conversation_id(event.fact.trigger.thread) == conversation


async def test_unanswered_is_what_is_open_and_held_by_nobody(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    threads = {item: conversation_id(Thread("github", "owner/repo", item)) for item in ("1", "2", "3", "4")}
    for item in threads:
        await store.inbox.accept(delivery(trigger(item, item)))
    await store.log.append(threads["2"], [Draft(Closed(requests=[1], ending="finished"))], expected=1)
    await store.log.append(threads["3"], [Draft(Waiting(request=1))], expected=1)
    assert await store.leases.take(threads["4"], "worker", 60) == 0.0
    assert await store.inbox.unanswered(0) == [(threads["1"], 1, "asked"), (threads["3"], 1, "waiting")]
    assert await store.inbox.unanswered(60) == []
    await store.leases.release(threads["4"], "worker")
    assert (threads["4"], 1, "asked") in await store.inbox.unanswered(0)


async def test_waiting_for_finds_what_an_account_must_be_connected_for(
    store: Store, delivery: Make, trigger: MakeTrigger
) -> None:
    ann, bob = Account("github", "7", "ann"), Account("github", "8", "bob")
    [(of_ann, _)] = (await store.inbox.accept(delivery(trigger("1", "1", ann)))).fresh
    [(of_bob, _)] = (await store.inbox.accept(delivery(trigger("2", "2", bob)))).fresh
    await store.inbox.accept(delivery(trigger("3", "3", ann)))
    for conversation in (of_ann, of_bob):
        await store.log.append(conversation, [Draft(Waiting(request=1))], expected=1)
    assert await store.inbox.waiting_for(Account("github", "7", "ann-renamed")) == [(of_ann, 1)]
    assert await store.inbox.waiting_for(Account("gitlab", "7", "ann")) == []
    await store.log.append(of_ann, [Draft(Admitted(request=1))], expected=2)
    assert await store.inbox.waiting_for(ann) == []


async def test_a_request_stored_by_a_machine_whose_clock_is_ahead_is_not_overlooked(
    store: Store, delivery: Make
) -> None:
    ahead = SqlInbox(store.database, lambda: time.time() + 120, store.inbox._clean, store.whisper)
    [(conversation, seq)] = (await ahead.accept(delivery())).fresh
    assert (conversation, seq, "asked") in await store.inbox.unanswered(15)
