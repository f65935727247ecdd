"""The fold: what a conversation's events amount to."""

from bot.core.conversation import State, conversation_id, fold
from bot.core.events import (
    Admitted,
    Asked,
    Boxed,
    Called,
    Calling,
    Closed,
    Event,
    Fact,
    ModelReply,
    RunEnded,
    RunStarted,
    TasksTracked,
)
from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.mentions import Request, Verb
from bot.core.outbound import Outcome, Receipt, Task

THREAD = Thread("github", "o/r", "12")


def asked(verb: Verb = "work") -> Asked:
    origin = Origin("comment", "1")
    return Asked(trigger=Trigger(THREAD, Account("github", "7", "alice"), Request(verb), "m", "mention", origin))


def state_after(*facts: Fact) -> State:
    return fold(Event(seq, float(seq), "environment", fact) for seq, fact in enumerate(facts, 1))


def test_a_thread_has_one_conversation_for_ever() -> None:
    assert conversation_id(THREAD) == conversation_id(Thread("github", "o/r", "12"))
    assert conversation_id(THREAD) != conversation_id(Thread("github", "o/r", "13"))
    assert THREAD.key == "github:o/r#12"


def test_a_request_goes_from_asked_to_closed() -> None:
    facts: list[Fact] = [asked(), Admitted(request=1, user="u"), Closed(requests=[1], ending="finished")]
    phases = [state_after(*facts[:upto]).requests[1].phase for upto in range(1, 4)]
    assert phases == ["asked", "admitted", "closed"]


def test_a_run_counts_its_steps_and_money() -> None:
    state = state_after(
        asked(), Admitted(request=1), RunStarted(run="r", holder="a", requests=[1]),
        ModelReply(cost_usd=0.5, input_tokens=3, output_tokens=4), ModelReply(cost_usd=0.25),
    )  # fmt: skip
    assert state.run is not None
    assert (state.run.steps, state.run.cost_usd, state.run.tokens, state.run.known_seq) == (2, 0.75, 7, 5)
    assert state.running()


def test_a_resumed_run_keeps_its_count_and_changes_its_holder() -> None:
    start = RunStarted(run="r", holder="a", requests=[1])
    again = RunStarted(run="r", holder="b", requests=[1], resumed=True)
    state = state_after(asked(), Admitted(request=1), start, ModelReply(), again)
    assert state.run is not None
    assert (state.run.holder, state.run.steps) == ("b", 1)


def test_a_call_begun_without_a_receipt_is_remembered() -> None:
    state = state_after(asked(), Calling(topic="a"), Calling(topic="b"), Called(topic="b", receipt=Receipt("1")))
    assert state.topics == {"a": None, "b": Receipt("1")}


def test_a_stop_counts_once_it_is_admitted_and_only_for_what_came_before() -> None:
    begun: list[Fact] = [asked(), Admitted(request=1), RunStarted(run="r", holder="a", requests=[1]), asked("stop")]
    assert state_after(*begun).stop_asked() is None
    assert state_after(*begun, Admitted(request=4)).stop_asked() is not None
    later = [*begun, Admitted(request=4), Closed(requests=[1, 4], ending="stopped"), asked(), Admitted(request=7)]
    assert state_after(*later).stop_asked() is None


def test_the_run_is_over_when_its_requests_are_closed() -> None:
    ended = RunEnded(run="r", outcome=Outcome("finished"))
    facts: list[Fact] = [asked(), Admitted(request=1), RunStarted(run="r", holder="a", requests=[1]), ended]
    assert state_after(*facts).running()
    assert not state_after(*facts, Closed(requests=[1])).running()


def test_tasks_and_branch_are_those_last_seen() -> None:
    tasks = TasksTracked(task_list=[{"title": "a", "status": "done"}, {"title": "b", "status": "strange"}])
    box = Boxed(sandbox="local", state="s", branch="onhand/12-x")
    state = state_after(
        asked(), RunStarted(run="r", holder="a", requests=[1]), box, tasks, Boxed(sandbox="local", state="")
    )
    assert state.tasks == (Task("a", "done"), Task("b", "todo"))
    assert (state.box, state.branch) == (None, "onhand/12-x")


def test_a_run_remembers_every_head_that_it_began_from() -> None:
    first, second = (Boxed(sandbox="local", state="s", base=base, at_head=True) for base in ("a" * 40, "b" * 40))
    begun = [asked(), RunStarted(run="r", holder="a", requests=[1])]
    state = state_after(*begun, first, second, Boxed(sandbox="local", state="s", base="c" * 40))
    assert state.run is not None
    assert state.run.heads == ("a" * 40, "b" * 40)


def test_a_run_in_the_box_of_the_one_before_begins_from_its_head() -> None:
    box = Boxed(sandbox="local", state="s", base="a" * 40, at_head=True)
    state = state_after(
        asked(), RunStarted(run="r", holder="a", requests=[1]), box, RunStarted(run="r2", holder="a", requests=[1])
    )
    assert state.run is not None
    assert (state.run.id, state.run.heads) == ("r2", ("a" * 40,))
