"""Prompts that go out past LiteLLM: what is sent is what LiteLLM makes of the whole prompt, though it was shown little of it."""

import asyncio
import json
import threading
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from bot.agent.model import LiteLLMModel
from bot.agent.splice import Passage, Prompt, UnlikeBeforeError
from bot.testing.models import CONTEXT_TOO_LONG, Fault, ModelServer

SYSTEM = {"role": "system", "content": "You are onhand."}
USER = {"role": "user", "content": "fix it, caf\u00e9 \U0001f600"}
PICTURED: dict[str, Any] = {
    "role": "user",
    "content": [
        {"type": "text", "text": "[onhand] What was said before, caf\u00e9"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="}},
        {"type": "text", "text": "</untrusted>"},
    ],
}
TALKING = {"role": "assistant", "content": "Well."}

OPENAI_LIKE = [
    *("openai/gpt-4o-mini", "hosted_vllm/our-own", "openrouter/anthropic/claude-sonnet-4.5", "litellm_proxy/x"),
    *("deepseek/deepseek-chat", "mistral/mistral-small", "xai/grok-3"),
]
TOOL = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Run a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}
REPLIES = {
    "messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "So."}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "contents": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "So."}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
    },
}
"""What the APIs of Anthropic and Gemini answer, by the name of the list in the request."""


def turn(number: int) -> list[dict[str, Any]]:
    """The messages that come with one answer of the model: of one call, of two, with and without text, and words only."""
    ids = [f"call_{number}_{n}" for n in range(number % 3)]
    arguments = json.dumps({"command": f"sed -n {number}p 'caf\u00e9'"})
    calls = [{"id": i, "type": "function", "function": {"name": "bash", "arguments": arguments}} for i in ids]
    said = {"role": "assistant", "content": "" if calls and number % 2 else f"Step {number}."}
    results = [{"role": "tool", "tool_call_id": i, "content": f"{i}\n\x1b[0m\\" * (number % 4 + 1)} for i in ids]
    return [said | ({"tool_calls": calls} if calls else {}), *results, *([] if calls and number % 4 else [USER])]


def history(turns: int) -> list[dict[str, Any]]:
    return [SYSTEM, USER, *(message for number in range(turns) for message in turn(number))]


def illustrated(turns: int) -> list[dict[str, Any]]:
    """A history with images behind the request, and in every seventh turn."""
    pictured = {"role": "user", "content": [*PICTURED["content"], *PICTURED["content"]]}
    later = [message for n in range(turns) for message in [*turn(n), *([PICTURED] if n % 7 == 0 else [])]]
    return [SYSTEM, USER, pictured, *later]


class Wire:
    """A server on loopback that answers as Anthropic and Gemini do, and keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.url = ""

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = json.loads(await reader.readexactly(int(fields[b"content-length"])))
            assert fields[b"content-type"] == b"application/json"
            self.bodies.append(body)
            answer = json.dumps(REPLIES["messages" if "messages" in body else "contents"]).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(answer), answer))


class Noting(list):
    """Messages that note on which threads they are walked."""

    def __init__(self, messages):
        super().__init__(messages)
        self.threads = set()

    def __iter__(self):
        self.threads.add(threading.current_thread().name)
        return super().__iter__()


@pytest.fixture
def server():
    with ModelServer(lambda _body: {"text": "So."}) as server:
        yield server


def how_much_is_shown(model: LiteLLMModel, messages: list[dict[str, Any]]) -> int:
    return len(Prompt(messages, model._passage).shown)


@pytest.mark.parametrize("name", OPENAI_LIKE)
async def test_a_server_that_speaks_as_openai_gets_every_message_as_it_is(server, name):
    model = LiteLLMModel(name, base_url=server.base_url)
    for turns in range(40):
        shown = how_much_is_shown(model, history(turns))
        await model.complete(history(turns), [TOOL])
        assert server.requests[-1]["messages"] == history(turns)
    assert shown < 12 < len(history(39))


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"])
async def test_a_provider_with_a_format_of_its_own_gets_what_litellm_makes_of_the_whole(name: str) -> None:
    async with Wire() as wire:
        model = LiteLLMModel(name, base_url=wire.url)
        for turns in range(40):
            shown = how_much_is_shown(model, history(turns))
            assert (await model.complete(history(turns), [TOOL])).text == "So."
            await LiteLLMModel(name, base_url=wire.url).complete(history(turns), [TOOL])
            spliced, whole = wire.bodies[-2:]
            assert spliced == whole
        assert model._passage.trusted
        assert shown < 12 < len(history(39))


async def test_images_go_out_as_they_are_to_a_server_that_speaks_as_openai(server):
    model = LiteLLMModel("openai/gpt-4o-mini", base_url=server.base_url)
    for turns in range(25):
        shown = how_much_is_shown(model, illustrated(turns))
        await model.complete(illustrated(turns), [TOOL])
        assert server.requests[-1]["messages"] == illustrated(turns)
    assert model._passage.trusted
    assert shown < 12 < len(illustrated(24))


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"])
async def test_images_in_a_providers_own_format_are_what_litellm_makes_of_the_whole(name: str) -> None:
    async with Wire() as wire:
        model = LiteLLMModel(name, base_url=wire.url)
        for turns in range(25):
            shown = how_much_is_shown(model, illustrated(turns))
            await model.complete(illustrated(turns), [TOOL])
            await LiteLLMModel(name, base_url=wire.url).complete(illustrated(turns), [TOOL])
            spliced, whole = wire.bodies[-2:]
            assert spliced == whole
            assert str(whole).count("iVBORw0KGgo") == 2 + (turns + 6) // 7
        assert model._passage.trusted
        assert shown < 12 < len(illustrated(24))


async def test_other_routes_are_left_to_litellm(server):
    model = LiteLLMModel("together_ai/meta-llama/our-own", base_url=server.base_url)
    for turns in range(12):
        await model.complete(history(turns), [])
        assert len(server.requests[-1]["messages"]) == len(history(turns))
    assert how_much_is_shown(model, history(12)) == len(history(12))


@pytest.mark.parametrize("change", ["shortened", "begun anew", "gone on by a person", "asked again"])
async def test_a_prompt_that_does_not_go_on_from_the_last_one_is_shown_whole(server, change):
    model = LiteLLMModel("openai/gpt-4o-mini", base_url=server.base_url)
    for turns in range(20):
        await model.complete(history(turns), [])
    later: Mapping[str, list[dict[str, Any]]] = {
        "shortened": [*history(19)[:-5], {**history(19)[-5], "content": "cut"}, *history(20)[-4:]],
        "begun anew": history(3),
        "gone on by a person": [*history(19), USER],
        "asked again": history(19),
    }
    assert how_much_is_shown(model, later[change]) == len(later[change])
    await model.complete(later[change], [])
    assert server.requests[-1]["messages"] == later[change]


async def test_every_try_sends_the_whole_prompt(server):
    async def at_once(_seconds):
        pass

    model = LiteLLMModel("openai/gpt-4o-mini", base_url=server.base_url, pause=at_once)
    for turns in range(20):
        await model.complete(history(turns), [])
    server.fail(Fault(status=500), Fault(instead="close"), Fault(instead="nonsense"))
    await model.complete(history(20), [])
    assert [request["messages"] for request in server.requests[-4:]] == [history(20)] * 4
    server.fail(CONTEXT_TOO_LONG)
    with pytest.raises(Exception, match=r"^context: "):
        await model.complete(history(20), [])


async def test_the_runs_thread_never_walks_a_prompt(server):
    model, messages = LiteLLMModel("openai/gpt-4o-mini", base_url=server.base_url), Noting(history(4))
    for _ in range(2):
        await model.complete(messages, [])
    assert messages.threads
    assert threading.current_thread().name not in messages.threads


def body_of(messages: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": messages, "temperature": 0.5})


def learned(turns: int) -> Passage:
    passage = Passage()
    for number in range(turns + 1):
        prompt = Prompt(history(number), passage)
        prompt.put_into(body_of(prompt.shown))
    return passage


def test_a_message_that_was_changed_in_its_place_is_noticed():
    passage, messages = learned(19), history(20)
    Prompt(messages, passage).put_into(body_of(Prompt(messages, passage).shown))
    [call, *_] = next(message["tool_calls"] for message in messages if "tool_calls" in message)
    call["function"]["arguments"] = "{}"
    messages += turn(20)
    assert Prompt(messages, passage).shown == messages


def test_the_other_fields_of_a_request_stay_as_they_are():
    prompt = Prompt(history(21), learned(20))
    assert prompt.shown == [SYSTEM, USER, *turn(19), *turn(20)]
    sent = msgspec.json.decode(prompt.put_into(body_of(prompt.shown)))
    assert sent == {"model": "m", "messages": history(21), "temperature": 0.5}


def test_what_was_not_seen_to_follow_is_shown_whole():
    odd = [*history(20), TALKING, USER, {"role": "system", "content": "new"}]
    assert Prompt(odd, learned(20)).shown == odd
    assert Prompt([SYSTEM], learned(20)).shown == [SYSTEM]


def test_another_image_in_the_same_place_makes_another_prompt():
    passage = Passage()
    for number in range(21):
        prompt = Prompt(illustrated(number), passage)
        prompt.put_into(body_of(prompt.shown))
    assert len(Prompt(illustrated(21), passage).shown) < 12
    changed = json.loads(json.dumps(illustrated(21)).replace("iVBORw0KGgoAAAANSUhEUg==", "iVBORw0KGgo=", 1))
    assert Prompt(changed, passage).shown == changed


def test_a_turn_that_comes_out_unlike_before_is_not_sent_and_is_the_end_of_it():
    passage = learned(20)
    prompt = Prompt(history(21), passage)
    changed = [*prompt.shown[:2], {**prompt.shown[2], "content": "else"}, *prompt.shown[3:]]
    with pytest.raises(UnlikeBeforeError):
        prompt.put_into(body_of(changed))
    again = Prompt(history(21), passage)
    assert again.shown == history(21)
    assert again.put_into(body_of(history(21))) == body_of(history(21))


def test_turns_that_were_joined_to_one_are_not_taken_for_two():
    passage = Passage()
    Prompt(history(3), passage).put_into(body_of([SYSTEM, USER, TALKING]))
    assert not passage.trusted
