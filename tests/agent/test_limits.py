"""The caps of a run: a warning, then an end that keeps the work; measured on the log."""

import asyncio

import pytest

from bot.core.events import CommandOutput, Notice
from bot.core.ports import Limits, Reply, ToolCall


def work(n=1, **more):
    return {"calls": [{"name": "bash", "arguments": {"command": f"ls {n}"}}], **more}


FINISH = {"calls": [{"name": "finish", "arguments": {"summary": "Done."}}]}


def warnings(log):
    return [n for n in log.facts(Notice) if n.reason == "limit"]


async def test_steps_are_capped_and_the_work_stays(bench):
    bench.limits = Limits(steps=5)
    outcome = await bench.work([work()] * 9)
    assert (outcome.ending, outcome.reason) == ("limit", "steps")
    assert "5 steps" in outcome.text
    assert len(bench.log.facts(CommandOutput)) == 5


async def test_money_is_capped(bench):
    bench.limits = Limits(cost_usd=0.5)
    outcome = await bench.work([work(cost_usd=0.2)] * 9)
    assert (outcome.ending, outcome.reason) == ("limit", "cost")
    assert bench.log.state.run.steps == 3


async def test_minutes_count_from_the_runs_start_in_the_log(bench):
    bench.now = bench.log.state.run.started_at + 31 * 60
    outcome = await bench.work([FINISH])
    assert (outcome.ending, outcome.reason) == ("limit", "minutes")
    assert bench.log.state.run.steps == 0


@pytest.mark.parametrize("limits", [Limits(steps=5), Limits(cost_usd=0.5)])
async def test_the_model_is_warned_once_near_a_limit(bench, limits):
    bench.limits = limits
    await bench.work([work(cost_usd=0.1)] * 9)
    assert len(warnings(bench.log)) == 1
    assert bench.log.state.run.steps == 5


async def test_a_warning_is_not_repeated_after_a_resume(bench, kit):
    bench.limits = Limits(steps=5)
    await bench.work([work()] * 9)
    at = next(i for i, e in enumerate(bench.log.events) if isinstance(e.fact, Notice)) + 1
    again = kit.Bench(bench.log.cut(at), kit.Box(), kit.tools, bench.limits)
    outcome = await again.work([work()] * 9)
    assert outcome.reason == "steps"
    assert len(warnings(again.log)) == 1


async def test_a_command_does_not_outlive_the_run(bench):
    bench.limits = Limits(minutes=10, command_seconds=400)
    bench.now = bench.log.state.run.started_at + 9 * 60
    await bench.work([work(), FINISH])
    assert bench.box.commands[0][1] == pytest.approx(60.0)


async def test_a_command_is_given_no_more_than_the_limit(bench):
    bench.limits = Limits(command_seconds=30)
    await bench.work([{"calls": [{"name": "bash", "arguments": {"command": "make", "timeout": 9000}}]}, FINISH])
    assert bench.box.commands[0][1] == 30.0


async def test_a_model_that_never_answers_cannot_hold_the_run_for_ever(bench, monkeypatch):
    class Hanging:
        name = "hanging"

        async def complete(self, messages, tools):
            await asyncio.Event().wait()

    monkeypatch.setattr("bot.agent.limits._GRACE_SECONDS", 0.05)
    bench.limits = Limits(minutes=0.001)
    bench.now = bench.log.state.run.started_at
    outcome = await bench.work(Hanging())
    assert (outcome.ending, outcome.reason) == ("limit", "minutes")


async def test_a_timeout_inside_the_model_is_not_taken_for_the_runs(bench):
    class Broken:
        name = "broken"

        async def complete(self, messages, tools):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await bench.work(Broken())


async def test_a_new_run_starts_with_fresh_limits(bench, kit):
    bench.limits = Limits(steps=5)
    await bench.work([work()] * 9)
    await bench.log.asked(kit.trigger("go on", verb="retry"))
    await bench.log.began("r2")

    class Finishing:
        name = "finishing"

        async def complete(self, messages, tools):
            return Reply(calls=(ToolCall("end", "finish", '{"summary": "Done."}'),))

    outcome = await bench.work(Finishing())
    assert outcome.ending == "finished"
