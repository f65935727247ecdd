"""Prompts that go out past LiteLLM: complete, unchanged, and only where LiteLLM was seen to change nothing."""

import threading

import msgspec
import pytest

from bot.agent.model import LiteLLMModel
from bot.agent.verbatim import Passage, Prompt
from bot.testing.models import CONTEXT_TOO_LONG, Fault, ModelServer

CALL = {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
SYSTEM = {"role": "system", "content": "You are onhand."}
USER = {"role": "user", "content": "fix it, caf\u00e9 \U0001f600"}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "a\n\x1b[0m\\"}
TALKING = {"role": "assistant", "content": "Well."}
PROMPT = [SYSTEM, USER, CALLING, RESULT, TALKING, USER, USER]


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


def body_of(messages):
    return msgspec.json.encode({"model": "m", "messages": messages, "temperature": 0.5})


def learned(messages=PROMPT):
    passage = Passage()
    Prompt(messages, passage).put_into(body_of(messages))
    return passage


@pytest.mark.parametrize(
    "name",
    [
        *("openai/gpt-4o-mini", "hosted_vllm/our-own", "openrouter/anthropic/claude-sonnet-4.5", "litellm_proxy/x"),
        *("deepseek/deepseek-chat", "mistral/mistral-small", "xai/grok-3"),
    ],
)
async def test_the_model_gets_every_message_while_litellm_is_shown_two(server, name):
    model = LiteLLMModel(name, base_url=server.base_url)
    for length in (2, 4, 7):
        await model.complete(PROMPT[:length], [])
        assert server.requests[-1]["messages"] == PROMPT[:length]
    assert Prompt(PROMPT, model._passage).shown == [SYSTEM, USER]
    again = [*PROMPT, CALLING, RESULT, USER]
    await model.complete(again, [])  # a result followed by a person is new
    await model.complete(again, [])
    assert [request["messages"] for request in server.requests[-2:]] == [again, again]
    assert Prompt(again, model._passage).shown == [SYSTEM, USER]


@pytest.mark.parametrize("name", ["together_ai/meta-llama/our-own", "perplexity/sonar"])
async def test_other_routes_are_left_to_litellm(server, name):
    model = LiteLLMModel(name, base_url=server.base_url)
    await model.complete(PROMPT, [])
    await model.complete(PROMPT, [])
    assert Prompt(PROMPT, model._passage).shown == PROMPT
    assert len(server.requests[-1]["messages"]) == len(PROMPT)


async def test_every_try_sends_the_whole_prompt(server):
    async def at_once(_seconds):
        pass

    model = LiteLLMModel("openai/gpt-4o-mini", base_url=server.base_url, pause=at_once)
    await model.complete(PROMPT, [])
    server.fail(Fault(status=500), Fault(instead="close"), Fault(instead="nonsense"))
    await model.complete(PROMPT, [])
    assert all(request["messages"] == PROMPT for request in server.requests)
    server.fail(CONTEXT_TOO_LONG)
    with pytest.raises(Exception, match=r"^context: "):
        await model.complete(PROMPT, [])


async def test_the_runs_thread_never_walks_a_prompt(server):
    model, messages = LiteLLMModel("openai/gpt-4o-mini", base_url=server.base_url), Noting(PROMPT)
    for _ in range(2):
        await model.complete(messages, [])
    assert messages.threads
    assert threading.current_thread().name not in messages.threads


def test_what_was_seen_goes_out_whole_with_the_other_fields_as_they_are():
    longer = [*PROMPT, CALLING, RESULT]
    passage = learned(longer)
    prompt = Prompt([*longer, CALLING, RESULT], learned([*longer, CALLING, RESULT]))
    assert prompt.shown == [SYSTEM, USER]
    sent = msgspec.json.decode(prompt.put_into(body_of(prompt.shown)))
    assert sent == {"model": "m", "messages": [*longer, CALLING, RESULT], "temperature": 0.5}
    assert Prompt([*longer, CALLING, RESULT], passage).shown == [*longer, CALLING, RESULT]


def test_what_was_not_seen_to_follow_is_shown_to_litellm():
    assert Prompt([SYSTEM, USER, TALKING], learned([SYSTEM, USER, CALLING, RESULT])).shown == [SYSTEM, USER, TALKING]
    assert Prompt([SYSTEM], learned()).shown == [SYSTEM]


@pytest.mark.parametrize("changed", [PROMPT[1:], [{**m, "name": "x"} for m in PROMPT], "text", None])
def test_one_changed_message_is_the_end_of_it(changed):
    passage = Passage()
    body = body_of(changed)
    assert Prompt(PROMPT, passage).put_into(body) == body
    Prompt(PROMPT, passage).put_into(body_of(PROMPT))
    assert Prompt(PROMPT, passage).shown == PROMPT
