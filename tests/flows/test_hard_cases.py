"""What went wrong once, or nearly did: each case stays here."""

import asyncio
import errno
import time
from typing import Any

import pytest

from bot.core.errors import ProviderError, Refused, SandboxError, SandboxGone, Unavailable
from bot.core.events import Boxed, Closed, Draft, ModelReply, Notice
from bot.core.outbound import Change, OpenChange, Patch, Status
from bot.core.ports import Source, User
from bot.core.secret import Secret
from bot.flows import site
from bot.flows.deliver import INEXACT, MASKED
from bot.flows.identity import Grant
from bot.flows.runlog import ConversationLog
from bot.flows.work import COMES_BACK
from bot.flows.workplace import find_workplace
from bot.testing.models import ScriptedModel
from tests.flows.conftest import CONVERSATION, FINISH, RUN_THE_TESTS


async def running(world) -> tuple[int, "asyncio.Task[float]"]:
    """Begin a run and let it get into the middle of a command."""
    world.boxes.hold = asyncio.Event()
    seq = await world.admit()
    run = asyncio.create_task(world.run())
    while not world.boxes.living or not next(iter(world.boxes.living.values())).commands:
        await asyncio.sleep(0.01)
    return seq, run


async def _token() -> Secret:
    return Secret("token")


async def test_a_retry_after_a_stop_goes_on_from_the_branch_that_was_kept(world) -> None:
    _, run = await running(world)
    await world.admit("@onhand stop")
    await run
    assert world.pushes.pushed, "the work so far is kept"
    await world.admit("@onhand retry")
    state = await world.state()
    trigger = list(state.requests.values())[-1].trigger
    place = await find_workplace(world.services, state, trigger, Grant(User("u", "u"), _token, _token, "bot"))
    assert place.source.head == place.branch


async def test_what_cannot_be_taken_along_is_named(world) -> None:
    async def take(*_: Any) -> Change:
        return Change("", "base", left_out=("app/",))

    world.pushes.take = take
    seq = await world.admit()
    await world.run()
    assert world.said()[f"status:{seq}"].startswith("ended finished")
    assert "repository of its own: `app/`." in world.said()[f"status:{seq}"]
    assert not any(isinstance(call, OpenChange) for call in world.forge.calls)


async def test_a_request_after_a_stop_is_not_stopped_with_the_rest(world) -> None:
    _, run = await running(world)
    push, gate, pushing = world.pushes.push, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> None:
        pushing.set()
        await gate.wait()
        await push(*arguments)

    world.pushes.push = slow
    await world.admit("@onhand stop")
    await pushing.wait()
    later = await world.admit("@onhand do it the other way")
    world.boxes.hold = None
    world.script = [*world.script, *world.script]
    gate.set()
    await run
    assert (await world.state()).requests[later].ending == "finished"


async def test_a_refused_request_does_not_take_another_ones_with_it(world) -> None:
    world.forge.writers.add("bob")
    first = await world.admit()
    second = await world.admit("@onhand rename it", who="bob")
    world.forge.writers.discard("alice")
    await world.run()
    requests = (await world.state()).requests
    assert (requests[first].ending, requests[second].ending) == ("refused", "finished")


async def test_a_box_into_which_nothing_could_be_put_is_removed(world) -> None:
    async def put(*_: Any) -> None:
        raise Refused("large", "too large")

    world.pushes.put = put
    seq = await world.admit()
    await world.run()
    assert not world.boxes.living
    assert "too large" in world.said()[f"status:{seq}"]


async def test_somebody_without_the_right_here_cannot_act_by_naming_a_repository_of_their_own(world) -> None:
    async def may_write(repository: Any, account: Any, token: Any) -> bool:
        return account.login == "alice" or repository.name == "mallory/own"

    world.forge.may_write = may_write
    seq, run = await running(world)
    await world.admit("@onhand stop repo=mallory/own", who="mallory")
    await asyncio.sleep(0.1)
    assert not run.done()
    world.boxes.hold.set()
    await run
    assert "ended finished" in world.said()[f"status:{seq}"]


async def test_a_database_away_for_a_moment_cuts_no_command_off(world) -> None:
    seq, run = await running(world)
    read, failures = world.services.log.read, [Unavailable("locked")] * 3

    async def failing(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await read(*arguments, **options)

    world.services.log.read = failing
    while failures:
        await asyncio.sleep(0.01)
    world.boxes.hold.set()
    assert await run == 0.0
    assert (await world.state()).requests[seq].ending == "finished"
    assert world.boxes.made == 1


@pytest.mark.parametrize("stored", [False, True], ids=["before it is stored", "when only its answer is lost"])
async def test_what_the_model_answers_while_the_database_is_away_is_kept_once(world, stored: bool) -> None:
    asked, append, failures = list[Any](), world.services.log.append, [Unavailable("restarted")] * 2

    async def failing(conversation: str, drafts: Any, *, expected: int) -> Any:
        of_the_model = any(isinstance(draft.fact, ModelReply) for draft in drafts)
        if of_the_model and stored and len(failures) == 2:
            await append(conversation, drafts, expected=expected)
        if of_the_model and failures:
            raise failures.pop()
        return await append(conversation, drafts, expected=expected)

    class Counting(ScriptedModel):
        async def complete(self, *arguments: Any, **options: Any) -> Any:
            asked.append(arguments)
            return await super().complete(*arguments, **options)

    seq = await world.admit()
    world.services.log.append = failing
    world.model = lambda _: Counting(list(world.script))
    await world.run()
    assert not failures
    assert len(asked) == len(world.script)
    events = await world.store.log.read(CONVERSATION)
    assert sum(isinstance(event.fact, ModelReply) for event in events) == len(world.script)
    assert (await world.state()).requests[seq].ending == "finished"


@pytest.mark.parametrize("stored", [False, True], ids=["another wrote before us", "it was ours"])
async def test_a_database_that_leaves_while_what_was_added_is_read_is_waited_for(
    world, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    await world.admit()
    log = await ConversationLog.open(world.store.log, CONVERSATION, "worker/1")
    append, read, answered = world.store.log.append, world.store.log.read, Draft(ModelReply(content="so it is"))
    if not stored:
        await append(CONVERSATION, [Draft(Notice(reason="other", content="aside"))], expected=log.state.seq)
    lost, unread = [Unavailable("restarted")] * stored, [Unavailable("restarting")]

    async def storing(*arguments: Any, **options: Any) -> Any:
        events = await append(*arguments, **options)
        if lost:
            raise lost.pop()
        return events

    async def failing(*arguments: Any, **options: Any) -> Any:
        if unread:
            raise unread.pop()
        return await read(*arguments, **options)

    monkeypatch.setattr(world.store.log, "append", storing)
    monkeypatch.setattr(world.store.log, "read", failing)
    (event,) = await log.append(answered)
    assert event.fact == answered.fact
    assert not lost
    assert not unread
    assert sum(isinstance(event.fact, ModelReply) for event in await read(CONVERSATION)) == 1


async def test_a_database_away_when_the_log_must_be_written_cuts_the_run_off_and_it_goes_on_later(world) -> None:
    seq, run = await running(world)
    append = world.services.log.append

    async def failing(*_: Any, **__: Any) -> Any:
        raise Unavailable("locked")

    world.services.log.append = failing
    world.boxes.hold.set()
    with pytest.raises(Unavailable):
        await run
    world.services.log.append = append
    await world.run("worker/2")
    assert (await world.state()).requests[seq].ending == "finished"


async def test_a_thread_that_takes_no_message_still_ends(world) -> None:
    seq = await world.admit()

    async def perform(*_: Any) -> None:
        raise ProviderError("missing", "the issue was deleted")

    world.forge.perform = perform
    with pytest.raises(ProviderError):
        await world.run()
    world.use(clock=lambda: time.time() + COMES_BACK)
    assert await world.run("worker/2") == 0.0
    assert (await world.state()).requests[seq].phase == "closed"
    assert not world.boxes.living


@pytest.mark.parametrize("later", [0.0, COMES_BACK])
async def test_a_forge_that_is_away_is_waited_for_but_not_for_ever_and_not_after_a_stop(world, later: float) -> None:
    world.pushes.error = ProviderError("limited", "slow down", retry_after=600.0)
    seq = await world.admit()
    with pytest.raises(ProviderError):
        await world.run()
    assert world.said()[f"status:{seq}"] == "running"
    assert world.boxes.living, "the work is kept"
    if not later:
        await world.admit("@onhand stop")
    world.use(clock=lambda: time.time() + later)
    assert await world.run("worker/2") == 0.0
    assert "ended failed: The platform's rate limit" in world.said()[f"status:{seq}"]
    assert not (await world.state()).open("admitted")


async def test_a_forge_that_is_away_when_the_run_begins_is_waited_for_and_that_is_said(world) -> None:
    seq = await world.admit()
    may_write = world.forge.may_write

    async def busy(*_: Any) -> bool:
        raise ProviderError("limited", "slow down", retry_after=600.0)

    world.forge.may_write = busy
    with pytest.raises(ProviderError):
        await world.run()
    assert world.said()[f"status:{seq}"] == "running"
    world.forge.may_write = may_write
    await world.run("worker/2")
    assert world.said()[f"status:{seq}"].startswith("ended finished")


async def test_work_that_was_lost_with_its_box_is_not_called_done(world) -> None:
    seq = await world.admit()
    await world.run_and_die_with("run_ended")
    await world.run("worker/2")
    assert "ended failed" in world.said()[f"status:{seq}"]
    assert world.forge.made(OpenChange) == []


async def test_a_box_that_dies_is_started_again_and_the_run_goes_on(world) -> None:
    world.boxes.deaths = 3
    world.script = [RUN_THE_TESTS, RUN_THE_TESTS, RUN_THE_TESTS, FINISH]
    seq = await world.admit()
    await world.run()
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert world.boxes.made == 1
    assert len(world.forge.made(OpenChange)) == 1


async def test_a_box_that_dies_again_while_it_is_entered_keeps_its_files(world) -> None:
    world.boxes.deaths, attach, dying = 1, world.boxes.attach, [SandboxGone("the box has closed the connection")]

    async def attached(state: str) -> Any:
        box = await attach(state)

        async def interrupt() -> None:
            if dying:
                raise dying.pop()
            assert box.resumed, "somebody may have stopped it"

        box.interrupt = interrupt
        return box

    world.boxes.attach = attached
    seq = await world.admit()
    await world.run()
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert world.boxes.made == 1
    assert not dying


async def test_a_box_that_dies_while_it_is_furnished_is_replaced(world) -> None:
    put, deaths = world.pushes.put, [SandboxGone("there is no box")]

    async def furnish(*given: Any) -> None:
        if deaths:
            raise deaths.pop()
        await put(*given)

    world.pushes.put = furnish
    seq = await world.admit()
    await world.run()
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert world.boxes.made == 2


async def test_a_box_that_dies_of_everything_ends_the_run_and_its_work_is_kept(world) -> None:
    world.boxes.deaths = 100
    world.script = [RUN_THE_TESTS] * 100
    seq = await world.admit()
    await world.run()
    said = world.said()[f"status:{seq}"]
    assert "ended failed" in said
    assert "The sandbox failed" in said
    [branch] = world.pushes.pushed
    assert branch in said


async def test_a_box_that_died_with_its_files_is_replaced_and_the_model_is_told(world) -> None:
    async def gone(state: str) -> Any:
        world.boxes.deaths = 0
        raise SandboxGone(state)

    world.boxes.deaths, world.boxes.attach = 1, gone
    seq = await world.admit()
    await world.run()
    assert world.boxes.made == 2
    assert "ended finished" in world.said()[f"status:{seq}"]
    facts = [event.fact for event in await world.store.log.read(CONVERSATION)]
    assert [fact.reason for fact in facts if isinstance(fact, Notice)] == ["sandbox_lost", "end"]


async def test_a_box_of_another_kind_is_not_started_but_replaced_and_the_model_is_told(world) -> None:
    world.boxes.attach = _never
    seq = await world.admit()
    await world.run_and_die_with("model_reply")
    world.boxes.name = "another"
    await world.run("worker/2")
    assert "ended finished" in world.said()[f"status:{seq}"]
    facts = [event.fact for event in await world.store.log.read(CONVERSATION)]
    assert [fact.sandbox for fact in facts if isinstance(fact, Boxed) and fact.state] == ["memory", "another"]
    assert "sandbox_lost" in [fact.reason for fact in facts if isinstance(fact, Notice)]


async def _never(state: str) -> Any:
    raise SandboxError(f"no box of ours: {state}")


@pytest.mark.parametrize("when", ["create", "attach"])
async def test_an_engine_that_is_started_anew_is_waited_for(world, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    monkeypatch.setattr(site, "_PAUSES", (0.0, 0.0, 0.0))
    world.boxes.deaths, away, start = 1, [1, 2, 3], getattr(world.boxes, when)

    async def busy(given: Any) -> Any:
        if away:
            away.pop()
            raise SandboxError("Docker does not answer")
        return await start(given)

    setattr(world.boxes, when, busy)
    seq = await world.admit()
    await world.run()
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert not away


async def test_a_box_that_dies_while_its_work_is_handed_out_hands_it_out_once_more(world) -> None:
    taken, take = list[str](), world.pushes.take

    async def dying(source: Source, base: str, branch: str, box: Any, message: str) -> Any:
        taken.append(box.state)
        if len(taken) == 1:
            raise SandboxGone("the box has closed the connection")
        return await take(source, base, branch, box, message)

    world.pushes.take = dying
    seq = await world.admit()
    await world.run()
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert taken == ["box-1", "box-1"]


async def test_what_was_pushed_is_proposed_without_the_box(world) -> None:
    seq = await world.admit()
    await world.run_and_die_with("landed")
    world.pushes.pushed.clear()
    await world.run("worker/2")
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert len(world.forge.made(OpenChange)) == 1
    assert world.pushes.pushed == {}, "once is enough"


async def test_the_branch_of_work_that_was_cut_short_is_named_without_the_box(world) -> None:
    seq, run = await running(world)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await world.admit("@onhand stop")
    await world.run_and_die_with("landed")
    await world.run("worker/2")
    [branch] = world.pushes.pushed
    assert f"The work so far is on the branch `{branch}`" in world.said()[f"status:{seq}"]


@pytest.mark.parametrize("word", ["invalid", "missing", "forbidden"])
async def test_a_provider_that_refuses_for_good_is_not_asked_for_ever(world, word: Any) -> None:
    async def may_write(*_: Any) -> bool:
        raise ProviderError(word, "no")

    world.forge.may_write = may_write
    seq = await world.admit()
    assert (await world.state()).requests[seq].ending == "refused"
    assert f"provider_{word}:{seq}" in world.said()


async def test_a_stop_that_came_too_late_is_answered(world) -> None:
    seq = await world.admit()
    stop = await world.admit("@onhand stop")
    # the run has ended in another worker at this very moment
    log = await ConversationLog.open(world.store.log, world.bus.runs[0][0])
    await log.append(Draft(Closed(requests=[seq], ending="finished")))
    await world.run()
    assert world.said()[f"reply:{stop}"] == "Nothing is running here."
    assert (await world.state()).requests[stop].phase == "closed"


async def closed_fork(repository: Any, number: str, token: Any) -> Source:
    return Source(repository, "", "main", head="topic", head_ref="refs/pull/12/head", pushable=False)


async def test_a_patch_whose_box_is_lost_before_it_is_shown_is_made_again_from_the_mirror(world) -> None:
    world.forge.source = closed_fork
    seq = await world.admit(change=True)
    await world.run_and_die_with("landed")
    await world.run("worker/2")
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert "in a patch" in world.said()[f"status:{seq}"]
    assert world.said()[f"status:{seq}:patch"] == "From cccc: the work, ********\n"


async def test_where_no_change_may_be_opened_the_branch_with_the_work_is_named(world) -> None:
    world.forge.fail(OpenChange, ProviderError("forbidden", "Resource not accessible by personal access token"))
    seq = await world.admit()
    await world.run()
    [branch] = world.pushes.pushed
    assert "ended failed: My token does not have the right" in world.said()[f"status:{seq}"]
    assert f"The work is on the branch `{branch}`." in world.said()[f"status:{seq}"]


@pytest.mark.parametrize(
    ("text", "start", "proposed"),
    [
        ("@onhand retry", "c" * 40, True),
        ("@onhand what did you do?", "c" * 40, False),
        ("@onhand retry", "d" * 40, False),
    ],
    ids=["a retry", "a question", "somebody has gone on with it"],
)
async def test_a_retry_that_adds_nothing_proposes_what_could_not_be_proposed_before(
    world, text: str, start: str, proposed: bool
) -> None:
    async def fetch(*_: Any) -> str:
        return start

    world.forge.fail(OpenChange, ProviderError("forbidden", "Resource not accessible by personal access token"))
    await world.admit()
    await world.run()
    world.pushes.changed, world.pushes.fetch = False, fetch
    seq = await world.admit(text)
    world.script = [*world.script, *world.script]
    await world.run("worker/2")
    changes = [call for call in world.forge.calls if isinstance(call, OpenChange)]
    assert [call.head for call in changes] == (list(world.pushes.pushed) if proposed else [])
    assert all(call.body == "It works.\n\nIt works." for call in changes), "it tells of both runs"
    assert world.said()[f"status:{seq}"].startswith("ended finished: It works.")
    assert ("memory://" in world.said()[f"status:{seq}"]) is proposed


async def test_a_retry_proposes_nothing_when_the_right_to_write_is_gone_meanwhile(world) -> None:
    async def fetch(*_: Any) -> str:
        return "c" * 40

    async def take(*_: Any) -> Any:
        world.forge.writers.discard("alice")
        return None

    world.forge.fail(OpenChange, ProviderError("forbidden", "Resource not accessible by personal access token"))
    await world.admit()
    await world.run()
    world.pushes.fetch, world.pushes.take = fetch, take
    seq = await world.admit("@onhand retry")
    world.script = [*world.script, *world.script]
    await world.run("worker/2")
    assert not [call for call in world.forge.calls if isinstance(call, OpenChange)]
    assert "is gone" in world.said()[f"status:{seq}"]


async def test_a_retry_that_is_refused_the_change_again_names_the_branch_again(world) -> None:
    async def fetch(*_: Any) -> str:
        return "c" * 40

    for _ in range(2):
        world.forge.fail(OpenChange, ProviderError("forbidden", "Resource not accessible by personal access token"))
    await world.admit()
    await world.run()
    world.pushes.changed, world.pushes.fetch = False, fetch
    seq = await world.admit("@onhand retry")
    world.script = [*world.script, *world.script]
    await world.run("worker/2")
    [branch] = world.pushes.pushed
    assert f"The work is on the branch `{branch}`." in world.said()[f"status:{seq}"]


async def test_a_change_that_was_merged_meanwhile_gets_no_more_commits(world) -> None:
    async def source(repository: Any, number: str, token: Any) -> Source:
        merged = bool(world.boxes.made and "make test" in world.boxes.living["box-1"].commands)
        return Source(repository, "", "main", head="" if merged else "topic")

    world.forge.source = source
    seq = await world.admit(change=True)
    await world.run()
    [branch] = world.pushes.pushed
    assert branch.startswith("onhand/12-")
    assert "This was merged or closed meanwhile." in world.said()[f"status:{seq}"]
    assert f"`{branch}`" in world.said()[f"status:{seq}"]


async def test_work_in_a_fork_that_takes_no_push_is_a_masked_patch(world) -> None:
    world.forge.source = closed_fork
    seq = await world.admit(change=True)
    await world.run()
    assert world.pushes.pushed == {}
    assert world.forge.made(OpenChange) == []
    assert "allowing edits by maintainers" in world.said()[f"status:{seq}"]
    assert world.said()[f"status:{seq}:patch"] == "From cccc: the work, ********\n"


@pytest.mark.parametrize(
    ("patch", "shown", "flaw"),
    [
        (Patch("read me", "apply me"), "apply me", ""),
        (Patch("read me"), "read me", INEXACT),
        (Patch("read s3cret", "apply c3RyZXQ="), "read ********", MASKED),
        (Patch("read me", "apply s3cret"), "read me", INEXACT),
    ],
)
async def test_a_patch_is_offered_where_it_can_be_applied_as_it_is_shown(
    world, patch: Patch, shown: str, flaw: str
) -> None:
    said, render = list[Status](), world.forge.render

    async def as_text(source: Source, change: Change) -> Patch:
        return patch

    def keep(trigger: Any, status: Status, topic: str) -> Any:
        said.append(status)
        return render(trigger, status, topic)

    world.forge.source, world.forge.render, world.pushes.patch = closed_fork, keep, as_text
    await world.admit(change=True)
    await world.run()
    [status] = [status for status in said if status.patch]
    assert (status.patch, status.patch_flaw) == (shown, flaw)


async def test_a_full_disk_keeps_finished_work_waiting_and_loses_nothing(world) -> None:
    take, full = world.pushes.take, [OSError(errno.ENOSPC, "No space left on device")]

    async def taking(*arguments: Any) -> Any:
        if full:
            raise full.pop()
        return await take(*arguments)

    world.pushes.take = taking
    seq = await world.admit()
    with pytest.raises(Unavailable):
        await world.run()
    assert await world.run("worker/2") == 0.0
    assert "ended finished" in world.said()[f"status:{seq}"]
    assert (len(world.pushes.pushed), world.boxes.made) == (1, 1)
