"""What a model's server may send, from its wire to what LiteLLM makes of it."""

import gzip
import json

import httpx
import pytest

from bot.agent.incoming import LONGEST, LONGEST_ERROR, UnusableAnswerError, answer, bound
from bot.agent.model import LiteLLMModel
from bot.core.errors import ContextTooLong, ModelError
from bot.testing.models import Fault, ModelServer

MEGABYTE = 1024 * 1024
PROMPT = [{"role": "user", "content": "Hello?"}]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
CALL = {"id": "a", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
NAMES = ["openai/gpt-4o-mini", "hosted_vllm/our-own", "openrouter/a/b", "mistral/x"]
TOO_LONG = b'{"error": {"message": "maximum context length is 10 tokens"}} '


@pytest.fixture
def server():
    with ModelServer([{"text": "Well."}]) as server:
        yield server


def made(server, name=NAMES[0], **more):
    async def pause(_seconds):
        pass

    return LiteLLMModel(name, base_url=server.base_url, pause=pause, **more)


def completion(usage=USAGE, **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."} | message, "finish_reason": "stop"}
    return json.dumps({"id": "x", "model": "m", "choices": [choice], "usage": usage}).encode()


def calling(arguments):
    return completion(tool_calls=[{**CALL, "function": {"name": "bash", "arguments": arguments}}])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": "Ye"}, None, {"type": "thinking"}, {"type": "text", "text": "s."}]},
        {"tool_calls": [None, 5, {"id": "b"}]},
        {"tool_calls": {}},
        {"annotations": [1], "audio": {"x": 1}, "images": 3, "role": 7},
    ],
)
async def test_odd_fields_do_not_spoil_a_text(server, name, message):
    server.fail(Fault(body=completion(**message)))
    reply = await made(server, name).complete(PROMPT, [])
    assert (reply.text, reply.calls, reply.input_tokens) == ("Yes.", (), 10)


@pytest.mark.parametrize(
    "usage", [[], "many", {**USAGE, "prompt_tokens": 1.5}, {**USAGE, "prompt_tokens_details": {"cached_tokens": "x"}}]
)
async def test_an_answer_whose_tokens_cannot_be_counted_is_used(server, usage):
    server.fail(Fault(body=completion(usage)))
    reply = await made(server).complete(PROMPT, [])
    assert (reply.text, reply.input_tokens, reply.cost_usd) == ("Yes.", 0, 0.0)


async def test_what_a_server_tells_of_cost_and_of_cached_tokens_is_kept(server):
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 3}, "cost": 0.25, "cost_details": {"upstream": 0.2}}
    server.fail(Fault(body=completion(usage)))
    reply = await made(server, "openrouter/a/b").complete(PROMPT, [])
    assert (reply.cached_tokens, reply.cost_usd) == (3, 0.25)


async def test_null_calls_are_dropped_and_the_others_kept(server):
    server.fail(Fault(body=completion(tool_calls=[None, CALL])))
    assert [c.arguments for c in (await made(server).complete(PROMPT, [])).calls] == ['{"command": "ls"}']


@pytest.mark.parametrize("arguments", ['{"x": ' + "[" * 1_100 + "]" * 1_100 + "}", "[" * 3_000_000])
async def test_arguments_nested_too_deep_come_as_ones_that_cannot_be_read(server, arguments):
    server.fail(Fault(body=calling(arguments)))
    [call] = (await made(server).complete(PROMPT, [])).calls
    assert len(call.arguments) < 1_000
    with pytest.raises(json.JSONDecodeError):
        json.loads(call.arguments)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body",
    [
        b" " * MEGABYTE,
        b"null",
        b"[" * 5_000,
        json.dumps({"x": "://" * MEGABYTE}).encode(),
        json.dumps({"://" * MEGABYTE: "x"}).encode(),
        b'{"choices": [{"message": null}]}',
        calling("{}").replace(b'"bash"', b'"multi_tool_use.parallel"'),
    ],
)
async def test_an_answer_that_cannot_be_used_is_called_that_and_not_paid_for_six_times(server, name, body):
    server.fail(*[Fault(body=body)] * 9)
    with pytest.raises(ModelError, match=r"^nonsense: [^0-9]*$"):
        await made(server, name).complete(PROMPT, [])
    assert len(server.requests) == 3


@pytest.mark.parametrize(("code", "word"), [(429, "limited"), (529, "unavailable")])
async def test_an_error_that_is_said_with_status_200_stays_one(server, code, word):
    server.fail(Fault(body=json.dumps({"error": {"code": code, "message": "x" * MEGABYTE}}).encode()))
    with pytest.raises(ModelError, match=f"^{word}: .*HTTP {code}"):
        await made(server, retries=0).complete(PROMPT, [])


@pytest.mark.parametrize("name", NAMES)
async def test_an_endless_answer_is_read_to_a_bound_and_called_unusable(server, name):
    server.fail(Fault(body=b" " * MEGABYTE, times=100))
    with pytest.raises(ModelError, match=r"^nonsense: "):
        await made(server, name, retries=0).complete(PROMPT, [])
    assert server.sent < LONGEST + 24 * MEGABYTE  # what the sockets hold


@pytest.mark.parametrize(("status", "word"), [(401, "unauthorized"), (429, "limited"), (500, "unavailable")])
async def test_of_an_endless_error_the_status_counts(server, status, word):
    server.fail(Fault(status=status, body=b"://" * MEGABYTE, times=30))
    with pytest.raises(ModelError, match=f"^{word}: .*HTTP {status}"):
        await made(server, retries=0).complete(PROMPT, [])
    assert server.sent < 24 * MEGABYTE


async def test_an_endless_error_that_begins_with_the_prompts_length_is_understood(server):
    server.fail(Fault(status=400, body=TOO_LONG + b" " * MEGABYTE, times=30))
    with pytest.raises(ContextTooLong):
        await made(server).complete(PROMPT, [])


async def test_after_an_endless_answer_the_next_is_read(server):
    server.fail(Fault(body=b" " * MEGABYTE, times=30), Fault(status=500, body=b" " * MEGABYTE))
    assert (await made(server).complete(PROMPT, [])).text == "Well."


@pytest.mark.parametrize(
    "fault", [Fault(body=gzip.compress(completion()), encoding="GZip"), Fault(body=completion(), encoding="utf-8")]
)
async def test_a_packed_answer_is_unpacked(server, fault):
    server.fail(fault)
    assert (await made(server).complete(PROMPT, [])).text == "Yes."


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=gzip.compress(b" " * 200 * MEGABYTE), encoding="gzip"),
        Fault(body=b"no gzip", encoding="gzip"),
        Fault(body=b" " * (LONGEST + 1)),
    ],
)
async def test_no_more_than_the_bound_is_unpacked(server, fault):
    server.fail(fault)
    pieces = []
    async with httpx.AsyncClient(event_hooks={"response": [bound]}) as client, asking(client, server) as response:
        with pytest.raises(UnusableAnswerError):
            await measure(response, pieces)
    assert sum(pieces) <= LONGEST


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_no_more_of_an_error_than_its_bound_is_unpacked(server, encoding):
    body = b" " * 9 * MEGABYTE
    server.fail(Fault(status=500, body=gzip.compress(body) if encoding == "gzip" else body, encoding=encoding))
    async with httpx.AsyncClient(event_hooks={"response": [bound]}) as client, asking(client, server) as response:
        assert len(await response.aread()) == LONGEST_ERROR


async def measure(response, pieces):
    async for piece in response.aiter_bytes():
        pieces.append(len(piece))


def asking(client, server):
    return client.stream("POST", f"{server.base_url}/chat/completions", json={"model": "m", "messages": PROMPT})


@pytest.mark.parametrize(
    "body", [calling('{"x": "' + "y" * MEGABYTE + '"}'), b'{"candidates": ["' + b"y" * MEGABYTE + b'"]}']
)
def test_litellm_can_quote_little_of_an_answer(body):
    read = answer(httpx.Response(200, content=body, request=httpx.Request("POST", "http://127.0.0.1")))
    assert len(read.content) > MEGABYTE
    assert len(read.text) + len(str(read.json())) < 2_000
