"""What LiteLLM's part of a step costs on its routes, at the start of a run and after 300 steps. Nothing is asserted about time.

The provider is a server in a process of its own that reads nothing but how long a request is, and answers in the form of the
API that it was asked by. What is printed is the time of a whole call on an otherwise idle loop, and the processor's part.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from bot.agent.model import LiteLLMModel, load
from bot.core.ports import Reply
from bot.testing.log import MemoryLog
from tests.benchmarks.test_step import a_run, row

PROVIDER = """
import asyncio, json, os, sys

STEPS, answered = int(sys.argv[1]), 0

def answer(path):
    global answered
    answered += 1
    name, arguments = "bash", {"command": f"sed -n '{answered},{answered + 40}p' shop/views/login.py"}
    if answered > STEPS:
        name, arguments = "finish", {"summary": "Done."}
    text, call = f"Step {answered}: I look at where the session is begun.", f"call_{answered}"
    if path.endswith(b"/messages"):
        said = [{"type": "text", "text": text}, {"type": "tool_use", "id": call, "name": name, "input": arguments}]
        return {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": said,
                "stop_reason": "tool_use", "usage": {"input_tokens": 1000, "output_tokens": 60}}
    if path.endswith(b":generateContent"):
        said = [{"text": text}, {"functionCall": {"name": name, "args": arguments}}]
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 60, "totalTokenCount": 1060}
        content = {"role": "model", "parts": said}
        return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}
    calls = [{"id": call, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}]
    message = {"role": "assistant", "content": text, "tool_calls": calls}
    usage = {"prompt_tokens": 1000, "completion_tokens": 60, "total_tokens": 1060}
    return {"id": "m", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}

async def connected(reader, writer):
    while True:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\\r\\n")[1:-2])
        await reader.readexactly(int(fields[b"content-length"]))
        body = json.dumps(answer(head.split(b" ")[1].partition(b"?")[0])).encode()
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body)

async def main():
    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)

asyncio.run(main())
"""


@contextmanager
def provider(steps: int) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-c", PROVIDER, str(steps)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.stdin.close()
        server.wait(10)


class Timed:
    """A model that notes what its calls took."""

    def __init__(self, model: LiteLLMModel) -> None:
        self.name, self._model = model.name, model
        self.whole: list[float] = []
        self.processor: list[float] = []

    async def complete(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
        begin, used = time.perf_counter(), time.process_time()
        reply = await self._model.complete(messages, tools)
        self.whole.append(time.perf_counter() - begin)
        self.processor.append(time.process_time() - used)
        return reply


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "route",
    [
        *("openai/gpt-4o-mini", "deepseek/deepseek-chat", "mistral/mistral-small"),
        *("anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"),
    ],
)
async def test_a_call_by_each_route(route: str) -> None:
    load()
    with provider(300) as url:
        model = Timed(LiteLLMModel(route, base_url=url))
        await a_run(MemoryLog(time.time), route, model, 300)
    print(f"\n{route}, 300 steps, model included")
    row("a call", model.whole[3:-1])
    row("  of it the processor's time", model.processor[3:-1])
