"""LiteLLMModel through the real LiteLLM, against a server that speaks OpenAI's API and misbehaves."""

import asyncio
import logging
import subprocess
import sys
import threading
import time

import pytest

from bot.agent.model import LiteLLMModel
from bot.core.errors import ContextTooLong, ModelError
from bot.core.secret import Secret
from bot.testing.models import CONTEXT_TOO_LONG, Fault, ModelServer

CANARY = "sk-canary-0123456789abcdef"
SCRIPT = [
    {
        "text": "I look.",
        "calls": [{"name": "bash", "arguments": {"command": "ls"}}],
        "input_tokens": 1000,
        "output_tokens": 100,
    }
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "bash",
            "description": "Run a command.",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
        },
    }
]
PROMPT = [{"role": "system", "content": "You are onhand."}, {"role": "user", "content": "a private prompt"}]


@pytest.fixture
def server():
    with ModelServer(SCRIPT, key=CANARY) as server:
        yield server


@pytest.fixture
def waits():
    return []


@pytest.fixture
def model(server, waits):
    return made(server, waits)


def made(server, waits=None, key=CANARY, name="openai/gpt-4o-mini", **more):
    async def pause(seconds):
        if waits is not None:
            waits.append(seconds)

    return LiteLLMModel(name, base_url=server.base_url, api_key=Secret(key), pause=pause, **more)


async def test_a_call_with_tools_comes_back_with_calls_tokens_cost_and_time(model, server):
    reply = await model.complete(PROMPT, TOOLS)
    assert (reply.text, reply.calls[0].name, reply.calls[0].arguments) == ("I look.", "bash", '{"command": "ls"}')
    assert (reply.input_tokens, reply.output_tokens, reply.model) == (1000, 100, "openai/gpt-4o-mini")
    assert reply.cost_usd == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
    assert reply.seconds > 0
    assert server.requests[0]["messages"] == PROMPT
    assert server.requests[0]["tools"][0]["function"]["name"] == "bash"


async def test_a_model_without_a_known_price_costs_nothing(server):
    reply = await made(server, name="hosted_vllm/our-own").complete(PROMPT, TOOLS)
    assert (reply.cost_usd, reply.calls[0].name) == (0.0, "bash")


@pytest.mark.parametrize(
    ("told", "cost"), [(0.25, 0.25), (float("nan"), 0.0), (float("inf"), 0.0), (-1.0, 0.0)], ids=str
)
async def test_a_price_that_makes_no_sense_is_none(told, cost):
    with ModelServer([{"text": "Done.", "cost_usd": told}]) as server:
        reply = await made(server, name="openrouter/our/own").complete(PROMPT, TOOLS)
    assert (reply.text, reply.cost_usd) == ("Done.", cost)


@pytest.mark.parametrize("cut", [True, False])
async def test_an_answer_that_the_server_cut_off_is_marked(cut):
    with ModelServer([{"text": "I was going to", "cut": cut}]) as server:
        assert (await made(server).complete(PROMPT, TOOLS)).cut is cut


async def test_the_waiting_time_that_the_server_names_is_kept(model, server, waits):
    server.fail(Fault(status=429, retry_after="7"))
    assert (await model.complete(PROMPT, TOOLS)).text == "I look."
    assert waits == [7.0]


@pytest.mark.parametrize("told", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "inf", "nan", "soon"])
async def test_a_waiting_time_that_makes_no_sense_counts_as_none(model, server, waits, told):
    server.fail(Fault(status=429, retry_after=told))
    assert (await model.complete(PROMPT, TOOLS)).text == "I look."
    assert [0.0 < wait <= 1.0 for wait in waits] == [True]


async def test_it_really_waits_as_long_as_the_server_says(server):
    server.fail(Fault(status=429, retry_after="1"))
    model = LiteLLMModel("openai/gpt-4o-mini", base_url=server.base_url, api_key=Secret(CANARY))
    started = time.monotonic()
    await model.complete(PROMPT, TOOLS)
    assert 1.0 <= time.monotonic() - started < 5.0


async def test_waits_grow_and_differ(model, server, waits):
    server.fail(*[Fault(status=500)] * 4)
    await model.complete(PROMPT, TOOLS)
    assert len(waits) == 4
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits))


async def test_a_server_that_goes_on_failing_is_given_up(server, waits):
    server.fail(*[Fault(status=500)] * 9)
    with pytest.raises(ModelError, match=r"unavailable: .*HTTP 500"):
        await made(server, waits, retries=2).complete(PROMPT, TOOLS)
    assert len(server.requests) == 3


@pytest.mark.parametrize("instead", ["close", "nonsense", "no choices"])
async def test_an_answer_that_is_none_is_asked_for_again(model, server, instead):
    server.fail(Fault(instead=instead))
    assert (await model.complete(PROMPT, TOOLS)).text == "I look."


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault(status=400), "invalid"),
        (Fault(status=403), "forbidden"),
        (Fault(status=404), "missing"),
        (Fault(status=409), "invalid"),
        (Fault(status=410), "missing"),
        (Fault(status=422), "invalid"),
        (Fault(status=429, code="insufficient_quota"), "quota"),
    ],
)
async def test_what_does_not_get_better_is_not_tried_again(model, server, waits, fault, word):
    server.fail(fault)
    with pytest.raises(ModelError, match=f"^{word}: "):
        await model.complete(PROMPT, TOOLS)
    assert waits == []


async def test_a_server_that_hangs_is_a_timeout(server):
    server.fail(*[Fault(instead="hang")] * 9)
    with pytest.raises(ModelError, match=r"^timeout: "):
        await made(server, timeout=0.2, retries=1).complete(PROMPT, TOOLS)
    assert len(server.requests) == 2


async def test_all_tries_together_have_a_limit(server):
    server.fail(*[Fault(instead="hang")] * 9)
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"^timeout: "):
        await made(server, timeout=60, total=0.3).complete(PROMPT, TOOLS)
    assert time.monotonic() - started < 5


async def test_a_wait_beyond_the_limit_is_not_begun(server, waits):
    server.fail(Fault(status=429, retry_after="3600"))
    with pytest.raises(ModelError, match=r"^limited: "):
        await made(server, waits, total=60).complete(PROMPT, TOOLS)
    assert waits == []


@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "hosted_vllm/our-own"])
@pytest.mark.parametrize(
    "fault",
    [
        CONTEXT_TOO_LONG,
        Fault(status=400, code="context_length_exceeded"),
        Fault(
            status=400, message="Prompt contains 65673 tokens, too large for model with 32768 maximum context length"
        ),
        Fault(
            status=400, message="This model's maximum prompt length is 131072 but the request contains 537812 tokens"
        ),
        Fault(status=400, message="prompt is too long: 200251 tokens > 200000 maximum"),
        Fault(status=422, message="`inputs` must have less than 4096 tokens. Given: 5000"),
        Fault(status=413, message="<html>Request Entity Too Large</html>"),
    ],
)
async def test_a_prompt_beyond_the_window_is_told_apart(server, name, fault):
    server.fail(fault)
    with pytest.raises(ContextTooLong):
        await made(server, name=name).complete(PROMPT, TOOLS)


async def test_neither_key_nor_prompt_is_in_errors_logs_or_prints(server, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    said = []
    wrong = "sk-wrong-" + CANARY
    faults = [Fault(status=400, message=f"bad {CANARY} a private prompt"), Fault(status=500, message=CANARY)]
    server.fail(*faults)
    for key in (CANARY, wrong):
        for _ in range(2):
            with pytest.raises(ModelError) as caught:
                await made(server, key=key, retries=0).complete(PROMPT, TOOLS)
            said += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    await made(server).complete(PROMPT, TOOLS)
    said += [caplog.text, *capsys.readouterr(), repr(vars(made(server)))]
    for text in said:
        assert CANARY not in text
        assert "a private prompt" not in text
        assert "Give Feedback" not in text


async def test_cancelling_passes_through():
    loop, asked, cancelled = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slow(_body):
        loop.call_soon_threadsafe(asked.set)
        cancelled.wait(5)
        return SCRIPT[0]

    with ModelServer(slow) as server:
        task = asyncio.create_task(made(server).complete(PROMPT, TOOLS))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()


def test_loading_asks_nobody_and_keeps_the_heap_out_of_later_collections():
    probe = """
import gc, socket
def refuse(*_): raise SystemExit("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from bot.agent.model import load
load()
raise SystemExit(gc.get_freeze_count() == 0)
"""
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
