"""A run cut off anywhere goes on: nothing is paid for twice, nothing done twice, every call has one result."""

from collections import Counter

import pytest

from bot.agent.history import History
from bot.core.events import Finish, ModelReply, Observation, Problem, RunCommand
from bot.testing.models import ScriptedModel


def step(*calls, text=""):
    return {"text": text, "calls": [{"name": name, "arguments": arguments} for name, arguments in calls]}


SCRIPTS = {
    "ordinary": [
        step(("task_list", {"task_list": [{"title": "Mend"}]})),
        step(("bash", {"command": "a"}), ("bash", {"command": "b"}), ("edit", {"command": "view", "path": "no"})),
        step(text="Let me think."),
        step(("no_such_tool", {}), ("bash", "{broken")),
        step(("bash", {"command": "c"}), ("finish", {"summary": "Done.", "title": "Mend it"})),
    ],
    "words": [step(("bash", {"command": "a"})), step(text="One."), step(), step(text="Three.")],
    "nothing": [step(("bash", {"command": "a"})), step(), step(), step()],
    "rejected": [step(("bash", {"command": "a"}), ("finish", {"summary": "No.", "reject": True}))],
}


class Counting(ScriptedModel):
    """Notes the steps that it was paid for."""

    def __init__(self, script):
        super().__init__(script)
        self.paid = []

    async def complete(self, messages, tools):
        reply = await super().complete(messages, tools)
        self.paid.append(sum(m["role"] == "assistant" for m in messages))
        return reply


async def whole(kit, script):
    log = kit.Log()
    await log.asked(kit.trigger())
    await log.began()
    return log, await kit.Bench(log, kit.Box(), kit.tools).work(script)


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_log_cut_anywhere_comes_to_the_same_ending(kit, name):
    script = SCRIPTS[name]
    log, outcome = await whole(kit, script)
    for length in range(3, len(log.events) + 1):
        box, model, cut = kit.Box(), Counting(script), log.cut(length)
        done = Counter(e.call_id for e in cut.events if isinstance(e.fact, RunCommand))
        paid = len(cut.facts(ModelReply))

        assert await kit.Bench(cut, box, kit.tools).work(model) == outcome, f"cut after {length}"

        assert model.paid == list(range(paid, len(script))), f"cut after {length}"
        calls = [c["id"] for r in cut.facts(ModelReply) for c in r.calls]
        results = Counter(e.call_id for e in cut.events if e.call_id and isinstance(e.fact, Observation))
        assert results == Counter(calls), f"cut after {length}"
        asked_for = [f.command for f in log.facts(RunCommand)]
        assert sum(c in asked_for for c, _, _ in box.commands) + done.total() == len(asked_for), f"cut after {length}"


async def test_a_second_cut_changes_nothing_either(kit):
    script = SCRIPTS["ordinary"]
    log, outcome = await whole(kit, script)
    for length in range(3, len(log.events), 3):
        once = log.cut(length)
        await kit.Bench(once, kit.Box(), kit.tools).work(script)
        for again in range(length, len(once.events), 4):
            assert await kit.Bench(once.cut(again), kit.Box(), kit.tools).work(script) == outcome


async def test_an_action_that_may_have_begun_is_not_done_again(kit):
    log, _ = await whole(kit, SCRIPTS["ordinary"])
    at = next(i for i, e in enumerate(log.events) if isinstance(e.fact, RunCommand)) + 1
    cut, box = log.cut(at), kit.Box()
    await kit.Bench(cut, box, kit.tools).work(SCRIPTS["ordinary"])
    interrupted = [f for f in cut.facts(Problem) if f.error_id == "interrupted"]
    assert interrupted[0].content.startswith("interrupted: result unknown")
    assert "a" not in [c for c, _, _ in box.commands]


async def test_an_action_of_an_earlier_run_gets_its_result_too(kit):
    log, _ = await whole(kit, SCRIPTS["ordinary"])
    at = next(i for i, e in enumerate(log.events) if isinstance(e.fact, RunCommand)) + 1
    cut = log.cut(at)
    await cut.asked(kit.trigger("again", verb="retry"))
    await cut.began("r2")
    await kit.Bench(cut, kit.Box(), kit.tools).work(SCRIPTS["ordinary"])
    assert next(f.error_id for f in cut.facts(Problem)) == "interrupted"


async def test_a_finish_of_an_earlier_run_does_not_end_the_next(kit):
    log, _ = await whole(kit, SCRIPTS["rejected"])
    await log.asked(kit.trigger("do it anyway"))
    await log.began("r2")
    last = [*SCRIPTS["rejected"], step(("finish", {"summary": "Well then."}))]
    outcome = await kit.Bench(log, kit.Box(), kit.tools).work(last)
    assert (outcome.ending, outcome.text) == ("finished", "Well then.")
    assert len(log.facts(Finish)) == 1


async def test_the_prompt_after_a_resume_is_what_it_would_have_been(kit):
    log, _ = await whole(kit, SCRIPTS["ordinary"])
    step_by_step = History("s")
    for length in range(len(log.events) + 1):
        step_by_step.follow(log.events[:length])
    assert step_by_step.messages == History("s").follow(log.events)
