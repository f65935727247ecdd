"""Stand-ins for a language model: ScriptedModel at the port, ModelServer at the wire of an OpenAI-compatible API.

Both play a script, a list of steps `{"text": str, "calls": [{"name", "arguments"}], ...}`, and choose the step by the
number of assistant messages in the prompt. So they keep no state: a run that another process resumes goes on.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct

from bot.core.errors import ModelError
from bot.core.ports import Reply, ToolCall


class ScriptedCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call of a script. `arguments` is an object, or text that is sent as it is (so that it may be nonsense)."""

    name: str
    arguments: dict[str, Any] | str = {}

    def as_text(self) -> str:
        """The arguments as a model writes them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


class ScriptedStep(Struct, frozen=True, forbid_unknown_fields=True):
    """One answer of a script."""

    text: str = ""
    calls: list[ScriptedCall] = []
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cut: bool = False

    def reply(self, index: int, model: str) -> Reply:
        """The answer, as the step with this index."""
        calls = tuple(ToolCall(f"call_{index}_{n}", c.name, c.as_text()) for n, c in enumerate(self.calls))
        tokens = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        return Reply(self.text, calls, model, **tokens, cost_usd=self.cost_usd, cut=self.cut)


Script = Sequence[ScriptedStep | Mapping[str, Any]]


def read_script(script: Script) -> list[ScriptedStep]:
    """Return the steps. Raises msgspec.ValidationError with the place of what does not fit."""
    return [s if isinstance(s, ScriptedStep) else msgspec.convert(s, ScriptedStep) for s in script]


class ScriptedModel:
    """A Model that plays a script. It refuses to go past its end."""

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self.name = name
        self._steps = read_script(script)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the script from a JSON file; the model's name is `scripted:` and the file's."""
        return cls(json.loads(path.read_text("utf-8")), f"scripted:{path.stem}")

    async def complete(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
        index = answers_in(messages)
        if index >= len(self._steps):
            raise ModelError(f"script: {self.name} has {len(self._steps)} steps and was asked for one more")
        return self._steps[index].reply(index, self.name)


def answers_in(messages: Sequence[Mapping[str, Any]]) -> int:
    """Count the assistant's messages in a prompt."""
    return sum(m.get("role") == "assistant" for m in messages)


class Fault(Struct, frozen=True):
    """What a ModelServer does instead of answering a request."""

    status: int = 0
    """An HTTP status of 400 or more, with an error in OpenAI's shape."""
    retry_after: str = ""
    code: str = ""
    message: str = "made to fail"
    instead: Literal["", "hang", "nonsense", "no choices", "close"] = ""
    """`hang` never answers, `nonsense` is a 200 that is no JSON, `close` ends the connection without an answer."""
    body: bytes = b""
    """Sent as it is, with `status` or 200, so many `times` on end."""
    times: int = 1
    encoding: str = "identity"
    """What the body is said to be packed with."""


CONTEXT_TOO_LONG = Fault(
    status=400,
    code="context_length_exceeded",
    message="This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. "
    "Please reduce the length of the messages.",
)

Answer = Callable[[Mapping[str, Any]], ScriptedStep | Mapping[str, Any]]


class ModelServer:
    """An OpenAI-compatible server on a free loopback port, in a thread of its own: `with ModelServer(...) as server:`.

    `script` is a list of steps, or a function from a request's body to a step. `key`, where given, is demanded as
    bearer token.
    """

    def __init__(self, script: Script | Answer, *, key: str = "") -> None:
        self._script: list[ScriptedStep] | Answer = script if callable(script) else read_script(script)
        self._key = key
        self.requests: list[dict[str, Any]] = []
        """The bodies of the completion requests that came in with the right key, faulty answers included."""
        self.sent = 0
        """Bytes of faults' bodies that clients took, but for what is on the way."""
        self.base_url = ""
        self._faults: deque[Fault] = deque()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="model-server", daemon=True)

    def fail(self, *faults: Fault) -> None:
        """Answer the next requests with these faults, one each."""
        self._faults.extend(faults)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the client, or the server, goes
            while (request := await _read_request(reader)) and await self._answer(request, writer):
                pass
        writer.close()

    async def _answer(self, request: "_Request", writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection stays."""
        if not request.target.endswith("/chat/completions"):
            return await _send(writer, 404, _error("no such path", "not_found"))
        if self._key and request.headers.get("authorization") != f"Bearer {self._key}":
            return await _send(writer, 401, _error("Incorrect API key provided", "invalid_api_key"))
        body = json.loads(request.body)
        self.requests.append(body)
        if self._faults:
            fault = self._faults.popleft()
            return await (self._pour(fault, writer) if fault.body else _break(fault, writer))
        return await self._play(body, writer)

    async def _pour(self, fault: Fault, writer: asyncio.StreamWriter) -> bool:
        head = f"HTTP/1.1 {fault.status or 200} Scripted\r\ncontent-type: application/json\r\n"
        length = len(fault.body) * fault.times
        writer.write(f"{head}content-encoding: {fault.encoding}\r\ncontent-length: {length}\r\n\r\n".encode())
        for _ in range(fault.times):
            writer.write(fault.body)
            await writer.drain()
            self.sent += len(fault.body)
        return True

    async def _play(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        index = answers_in(body["messages"])
        if callable(self._script):
            step = read_script([self._script(body)])[0]
        elif index < len(self._script):
            step = self._script[index]
        else:
            message = f"the script has {len(self._script)} steps and was asked for one more"
            return await _send(writer, 400, _error(message, "script_ended"))
        reply = step.reply(index, str(body.get("model", "")))
        if not body.get("stream"):
            return await _send(writer, 200, json.dumps(_completion(reply)).encode())
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(reply)]
        return await _send(writer, 200, "".join([*events, "data: [DONE]\n\n"]).encode(), "text/event-stream")


class _Request(Struct):
    target: str
    headers: dict[str, str]
    body: bytes


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
    line = await reader.readline()
    if not line:
        return None
    target = line.split()[1].decode("latin-1")
    headers = {name: value async for name, value in _read_headers(reader)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return _Request(target, headers, body)


async def _read_headers(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, str]]:
    while line := (await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        yield name.lower(), value.strip()


async def _send(
    writer: asyncio.StreamWriter, status: int, body: bytes, kind: str = "application/json", retry_after: str = ""
) -> bool:
    extra = f"retry-after: {retry_after}\r\n" if retry_after else ""
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
    writer.write(head.encode("latin-1") + body)
    await writer.drain()
    return True


async def _break(fault: Fault, writer: asyncio.StreamWriter) -> bool:
    match fault.instead:
        case "hang":
            await asyncio.Event().wait()
        case "close":
            return False
        case "nonsense":
            return await _send(writer, 200, b"<html>a proxy's page, no JSON")
        case "no choices":
            return await _send(writer, 200, json.dumps(_completion(Reply()) | {"choices": []}).encode())
    return await _send(writer, fault.status, _error(fault.message, fault.code), retry_after=fault.retry_after)


def _error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "scripted", "param": None, "code": code or None}}).encode()


def _envelope(reply: Reply, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": int(time.time()), "model": reply.model}


def _usage(reply: Reply) -> dict[str, float]:
    total = reply.input_tokens + reply.output_tokens
    price = {"cost": reply.cost_usd} if reply.cost_usd else {}  # as OpenRouter tells it
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": total,
        **price,
    }


def _tool_calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in reply.calls
    ]


def _end(reply: Reply) -> str:
    return "length" if reply.cut else "tool_calls" if reply.calls else "stop"


def _completion(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = _tool_calls(reply)
    choice = {"index": 0, "message": message, "finish_reason": _end(reply)}
    return _envelope(reply, "chat.completion") | {"choices": [choice], "usage": _usage(reply)}


def _chunks(reply: Reply) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": reply.text}]
    deltas += [{"tool_calls": [{"index": n, **call}]} for n, call in enumerate(_tool_calls(reply))]
    ends: list[str | None] = [None] * len(deltas) + [_end(reply)]
    envelope = _envelope(reply, "chat.completion.chunk")
    chunks = [
        envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in zip([*deltas, {}], ends, strict=True)
    ]
    return [*chunks, envelope | {"choices": [], "usage": _usage(reply)}]
