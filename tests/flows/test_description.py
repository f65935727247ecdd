"""A change is described by all runs that pushed to its branch, and what people wrote into it stays."""

import asyncio
from typing import Any

import pytest

from bot.core.errors import ProviderError
from bot.core.inbound import Repository
from bot.core.outbound import Change, OpenChange, Outcome
from bot.core.ports import Proposal
from bot.core.secret import Secret
from tests.flows.conftest import RUN_THE_TESTS, World
from tests.flows.test_provider_faults import Ground, asked_in_an_issue, ground

__all__ = ["ground"]


def finish(title: str, summary: str) -> list[Any]:
    arguments = {"title": title, "summary": summary}
    return [RUN_THE_TESTS, {"text": "", "calls": [{"name": "finish", "arguments": arguments}]}]


async def asks(world: World, *said: tuple[str, str]) -> OpenChange:
    """Let a request come for each title and summary; return the change as it was shown last."""
    for number, (title, summary) in enumerate(said):
        await world.admit()
        world.script = [*world.script[: 2 * number], *finish(title, summary)]
        await world.run(f"worker/{number}")
    return shown(world)[-1]


def shown(world: World) -> list[OpenChange]:
    return [call for call in world.forge.calls if isinstance(call, OpenChange)]


async def test_a_change_of_two_runs_tells_of_both_under_the_title_of_the_first(world: World) -> None:
    change = await asks(world, ("Mend it", "It works."), ("More", "There is more."))
    assert (change.title, change.body) == ("Mend it", "It works.\n\nThere is more.")


async def test_of_the_runs_before_only_the_last_few_thousand_characters_are_told(world: World) -> None:
    change = await asks(world, ("Mend it", "a" * 3_000), ("More", "b" * 3_000), ("Last", "c" * 9_000))
    assert (change.title, change.body) == ("Mend it", "b" * 3_000 + "\n\n" + "c" * 9_000)


async def test_an_answer_that_changed_nothing_is_not_told(world: World) -> None:
    await asks(world, ("Mend it", "It works."))
    world.pushes.changed = False
    await world.admit()
    world.script = [*world.script, *finish("", "It is in a.py.")]
    await world.run("worker/2")
    world.pushes.changed = True
    await world.admit()
    world.script = [*world.script, *finish("More", "There is more.")]
    await world.run("worker/3")
    assert shown(world)[-1].body == "It works.\n\nThere is more."


@pytest.mark.parametrize(("failures", "read"), [(1, "## What"), (99, "")])
async def test_a_template_that_cannot_be_read_for_a_moment_is_read_then(
    world: World, monkeypatch: Any, failures: int, read: str
) -> None:
    monkeypatch.setattr("bot.core.patience._FIRST_PAUSE", 0.01)
    answers, proposed, propose = [ProviderError("unavailable", "500")] * failures, list[str](), world.forge.propose

    async def template(repository: Repository, token: Secret) -> str:
        if answers:
            raise answers.pop()
        return "## What"

    def noted(proposal: Proposal) -> Any:
        proposed.append(proposal.source.template)
        return propose(proposal)

    world.forge.template, world.forge.propose = template, noted  # type: ignore[attr-defined,method-assign]
    await world.admit()
    await world.run()
    assert proposed == [read]


async def test_a_run_that_reached_a_limit_is_not_told_when_another_has_gone_on(world: World, monkeypatch: Any) -> None:
    async def limit(*_: Any) -> Outcome:
        return Outcome("limit", "steps", "I stopped at the limit.")

    with monkeypatch.context() as patched:
        patched.setattr("bot.flows.work.loop.work", limit)
        await world.admit()
        await world.run()
    assert (shown(world)[-1].title, shown(world)[-1].body) == ("Login redirect", "I stopped at the limit.")
    await world.admit("@onhand retry")
    await world.run("worker/2")
    assert (shown(world)[-1].title, shown(world)[-1].body) == ("Mend it", "It works.")


async def test_shown_again_after_a_crash_it_reads_the_same(world: World) -> None:
    await asks(world, ("Mend it", "It works."))
    await world.admit()
    world.script = [*world.script, *finish("More", "There is more.")]
    perform = world.forge.perform

    async def performed_and_died(call: Any, *more: Any) -> Any:
        receipt = await perform(call, *more)
        if isinstance(call, OpenChange):
            raise asyncio.CancelledError
        return receipt

    world.forge.perform = performed_and_died  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await world.run("worker/2")
    world.forge.perform = perform  # type: ignore[method-assign]
    await world.run("worker/3")
    assert len(shown(world)) == 3
    assert shown(world)[1] == shown(world)[2]


async def test_the_work_is_committed_under_a_title_that_closes_and_pings_nothing(world: World) -> None:
    taken: list[str] = []
    take = world.pushes.take

    async def noting(*told: Any) -> Change | None:
        taken.append(told[-1])
        return await take(*told)

    world.pushes.take = noting  # type: ignore[method-assign]
    world.script = finish("", "It works.")
    await world.admit(title="Fixes #99 @carol add is wrong")
    await world.run()
    assert taken == ["Fixes the issue #99 ＠carol add is wrong"]  # noqa: RUF001


async def test_what_people_wrote_into_a_pull_request_stays(ground: Ground) -> None:
    name = await ground.repository()
    await ground.work(*await asked_in_an_issue(ground, name))
    [pull] = ground.github.pulls(name)
    theirs = f"{pull.body}\n\nQA: checked by alice"
    await ground.github.edit(name, pull.number, "alice", title="Mend it (OPS-1)", body=theirs)
    await ground.github.comment(name, 1, "alice", "@onhand rename it")
    await ground.work(*await ground.hear())
    assert (pull.title, pull.body) == ("Mend it (OPS-1)", theirs)


async def test_a_pull_request_after_one_that_was_closed_tells_of_the_run_that_opened_it_alone(ground: Ground) -> None:
    name = await ground.repository()
    conversation, seq = await asked_in_an_issue(ground, name)
    await ground.work(conversation, seq)
    ground.github.pulls(name)[0].state = "closed"
    for number in (1, 2):
        await ground.github.comment(name, 1, "alice", "@onhand rename it")
        ground.world.script = [
            *ground.world.script[: 2 * number],
            *finish(f"More {number}", f"There is more {number}."),
        ]
        await ground.work(*await ground.hear())
        last = ground.github.pulls(name)[-1]
        assert last.title == "More 1"
        assert "It works." not in (last.body or "")
    assert "There is more 1.\n\nThere is more 2." in (last.body or "")
    assert [pull.title for pull in ground.github.pulls(name)] == ["Mend it", "More 1"]
