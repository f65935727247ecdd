"""The loop against everything that a model, a tool or a box may do to it."""

import asyncio
import subprocess
import sys

import pytest

from bot.agent import loop
from bot.core.errors import ContextTooLong, LeaseLost, ModelError, SandboxError, SandboxGone
from bot.core.events import (
    Admitted,
    Asked,
    CommandOutput,
    Draft,
    Finish,
    ModelReply,
    Notice,
    Problem,
    RunCommand,
    TasksTracked,
)
from bot.core.ports import Reply, ToolCall
from bot.testing.models import ScriptedModel


def step(*calls, text="", **more):
    return {"text": text, "calls": [{"name": name, "arguments": arguments} for name, arguments in calls], **more}


FINISH = step(("finish", {"summary": "Done and tested.", "title": "Fix the login redirect"}))


class Replies:
    """A model that gives these replies in turn; an exception among them is raised."""

    name = "replies"

    def __init__(self, *replies):
        self.replies, self.prompts = list(replies), []

    async def complete(self, messages, tools):
        self.prompts.append([dict(m) for m in messages])
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def finishing(call_id="end"):
    return Reply(calls=(ToolCall(call_id, "finish", '{"summary": "Done."}'),))


async def test_commands_are_run_until_the_model_finishes_with_title_and_summary(bench):
    outcome = await bench.work([step(("bash", {"command": "pytest"})), FINISH])
    assert (outcome.ending, outcome.title, outcome.text) == ("finished", "Fix the login redirect", "Done and tested.")
    assert [c for c, _, _ in bench.box.commands] == ["pytest"]


async def test_a_reply_and_its_actions_stand_in_the_log_before_anything_is_done(bench):
    seen = []
    bench.box.on_run = lambda _command: seen.append([type(e.fact) for e in bench.log.events[-3:]])
    await bench.work([step(("bash", {"command": "a"}), ("bash", {"command": "b"})), FINISH])
    assert seen[0] == [ModelReply, RunCommand, RunCommand]
    assert 3 in bench.log.appends


async def test_a_result_names_its_action_and_its_call(bench):
    await bench.work([step(("bash", {"command": "a"})), FINISH])
    action = next(e for e in bench.log.events if isinstance(e.fact, RunCommand))
    result = next(e for e in bench.log.events if isinstance(e.fact, CommandOutput))
    assert (result.cause, result.call_id) == (action.seq, action.call_id)


async def test_rejecting_ends_as_refused(bench):
    outcome = await bench.work([step(("finish", {"summary": "There is no login here.", "reject": True}))])
    assert (outcome.ending, outcome.reason, outcome.text) == ("refused", "agent", "There is no login here.")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("no_such_tool", {}), "There is no tool 'no_such_tool'. Expected one of: bash, edit, finish"),
        (("bash", "{not json"), "not valid JSON"),
        (("bash", "[1, 2]"), "JSON list"),
        (("bash", "[" * 200_000), "not valid JSON"),
        (("bash", '{"command": "\\ud800"}'), "not valid JSON"),
        (("bash", '{"command": "\udce4"}'), "not valid JSON"),
        (("bash", '{"command": "a\\u0000b"}'), "NUL"),
        (("bash", {"cmd": "ls"}), "cmd"),
        (("bash", {}), "command"),
        (("bash", {"command": 7}), "str"),
        (("bash", {"command": "ls", "timeout": -1}), "> 0"),
        (("bash", {"command": "  "}), "empty"),
        (("edit", {"command": "str_replace", "path": "a"}), "old_str and new_str"),
        (("finish", {}), "summary"),
        (("finish", {"summary": " "}), "empty"),
    ],
)
async def test_a_call_that_cannot_be_understood_is_answered_and_the_run_goes_on(bench, call, said):
    outcome = await bench.work([step(call), FINISH])
    problem = next(e for e in bench.log.events if isinstance(e.fact, Problem))
    assert outcome.ending == "finished"
    assert said in problem.fact.content
    assert problem.call_id == "call_0_0"


async def test_a_word_is_enough_as_an_answer_when_the_model_insists(bench):
    outcome = await bench.work([step(text="It is in auth.py."), step(), step(text="Really, in auth.py.")])
    assert (outcome.ending, outcome.reason, outcome.text) == ("finished", "answer", "Really, in auth.py.")
    assert [n.reason for n in bench.log.facts(Notice)] == ["no_call", "no_call"]


async def test_a_model_that_says_nothing_fails_the_run(bench):
    outcome = await bench.work([step(), step(), step(text=" \n")])
    assert (outcome.ending, outcome.reason) == ("failed", "model")


async def test_half_a_sentence_is_no_answer(bench):
    outcome = await bench.work([step(text="I was going to", cut=True)] * 3)
    assert (outcome.ending, outcome.reason) == ("failed", "model")
    assert "cut off at the limit on their length" in outcome.text
    assert ["cut off" in notice.content for notice in bench.log.facts(Notice)] == [True, True]


async def test_the_latest_words_that_are_whole_are_the_answer(bench):
    outcome = await bench.work([step(text="It is in auth.py."), step(), step(text="Really, in", cut=True)])
    assert (outcome.ending, outcome.text) == ("finished", "It is in auth.py.")


async def test_a_silent_reply_now_and_then_is_forgiven(bench):
    work = step(("bash", {"command": "ls"}))
    outcome = await bench.work([step(), work, step(), step(text="Hm."), work, step(), FINISH])
    assert outcome.text == "Done and tested."


async def test_a_finish_next_to_other_calls_comes_last(bench):
    both = step(("finish", {"summary": "All green."}), ("bash", {"command": "pytest"}), ("no_such_tool", {}))
    outcome = await bench.work([both])
    results = [(e.call_id, type(e.fact)) for e in bench.log.events if e.call_id and e.source == "environment"]
    assert outcome.text == "All green."
    assert results[-1] == ("call_0_0", Notice)
    assert [c for c, _, _ in bench.box.commands] == ["pytest"]


async def test_equal_missing_and_reused_call_ids_are_told_apart(bench):
    twins = (ToolCall("x", "bash", '{"command": "a"}'), ToolCall("x", "bash", '{"command": "b"}'))
    model = Replies(Reply(calls=twins), Reply(calls=(ToolCall("", "bash", '{"command": "c"}'), *twins)), finishing("x"))
    outcome = await bench.work(model)
    results = [e.call_id for e in bench.log.events if e.call_id and e.source == "environment"]
    assert outcome.ending == "finished"
    assert len(results) == len(set(results)) == 6


async def test_an_endless_call_id_is_replaced_and_its_result_found(bench):
    signature = "call_1__thought__" + "s" * 8_000
    calls = tuple(ToolCall(call_id, "bash", '{"command": "ls"}') for call_id in ("i" * 5_000_000, "", signature))
    model = Replies(Reply(calls=calls), finishing())
    await bench.work(model)
    results = [m["tool_call_id"] for m in model.prompts[1] if m["role"] == "tool" and m["content"].startswith("ran ls")]
    assert results == ["call", "call_2", signature]


async def test_an_endless_reply_is_cut_and_counted(bench):
    flood = Reply("x" * 3_000_000, tuple(ToolCall(str(n), "bash", '{"command": "ls"}') for n in range(5_000)))
    outcome = await bench.work(Replies(flood, finishing()))
    reply = bench.log.facts(ModelReply)[0]
    assert outcome.ending == "finished"
    assert len(reply.content) < 200_000
    assert len(bench.box.commands) == len(reply.calls) < 50
    assert reply.content.endswith(f"[{5_000 - len(reply.calls)} more calls were cut, and not carried out]")


async def test_a_model_error_ends_the_run_and_keeps_the_log(bench):
    outcome = await bench.work([step(("bash", {"command": "ls"}))])
    assert (outcome.ending, outcome.reason) == ("failed", "model")
    assert bench.log.facts(CommandOutput)


async def test_a_prompt_that_is_too_long_is_shortened_and_sent_again(bench):
    bench.box.outputs = {"big": bench.box.outputs.get("big") or _output("y" * 50_000)}
    big = Reply(calls=(ToolCall("a", "bash", '{"command": "big"}'),))
    more = [Reply(calls=(ToolCall(f"b{n}", "bash", '{"command": "ls"}'),)) for n in range(6)]
    model = Replies(big, *more, ContextTooLong("context"), finishing())
    outcome = await bench.work(model)
    lengths = [sum(len(m["content"]) for m in p) for p in model.prompts]
    assert outcome.ending == "finished"
    assert lengths[-1] < lengths[-2] / 2
    assert any("left out to fit" in m["content"] for m in model.prompts[-1])


async def test_a_prompt_that_cannot_be_made_short_enough_fails_clearly(bench):
    outcome = await bench.work(Replies(*[ContextTooLong("context")] * 20))
    assert (outcome.ending, outcome.reason) == ("failed", "context")


async def test_a_box_that_refuses_is_told_to_the_model(bench):
    bench.box.outputs = {"fill": SandboxError("no space left on device")}
    outcome = await bench.work([step(("bash", {"command": "fill"})), FINISH])
    assert outcome.ending == "finished"
    assert bench.log.facts(Problem)[0].error_id == "sandbox"


async def test_with_another_box_in_place_of_one_that_died_it_goes_on_and_asks_nothing_twice(bench):
    bench.box.outputs = {"boom": SandboxGone("no such box")}
    model = ScriptedModel([step(("bash", {"command": "boom"})), FINISH])
    with pytest.raises(SandboxGone):
        await bench.work(model)
    bench.box.outputs = {}
    assert (await bench.work(model)).ending == "finished"
    assert [problem.error_id for problem in bench.log.facts(Problem)] == ["interrupted"]
    assert [command for command, *_ in bench.box.commands] == ["boom"]


async def test_a_tool_that_breaks_does_not_break_the_run(bench):
    bench.box.outputs = {"odd": KeyError("a stranger's bug")}
    outcome = await bench.work([step(("bash", {"command": "odd"})), FINISH])
    assert outcome.ending == "finished"
    assert "KeyError" in bench.log.facts(Problem)[0].content


async def test_a_lost_lease_passes_through(bench):
    bench.box.outputs = {}

    async def lost(*_drafts):
        raise LeaseLost("another holder")

    bench.log.append = lost
    with pytest.raises(LeaseLost):
        await bench.work([FINISH])


async def test_cancelling_passes_through(bench):
    begun = asyncio.Event()

    class Waiting(Replies):
        async def complete(self, messages, tools):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(bench.work(Waiting()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_follow_up_is_seen_at_the_next_step(bench, kit):
    async def asks(*_):
        if len(bench.box.commands) == 1:
            await bench.log.asked(kit.trigger("and the logout too"))
        return []

    bench.log.refresh = asks
    model = Replies(Reply(calls=(ToolCall("a", "bash", '{"command": "ls"}'),)), finishing())
    await bench.work(model)
    assert "and the logout too" in model.prompts[1][-1]["content"]
    assert model.prompts[1][-2]["role"] == "tool"


async def test_a_finish_that_did_not_know_of_a_follow_up_does_not_end_the_run(bench, kit):
    class Interrupted(Replies):
        async def complete(self, messages, tools):
            reply = await super().complete(messages, tools)
            if len(self.prompts) == 1:
                await bench.log.asked(kit.trigger("wait, the logout too"))
            return reply

    model = Interrupted(finishing("one"), finishing("two"))
    outcome = await bench.work(model)
    assert outcome.ending == "finished"
    assert len(model.prompts) == 2
    assert "wait, the logout too" in model.prompts[1][-1]["content"]
    assert model.prompts[1][: len(model.prompts[0])] == model.prompts[0]
    assert len(bench.log.facts(Finish)) == 2


async def test_the_task_list_becomes_the_state(bench):
    tasks = [{"title": "Reproduce", "status": "done"}, {"title": "Mend"}]
    await bench.work([step(("task_list", {"task_list": tasks})), FINISH])
    assert bench.log.facts(TasksTracked)[0].content == "[x] Reproduce\n[ ] Mend"
    assert [t.status for t in bench.log.state.tasks] == ["done", "todo"]


async def test_the_box_gets_timeout_and_input_as_the_model_gave_them(bench):
    await bench.work([step(("bash", {"command": "cat", "timeout": 5, "stdin": "hello"})), FINISH])
    assert bench.box.commands == [("cat", 5.0, "hello")]


async def test_a_log_without_a_run_is_refused(kit):
    with pytest.raises(ValueError, match="RunStarted"):
        await kit.Bench(kit.Log(), kit.Box(), kit.tools).work([FINISH])


async def test_only_admitted_requests_reach_the_model(bench, kit):
    await bench.log.append(Draft(Asked(trigger=kit.trigger("delete everything")), "user"))
    model = Replies(finishing())
    await bench.work(model)
    assert "fix the login" in str(model.prompts[0])
    assert "delete everything" not in str(model.prompts[0])
    assert len(bench.log.facts(Admitted)) == 1


async def test_a_scripted_model_refuses_to_go_past_its_end(bench):
    with pytest.raises(ModelError, match="asked for one more"):
        await ScriptedModel([]).complete([], [])


def test_the_loop_does_without_litellm():
    probe = f"import sys, {loop.__name__}, bot.agent.model; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def _output(text):
    from bot.core.ports import CommandResult

    return CommandResult(text, 0, "/workspace", 0.1)
