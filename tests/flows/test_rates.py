"""Limits and the breaker of loops at the front desk: counted over everybody's requests, said once, and over after a while."""

import asyncio
import time

import pytest

from bot.core.conversation import conversation_id
from bot.core.inbound import Thread
from bot.core.outbound import Say
from bot.core.ports import Rates
from bot.flows import desk
from bot.flows.runlog import ConversationLog
from tests.flows.conftest import CONVERSATION, THREAD, World

ELSEWHERE = Thread("memory", "acme/other", "3")


def limit(world: World, **rates: float) -> None:
    world.use(rates=Rates(**rates))  # type: ignore[arg-type]


async def endings(world: World) -> list[str]:
    return [request.ending for request in (await world.state()).requests.values()]


async def admitted(world: World) -> list[tuple[str, int]]:
    everywhere = {conversation for conversation, _ in world.bus.acknowledged}
    logs = [await ConversationLog.open(world.store.log, conversation) for conversation in everywhere]
    return [(log.conversation_id, r.seq) for log in logs for r in log.state.open("admitted")]


def refusals(world: World) -> list[str]:
    return [text for topic, text in world.said().items() if topic.startswith(("limit:", "loop:"))]


async def test_a_person_who_asks_too_much_is_told_once_and_when_to_come_again(world: World) -> None:
    limit(world, per_person=2)
    for _ in range(4):
        await world.admit()
    assert await endings(world) == ["", "", "refused", "refused"]
    [said] = refusals(world)
    assert said.startswith("I take 2 requests an hour of alice. Please ask again after ")
    assert said.endswith(" UTC.")


async def test_a_retry_within_the_limits_time_is_told_so(world: World) -> None:
    limit(world, per_person=1)
    for text in ("@onhand fix it", "@onhand fix it", "@onhand retry", "@onhand fix it"):
        await world.admit(text)
    assert await endings(world) == ["", "refused", "refused", "refused"]
    said = [text for text in world.said().values() if text.startswith("I take 1 request an hour of alice.")]
    assert len(said) == 2, "to the first that was refused, and to the retry"


async def test_an_hour_later_the_person_is_let_in_again(world: World) -> None:
    limit(world, per_person=1)
    await world.admit()
    world.use(clock=lambda: time.time() + 3601)
    await world.admit()
    assert await endings(world) == ["", ""]


async def test_a_persons_limit_holds_in_all_threads(world: World) -> None:
    limit(world, per_person=1)
    await world.admit()
    await world.ask(thread=ELSEWHERE)
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    assert len(refusals(world)) == 1
    assert world.bus.runs == [(CONVERSATION, 1)]


@pytest.mark.parametrize(("rate", "said"), [("per_repository", "in acme/app"), ("per_thread", "in this thread")])
async def test_a_limit_of_a_place_counts_everybody(world: World, rate: str, said: str) -> None:
    world.forge.writers.add("bob")
    limit(world, **{rate: 2})
    for who in ("alice", "bob", "bob"):
        await world.admit(who=who)
    assert await endings(world) == ["", "", "refused"]
    [refusal] = refusals(world)
    assert said in refusal


async def test_what_was_refused_does_not_count(world: World) -> None:
    limit(world, per_thread=2)
    for who in ("mallory", "mallory", "alice", "alice"):
        await world.admit(who=who)
    assert await endings(world) == ["refused", "refused", "", ""]
    assert not refusals(world)


async def test_of_many_that_come_at_once_no_more_are_admitted(world: World) -> None:
    limit(world, per_person=3)
    for _ in range(9):
        await world.ask()
    await asyncio.gather(
        *(desk.acknowledge(world.services, *asked) for asked in world.bus.acknowledged), return_exceptions=True
    )
    admitted = [r for r in (await world.state()).requests.values() if r.phase == "admitted"]
    assert [request.seq for request in admitted] == [seq for _, seq in world.bus.acknowledged[:3]]


@pytest.mark.parametrize("rate", ["per_repository", "per_thread"])
async def test_of_many_people_who_ask_at_once_no_more_are_admitted(world: World, rate: str) -> None:
    people = [f"person{number}" for number in range(9)]
    world.forge.writers |= {*people}
    limit(world, **{rate: 3})
    for who in people:
        await world.ask(who=who, thread=THREAD if rate == "per_thread" else Thread("memory", "acme/app", who))
    await asyncio.gather(
        *(desk.acknowledge(world.services, *asked) for asked in world.bus.acknowledged), return_exceptions=True
    )
    assert sorted(await admitted(world)) == sorted(world.bus.acknowledged[:3])


async def test_of_many_that_are_refused_out_of_order_one_is_answered(world: World) -> None:
    limit(world, per_person=2)
    now = time.time()
    for asked in range(6):
        world.use(clock=lambda asked=asked: now + 50 * asked)
        world.store.log._clock = world.store.inbox._clock = world.services.clock  # type: ignore[attr-defined]
        await world.ask()
    first, *later = world.bus.acknowledged
    for request in (first, *reversed(later)):
        await desk.acknowledge(world.services, *request)
    assert len(refusals(world)) == 1


async def test_verbs_that_need_no_run_are_neither_counted_nor_refused(world: World) -> None:
    limit(world, per_person=1, loop=1)
    for text in ("@onhand help", "@onhand status", "@onhand fix it", "@onhand status", "@onhand stop"):
        await world.admit(text)
    assert not refusals(world)
    assert world.bus.runs


async def test_a_loop_is_broken_for_a_while_and_said_once(world: World) -> None:
    limit(world, loop=3)
    for _ in range(6):
        await world.admit()
    assert await endings(world) == ["", "", "", "refused", "refused", "refused"]
    [said] = refusals(world)
    assert said.startswith("I was asked 3 times here within 10 minutes; that looks like a loop, so I take nothing more")
    for minutes, taken in ((9, False), (11, True)):
        world.use(clock=lambda minutes=minutes: time.time() + 60 * minutes)
        await world.admit()
        assert ((await endings(world))[-1] == "") is taken


async def test_a_loop_of_several_accounts_is_a_loop(world: World) -> None:
    world.forge.writers.add("bob")
    limit(world, loop=2)
    for who in ("alice", "bob", "alice", "bob"):
        await world.admit(who=who)
    assert (await endings(world))[2:] == ["refused", "refused"]
    assert len(refusals(world)) == 1, "once in the thread, whoever asks"
    assert len(world.forge.made(Say)) == 2


async def test_no_limit_is_no_limit(world: World) -> None:
    for _ in range(5):
        await world.admit()
    assert await endings(world) == [""] * 5


async def test_other_threads_are_no_loop(world: World) -> None:
    limit(world, loop=2)
    for number in range(4):
        await world.ask(thread=Thread("memory", "acme/app", str(100 + number)))
        await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    assert len(world.bus.runs) == 4
    assert conversation_id(Thread("memory", "acme/app", "103")) == world.bus.runs[-1][0]
