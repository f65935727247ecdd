"""Images in a prompt: how they stand there, what they count for, and models that do not take them."""

import json
from typing import Any

import pytest

from bot.agent import loop
from bot.agent.history import History
from bot.agent.images import SIZE
from bot.agent.model import LiteLLMModel
from bot.core.errors import ContextTooLong, ImagesRefused, ModelError
from bot.core.events import Admitted, Asked, Background, CommandOutput, Draft, Event, ModelReply, Notice
from bot.core.images import REFUSED
from bot.core.inbound import Image
from bot.testing.models import CONTEXT_TOO_LONG, Fault, ModelServer, read_script

URL = "data:image/png;base64," + "A" * 1_000_000
IMAGES = {"at/1": URL, "at/2": URL}
BACKGROUND = Background(
    request=1, content="Look at these.", images=[Image("one.png", "at/1"), Image("two.png", "at/2")]
)
FINISH = {"calls": [{"name": "finish", "arguments": {"title": "Mend", "summary": "Mended."}}]}


def numbered(*facts: Any) -> list[Event]:
    pairs = [f if isinstance(f, tuple) else (f, "") for f in facts]
    return [Event(n, float(n), "environment", fact, call_id=call_id) for n, (fact, call_id) in enumerate(pairs, 1)]


def steps(count: int, size: int) -> list[Any]:
    calls = [[{"id": f"c{n}", "name": "bash", "arguments": '{"command": "ls"}'}] for n in range(count)]
    results = [(CommandOutput(content="x" * size, exit_code=0), f"c{n}") for n in range(count)]
    return [fact for c, result in zip(calls, results, strict=True) for fact in (ModelReply(calls=c), result)]


def log(kit: Any, *facts: Any) -> list[Event]:
    return numbered(Asked(trigger=kit.trigger()), Admitted(request=1), BACKGROUND, *facts)


def pictures(messages: list[dict[str, Any]]) -> int:
    return json.dumps(messages).count('"image_url": {')


def test_the_images_that_are_there_stand_in_marks_and_the_others_are_named(kit: Any) -> None:
    content = History("s", {"at/2": URL}).follow(log(kit))[-1]["content"]
    assert [part["type"] for part in content] == ["text", "text", "image_url", "text"]
    assert content[0]["text"].endswith("Look at these.\n[onhand] You are not shown: one.png.")
    assert content[1]["text"] == '<untrusted source="image two.png">'
    assert content[2] == {"type": "image_url", "image_url": {"url": URL}}
    assert content[3]["text"] == "</untrusted>"


def test_without_any_the_message_is_a_text_as_ever(kit: Any) -> None:
    assert History("s").follow(log(kit))[-1]["content"].endswith("You are not shown: one.png, two.png.")


def test_shortening_counts_an_image_by_what_it_costs_and_drops_results_before_it(kit: Any) -> None:
    history = History("s", IMAGES)
    history.follow(log(kit, *steps(20, SIZE)))
    assert history.shorten()
    results = [m["content"] for m in history.messages if m["role"] == "tool"]
    assert sum(content.startswith("[left out to fit") for content in results) in range(8, 11), "of what counts as 22"
    assert pictures(history.messages) == 2


def test_images_go_when_nothing_else_is_left_to_go_and_before_what_was_said_is_cut(kit: Any) -> None:
    history = History("s", IMAGES)
    history.follow(log(kit))
    said = len(history.messages[-1]["content"][0]["text"])
    assert history.shorten()
    assert pictures(history.messages) == 0
    assert history.messages[-1]["content"].count("[an image, left out to fit]") == 2
    assert history.messages[-1]["content"][:said].endswith("Look at these.")
    assert not history.shorten()


async def test_a_prompt_with_images_that_is_too_long_loses_them_and_goes_on(bench: Any) -> None:
    prompts = []

    class Narrow:
        name = "narrow"

        async def complete(self, messages: Any, tools: Any) -> Any:
            prompts.append(pictures(messages))
            if prompts[-1]:
                raise ContextTooLong("context: too long")
            return read_script([FINISH])[0].reply(0, "m")

    outcome = await work(bench, Narrow())
    assert (outcome.ending, prompts) == ("finished", [2, 0])


async def work(bench: Any, model: Any) -> Any:
    """Let the agent work after the images were named."""
    await bench.log.append(Draft(BACKGROUND))
    return await loop.work(bench.log, model, bench.tools, bench.box, bench.limits, lambda: bench.now, IMAGES)


async def test_a_model_that_refuses_images_is_asked_once_more_and_both_are_told(bench: Any) -> None:
    with ModelServer(lambda body: FINISH) as server:
        server.fail(Fault(status=400))
        outcome = await work(bench, LiteLLMModel("openai/our-own", base_url=server.base_url))
    assert outcome.ending == "finished"
    assert [pictures(request["messages"]) for request in server.requests] == [2, 0]
    [notice] = [fact for fact in bench.log.facts(Notice) if fact.reason == REFUSED]
    assert notice.content in server.requests[-1]["messages"][-1]["content"]
    assert bench.log.state.run.unseen == notice.content


async def test_what_is_refused_without_images_too_is_a_failure(bench: Any) -> None:
    with ModelServer(lambda body: FINISH) as server:
        server.fail(Fault(status=400), Fault(status=400))
        outcome = await work(bench, LiteLLMModel("openai/our-own", base_url=server.base_url))
    assert (outcome.ending, outcome.reason) == ("failed", "model")
    assert len(server.requests) == 2


PROMPT = [
    {"role": "user", "content": "fix it"},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]},
]


@pytest.mark.parametrize("name", ["openai/gpt-3.5-turbo", "deepseek/deepseek-chat"])
async def test_a_model_that_is_known_to_be_blind_is_not_even_asked(name: str) -> None:
    with ModelServer(lambda body: FINISH) as server:
        model = LiteLLMModel(name, base_url=server.base_url)
        with pytest.raises(ImagesRefused):
            await model.complete(PROMPT, [])
        assert server.requests == []
        await model.complete(PROMPT[:1], [])
        assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "openai/our-own", "hosted_vllm/our-own"])
async def test_a_model_that_sees_or_is_not_known_gets_them(name: str) -> None:
    with ModelServer(lambda body: FINISH) as server:
        await LiteLLMModel(name, base_url=server.base_url).complete(PROMPT, [])
        assert server.requests[-1]["messages"] == PROMPT


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=400), ImagesRefused),
        (Fault(status=404), ImagesRefused),
        (Fault(status=413), ImagesRefused),
        (Fault(status=422), ImagesRefused),
        (Fault(status=401), ModelError),
        (CONTEXT_TOO_LONG, ContextTooLong),
    ],
)
async def test_a_refusal_of_a_prompt_with_images_is_told_apart(fault: Fault, kind: type[Exception]) -> None:
    with ModelServer(lambda body: FINISH) as server:
        server.fail(fault)
        with pytest.raises(ModelError) as caught:
            await LiteLLMModel("openai/our-own", base_url=server.base_url).complete(PROMPT, [])
        assert type(caught.value) is kind
        assert len(server.requests) == 1
