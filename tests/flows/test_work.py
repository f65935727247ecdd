"""Runs: one ending each, whatever happens on the way."""

import asyncio
import time

import pytest

from bot.auth.multi_user import MultiUser
from bot.core.errors import Conflict, LeaseLost, ProviderError, Refused, SandboxError
from bot.core.events import Calling, Draft, ModelReply, RunStarted
from bot.core.inbound import Account
from bot.core.outbound import OpenChange, Say
from bot.core.ports import AuthContext, Model
from bot.core.secret import Secret
from bot.flows import desk
from bot.flows.runlog import ConversationLog
from bot.flows.work import COMES_BACK


async def test_a_request_becomes_a_change(world) -> None:
    seq = await world.admit()
    assert await world.run() == 0.0
    assert world.pushes.pushed == {"onhand/12-login-redirect": "c" * 40}
    assert world.forge.made(OpenChange) == ["change:onhand/12-login-redirect"]
    assert world.said()[f"status:{seq}"].startswith("ended finished: It works.")
    assert not world.boxes.living
    assert (await world.store.conversations.get(world.bus.runs[0][0])).status == "finished"


async def test_work_that_changes_nothing_is_an_answer(world) -> None:
    world.pushes.changed = False
    seq = await world.admit("@onhand how does it work?")
    await world.run()
    assert world.forge.made(OpenChange) == []
    assert "It works." in world.said()[f"status:{seq}"]


async def test_a_plan_changes_nothing(world) -> None:
    await world.admit("@onhand plan it")
    await world.run()
    assert world.pushes.pushed == {}


async def test_a_follow_up_continues_on_the_same_branch(world) -> None:
    await world.admit()
    await world.run()
    second = await world.admit("@onhand rename it")
    world.script = [*world.script, *world.script]
    await world.run("worker/2")
    assert list(world.pushes.pushed) == ["onhand/12-login-redirect"]
    assert world.forge.made(OpenChange) == ["change:onhand/12-login-redirect"]
    assert world.said()[f"status:{second}"].startswith("ended finished")


async def test_a_request_during_a_run_is_answered_by_it(world) -> None:
    world.boxes.hold = asyncio.Event()
    first = await world.admit()
    running = asyncio.create_task(world.run())
    while not world.boxes.living or not next(iter(world.boxes.living.values())).commands:
        await asyncio.sleep(0.01)
    second = await world.admit("@onhand and mind the tests")
    world.boxes.hold.set()
    await running
    state = await world.state()
    assert [state.requests[seq].ending for seq in (first, second)] == ["finished", "finished"]
    assert world.forge.made(Say) == [f"status:{first}"]


async def test_stop_ends_a_run_in_the_middle_of_a_command(world) -> None:
    world.boxes.hold = asyncio.Event()
    seq = await world.admit()
    running = asyncio.create_task(world.run())
    while not world.boxes.living or not next(iter(world.boxes.living.values())).commands:
        await asyncio.sleep(0.01)
    box = next(iter(world.boxes.living.values()))
    stop = await world.admit("@onhand stop")
    await running
    assert box.interrupted
    assert "Stopped, as alice asked." in world.said()[f"status:{seq}"]
    assert world.forge.made(OpenChange) == []
    state = await world.state()
    assert [state.requests[s].phase for s in (seq, stop)] == ["closed", "closed"]


async def test_stop_before_the_run_begins_starts_no_agent(world) -> None:
    seq = await world.admit()
    await world.admit("@onhand stop")
    await world.run()
    assert "ended stopped" in world.said()[f"status:{seq}"]
    assert world.boxes.made == 0


async def test_a_stop_by_somebody_without_the_right_stops_nothing(world) -> None:
    seq = await world.admit()
    await world.admit("@onhand stop", who="mallory")
    await world.run()
    assert "ended finished" in world.said()[f"status:{seq}"]


async def test_a_second_worker_waits_for_the_lease(world) -> None:
    await world.admit()
    await world.store.leases.take(world.bus.runs[0][0], "somebody", 5)
    assert 0 < await world.run() <= 5


async def test_a_run_that_finds_all_answered_waits_for_no_lease(world) -> None:
    await world.admit()
    assert await world.run() == 0.0
    await world.store.leases.take(world.bus.runs[0][0], "somebody", 5)
    assert await world.run() == 0.0


async def test_a_right_taken_away_meanwhile_pushes_nothing(world) -> None:
    seq = await world.admit()
    world.boxes.hold = asyncio.Event()
    running = asyncio.create_task(world.run())
    while not world.boxes.living or not next(iter(world.boxes.living.values())).commands:
        await asyncio.sleep(0.01)
    world.forge.writers.discard("alice")
    world.boxes.hold.set()
    await running
    assert world.pushes.pushed == {}
    assert "ended refused" in world.said()[f"status:{seq}"]


async def test_a_run_whose_account_is_gone_says_what_to_do_and_a_retry_goes_on(world) -> None:
    alice = Account("memory", "alice", "alice")
    world.use(auth=MultiUser(AuthContext(world.store.accounts, Secret("k" * 20), "http://here")))
    await world.store.accounts.link(alice, "alice")
    seq = await world.admit()
    await world.run_and_die_with("run_started")
    await world.store.accounts.unlink(alice)
    await world.run("worker/2")
    said = world.said()[f"status:{seq}"]
    assert "Please connect your account, then write `retry`: http://here/api/auth/connect?ticket=" in said
    assert "by myself" not in said
    await world.store.accounts.link(alice, "alice")
    again = await world.admit("@onhand retry")
    await world.run("worker/2")
    assert "ended finished" in world.said()[f"status:{again}"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProviderError("conflict", "rejected"), "Somebody else pushed"),
        (ProviderError("forbidden", "no"), "does not have the right"),
        (SandboxError("too large"), "The sandbox failed"),
    ],
)
async def test_a_push_that_fails_is_said(world, error: Exception, said: str) -> None:
    world.pushes.error = error
    seq = await world.admit()
    await world.run()
    assert said in world.said()[f"status:{seq}"]


async def _shut_out(place: str, use: str = "") -> Secret | None:
    raise Refused("not_installed", "I am not installed there.")


async def test_shut_out_meanwhile_it_goes_on_when_it_is_let_in_again(world) -> None:
    seq = await world.admit()
    world.forge.token = _shut_out
    with pytest.raises(ProviderError, match="not installed"):
        await world.run()
    assert (await world.state()).requests[seq].phase == "admitted"
    del world.forge.token
    await world.run("worker/2")
    assert (await world.state()).requests[seq].phase == "closed"
    assert "ended finished" in world.said()[f"status:{seq}"]


async def test_shut_out_for_good_it_ends_without_a_word(world) -> None:
    seq = await world.admit()
    world.forge.token = _shut_out
    world.use(clock=lambda: time.time() + COMES_BACK + 1)
    await world.run()
    assert (await world.state()).requests[seq].phase == "closed"


async def test_a_model_out_of_its_script_is_a_clear_failure(world) -> None:
    world.script = []
    seq = await world.admit()
    await world.run()
    assert "ended failed" in world.said()[f"status:{seq}"]


async def test_an_unknown_model_is_refused_in_words(world) -> None:
    seq = await world.admit("@onhand model=none fix it")

    def no_model(name: str) -> Model:
        raise Refused("model", f"There is no model named {name}.")

    world.model = no_model
    await world.run()
    assert "There is no model named none." in world.said()[f"status:{seq}"]


async def test_the_log_is_the_fence(world) -> None:
    await world.admit()
    conversation = world.bus.runs[0][0]
    old = await ConversationLog.open(world.store.log, conversation, "old")
    await old.append(Draft(RunStarted(run="r", holder="old", requests=[1])))
    new = await ConversationLog.open(world.store.log, conversation, "new")
    await new.append(Draft(RunStarted(run="r", holder="new", requests=[1], resumed=True)))
    for task in (
        old.refresh,
        old.refresh,
        lambda: old.claim("late"),
        lambda: old.append(Draft(ModelReply(content="late"))),
    ):
        with pytest.raises(LeaseLost):  # each task of the old holder hears of it
            await task()
    facts = [event.fact for event in await world.store.log.read(conversation)]
    assert not any(isinstance(fact, ModelReply | Calling) and "late" in str(fact) for fact in facts)


async def test_two_desks_cannot_both_claim_a_topic(world) -> None:
    await world.admit()
    conversation = world.bus.runs[0][0]
    logs = [await ConversationLog.open(world.store.log, conversation) for _ in range(5)]
    claimed = await asyncio.gather(*(log.claim("once") for log in logs))
    assert sorted(claimed) == [False] * 4 + [True]


async def test_killed_after_any_event_it_ends_once_all_the_same(world) -> None:
    """The worker dies right after each event in turn; another goes on. One comment, one change, no answer paid twice."""
    log = world.store.log
    append, lives = log.append, 0

    async def append_and_die(conversation_id, drafts, *, expected):  # type: ignore[no-untyped-def]
        nonlocal lives
        events = await append(conversation_id, drafts, expected=expected)
        lives -= 1
        if lives == 0:
            raise asyncio.CancelledError
        return events

    log.append = append_and_die
    try:
        await world.ask()
        for survived in range(1, 60):
            lives = survived
            try:
                await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
                await world.run(f"worker/{survived}")
            except asyncio.CancelledError:
                continue
            except ProviderError:
                lives = 10**6
                world.use(clock=_in_a_minute)
                continue
            break
    finally:
        log.append = append
    events = await log.read(world.bus.acknowledged[-1][0])
    replies = [e for e in events if isinstance(e.fact, ModelReply)]
    assert len(replies) == 2, "each step of the script is paid for once"
    state = await world.state()
    assert {r.ending for r in state.requests.values()} == {"finished"}
    assert len(world.forge._receipts) == 4, "eyes, one comment, one change, one check"


def _in_a_minute() -> float:
    return time.time() + 60


def test_conflict_says_what_to_do() -> None:
    assert "read and try again" in str(Conflict("c", 1, 2))
