"""The front desk: who is let in, what is said, and that it is said once."""

import time
from dataclasses import dataclass

import pytest

from bot.agent.history import History
from bot.auth.multi_user import MultiUser
from bot.auth.single_user import SingleUser
from bot.core.errors import ProviderError
from bot.core.events import Closed
from bot.core.inbound import Account, Origin
from bot.core.outbound import OpenChange, React, Say
from bot.core.ports import AuthContext, User
from bot.core.secret import Secret
from bot.flows import desk
from tests.flows.conftest import CONVERSATION, Killed, World


@dataclass
class Clock:
    """What time it is, in Unix seconds."""

    now: float

    def __call__(self) -> float:
        return self.now


def at(world: World, now: float) -> Clock:
    """Let it be this time for everybody, until the clock is set."""
    clock = Clock(now)
    world.use(clock=clock)
    world.store.log._clock = world.store.inbox._clock = clock  # type: ignore[attr-defined]
    return clock


async def test_a_request_is_admitted_with_eyes_and_a_status(world) -> None:
    seq = await world.admit()
    assert world.said() == {f"react:{seq}": "eyes", f"status:{seq}": "queued"}
    assert (await world.state()).requests[seq].phase == "admitted"
    assert world.bus.runs


async def test_where_logins_are_no_names_people_have_their_names(world) -> None:
    async def called(account: Account, _token: Secret) -> str:
        return account.login.title()

    world.forge.called = called
    seq = await world.admit()
    request = (await world.state()).requests[seq]
    assert request.trigger.actor == Account("memory", "alice", "alice", name="Alice")
    [_, message] = History("system").follow(await world.store.log.read(CONVERSATION))
    assert message["content"].startswith("Alice writes in")


async def test_nobody_is_taken_for_another_because_of_a_name(world) -> None:
    async def called(account: Account, _token: Secret) -> str:
        return {"alice": "mallory", "mallory": "alice"}[account.login]

    world.forge.called = called
    context = AuthContext(world.store.accounts, Secret("k" * 20), "http://here", login="memory:alice")
    world.use(auth=SingleUser(context))
    seqs = [await world.admit(who="alice"), await world.admit(who="mallory")]
    await world.run()
    assert [(await world.state()).requests[seq].ending for seq in seqs] == ["finished", "refused"]


async def test_a_desk_asked_twice_does_it_once(world) -> None:
    seq = await world.admit()
    calls = len(world.forge.calls)
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    assert len(world.forge.calls) == calls
    assert seq in (await world.state()).requests


async def test_somebody_without_the_right_is_refused_once(world) -> None:
    first = await world.admit(who="mallory")
    second = await world.admit("@onhand again", who="mallory")
    assert world.forge.made(Say) == ["permission:memory:mallory"]
    assert not world.bus.runs
    requests = (await world.state()).requests
    assert [requests[seq].ending for seq in (first, second)] == ["refused", "refused"]


async def test_somebody_who_lost_the_right_is_told_so_once(world) -> None:
    await world.admit(who="mallory")
    world.forge.writers.add("mallory")
    await world.admit("@onhand now I may", who="mallory")
    await world.run()
    world.forge.writers.discard("mallory")
    for _ in range(2):
        await world.admit("@onhand again", who="mallory")
    assert len([topic for topic in world.forge.made(Say) if topic.startswith("permission:memory:mallory")]) == 2


async def test_who_writes_retry_to_a_refusal_is_answered_but_not_faster_than_people_write(world) -> None:
    clock = at(world, time.time() // 60 * 60)
    refused = [await world.admit(text, who="mallory") for text in ("@onhand fix it", "@onhand retry", "@onhand retry")]
    assert len(world.said()) == 2, "once for what was asked, once for the retry"
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    assert len(world.said()) == 2
    clock.now += 60
    refused.append(await world.admit("@onhand retry", who="mallory"))
    assert len(world.said()) == 3
    assert len(set(world.said().values())) == 1
    assert [(await world.state()).requests[seq].ending for seq in refused] == ["refused"] * 4


async def test_a_desk_that_is_killed_after_it_refused_a_retry_says_it_once(world, monkeypatch) -> None:
    at(world, time.time())
    seq = await world.ask("@onhand retry", who="mallory")
    append = world.store.log.append

    async def append_or_die(conversation_id, drafts, *, expected):
        if any(isinstance(draft.fact, Closed) for draft in drafts):
            raise Killed
        return await append(conversation_id, drafts, expected=expected)

    monkeypatch.setattr(world.store.log, "append", append_or_die)
    with pytest.raises(Killed):
        await desk.acknowledge(world.services, CONVERSATION, seq)
    monkeypatch.undo()
    await desk.acknowledge(world.services, CONVERSATION, seq)
    assert len(world.forge.made(Say)) == 1
    assert (await world.state()).requests[seq].ending == "refused"


async def test_who_lost_the_link_gets_another_by_retry(world) -> None:
    world.use(auth=MultiUser(AuthContext(world.store.accounts, Secret("k" * 20), "http://here")))
    seqs = [await world.admit(), await world.admit("@onhand retry")]
    assert all("ticket=" in text for text in world.said().values())
    assert len(world.said()) == 2
    assert [(await world.state()).requests[seq].phase for seq in seqs] == ["waiting", "waiting"]


async def test_the_bot_needs_the_right_too(world, monkeypatch: pytest.MonkeyPatch) -> None:
    world.forge.writers.clear()
    await world.admit()
    assert not world.bus.runs


async def test_an_unknown_person_waits_with_a_link_and_goes_on_when_linked(world) -> None:
    world.use(auth=MultiUser(AuthContext(world.store.accounts, Secret("k" * 20), "http://here")))
    seq = await world.admit()
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    [said] = world.forge.made(Say)
    assert "http://here/api/auth/connect?ticket=" in world.said()[said]
    assert (await world.state()).requests[seq].phase == "waiting"
    alice = Account("memory", "alice", "alice")
    await world.store.accounts.link(alice, "alice")
    assert await world.store.inbox.waiting_for(alice) == [(world.bus.acknowledged[-1][0], seq)]
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    assert (await world.state()).requests[seq].phase == "admitted"
    assert world.bus.runs


async def test_an_account_that_is_linked_while_the_person_is_told_to_is_not_overlooked(world) -> None:
    class LinkedJustAfter(MultiUser):
        async def user_of(self, account: Account) -> User | None:
            seen = await super().user_of(account)
            await world.store.accounts.link(account, "alice")
            return seen

    world.use(auth=LinkedJustAfter(AuthContext(world.store.accounts, Secret("k" * 20), "http://here")))
    seq = await world.admit()
    assert (await world.state()).requests[seq].phase == "admitted"
    await world.run()
    assert (await world.state()).requests[seq].ending == "finished"


async def test_where_only_one_account_may_ask_a_stranger_is_refused_in_a_sentence(world) -> None:
    world.use(auth=SingleUser(AuthContext(world.store.accounts, Secret("k" * 20), "http://here", login="memory:alice")))
    seq = await world.admit(who="mallory")
    assert world.said()["stranger:memory:mallory"].startswith("I work for one account only")
    assert (await world.state()).requests[seq].ending == "refused"
    assert not world.bus.runs
    await world.admit(who="alice")
    assert world.bus.runs


@pytest.mark.parametrize(
    ("verb", "said"), [("help", "`stop`"), ("status", "Nothing is running"), ("stop", "Nothing is running")]
)
async def test_a_verb_without_work_is_answered_at_the_desk(world, verb: str, said: str) -> None:
    seq = await world.admit(f"@onhand {verb}")
    assert said in world.said()[f"reply:{seq}"]
    assert (await world.state()).requests[seq].phase == "closed"


async def test_a_second_mention_shares_the_first_ones_status(world) -> None:
    first = await world.admit()
    second = await world.admit("@onhand and this too")
    assert world.forge.made(Say) == [f"status:{first}"]
    assert world.forge.made(React) == [f"react:{first}", f"react:{second}"]
    assert world.forge.made(OpenChange) == []


async def test_a_comment_whose_answer_was_lost_is_found_again(world) -> None:
    world.forge.fail(Say, ProviderError("unavailable", "cut off", retry_after=60), after=True)
    seq = await world.ask()
    with pytest.raises(ProviderError):
        await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    world.use(clock=lambda: __import__("time").time() + 60)
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    state = await world.state()
    assert state.topics[f"status:{seq}"].id == "2", "the comment that was made before it was cut off"


async def test_a_reaction_that_is_refused_stops_nothing(world) -> None:
    world.forge.fail(React, ProviderError("forbidden", "no reactions here"))
    seq = await world.admit()
    assert (await world.state()).requests[seq].phase == "admitted"


async def test_a_provider_that_is_busy_is_asked_again(world) -> None:
    world.forge.fail(Say, ProviderError("unavailable", "later", retry_after=0.01))
    seq = await world.admit()
    assert world.said()[f"status:{seq}"] == "queued"


async def test_in_a_session_the_first_sign_comes_before_anybody_is_asked_for_rights(world) -> None:
    session = Origin("session", "s-1", thread_id="session:s-1")
    seq = await world.admit(who="mallory", origin=session)
    assert [type(call) for call in world.forge.calls] == [React, Say]
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    assert next(iter(world.said())) == f"react:{seq}"
    assert len(world.forge.calls) == 2


async def test_a_request_of_another_place_in_the_thread_has_a_status_of_its_own(world) -> None:
    first = await world.admit(origin=Origin("session", "s-1", thread_id="session:s-1"))
    beside = await world.admit(origin=Origin("session", "s-1", thread_id="session:s-1"))
    other = await world.admit(origin=Origin("session", "s-2", thread_id="session:s-2"))
    await world.run()
    said = world.said()
    assert said[f"status:{first}"].startswith("ended")
    assert said[f"status:{other}"].startswith("ended")
    assert f"status:{beside}" not in said
