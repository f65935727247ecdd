"""What an agent's step costs outside of the model and the command: the loop, the log, and LiteLLM with all of its ways.

The model is a server in a process of its own. After each call the same prompt is posted to it twice more, once by httpx
and once as ready-made bytes over a bare socket: what that takes is the model's time. Nothing is asserted about time.
"""

import asyncio
import itertools
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from bot import registry
from bot.agent import loop
from bot.agent.model import LiteLLMModel, load
from bot.core.events import Admitted, Asked, Draft, RunStarted
from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.ports import EventLog, Limits, Reply
from bot.core.secret import Redactor, Secret
from bot.flows.runlog import ConversationLog
from bot.store import open_store
from bot.testing.fake_sandbox import Expected, FakeSandbox
from bot.testing.log import MemoryLog

MODEL = """
import sys
from bot.testing.models import ModelServer, answers_in

def answer(body):
    server.requests.clear()
    step = answers_in(body["messages"])
    if step == int(sys.argv[1]):
        return {"calls": [{"name": "finish", "arguments": {"summary": "Done."}}]}
    call = {"name": "bash", "arguments": {"command": f"sed -n '{step * 40},{step * 40 + 40}p' shop/views/login.py"}}
    text = f"Step {step}: the redirect is made twice, so I look at where the session is begun."
    return {"text": text, "calls": [call], "input_tokens": 1000 + 500 * step, "output_tokens": 60}

with ModelServer(answer) as server:
    print(server.base_url, flush=True)
    sys.stdin.read()
"""
LINE = "    return redirect(url_for('login', next=request.path))  # twice\n"
TOOLS = {name: registry.load("tools", name)() for name in registry.names("tools")}


@contextmanager
def model_server(steps: int) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-c", MODEL, str(steps)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin
    assert server.stdout
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait(10)


@asynccontextmanager
async def kept_in(kind: str, database: Path) -> AsyncIterator[EventLog]:
    if kind == "memory":
        yield MemoryLog(time.time)
        return

    async def grown(_latest: object) -> None: ...

    keys, url = [Secret("a key for the benchmark alone")], f"sqlite:///{database}"
    store = await open_store(url, clock=time.time, redact=Redactor([Secret("hidden")]), grown=grown, keys=keys)
    yield store.log
    await store.close()


class Stopwatch(FakeSandbox):
    """A box that answers at once, and notes when it is called."""

    def __init__(self, steps: int) -> None:
        super().__init__([Expected("", output=LINE * 25)] * steps)
        self.called: list[float] = []

    async def run(self, _command: str, **_: Any) -> Any:
        self.called.append(time.perf_counter())
        return await super().run("")


class Beside:
    """A model that posts every prompt of another one again, and notes how long each way took."""

    def __init__(self, model: LiteLLMModel, base_url: str) -> None:
        self.name, self._model, self._url = model.name, model, httpx.URL(f"{base_url}/chat/completions")
        self._httpx = httpx.AsyncClient()
        self._socket = socket.create_connection((self._url.host, self._url.port or 80))
        self.litellm: list[float] = []
        self.httpx: list[float] = []
        self.bare: list[float] = []

    async def complete(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
        begin = time.perf_counter()
        reply = await self._model.complete(messages, tools)
        self.litellm.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        body = msgspec.json.encode({"model": "m", "messages": messages, "tools": tools})
        msgspec.json.decode((await self._httpx.post(self._url, content=body)).content)
        self.httpx.append(time.perf_counter() - begin)
        self.bare.append(self._exchange(body))
        return reply

    def _exchange(self, body: bytes) -> float:
        head = f"POST {self._url.path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        begin = time.perf_counter()
        self._socket.sendall(head + body)
        answer = self._socket.recv(65_536)
        while not answer.endswith(b"}"):
            answer += self._socket.recv(65_536)
        return time.perf_counter() - begin


async def a_run(log: EventLog, name: str, model: Any, steps: int) -> Stopwatch:
    request = Request("work", "fix the login")
    thread, actor = Thread("github", "acme/shop", name), Account("github", "1", "ada")
    trigger = Trigger(
        thread=thread, actor=actor, request=request, meaning=name, by="mention", origin=Origin("issue", name)
    )
    opened, box = ConversationLog(log, name, "h"), Stopwatch(steps)
    [asked] = await opened.append(Draft(Asked(trigger=trigger), "user"))
    await opened.append(Draft(Admitted(request=asked.seq, user="u")))
    await opened.append(Draft(RunStarted(run="r", holder="h", requests=[asked.seq])))
    limits = Limits(steps=10_000, cost_usd=1e9)
    assert (await loop.work(opened, model, TOOLS, box, limits, time.time)).ending == "finished"
    return box


def median_ms(values: Sequence[float]) -> float:
    return 1000 * statistics.median(values)


def row(name: str, values: Sequence[float]) -> None:
    first, last = median_ms(values[:10]), median_ms(values[-10:])
    print(
        f"    {name:<34} p50 {median_ms(values):6.2f} ms, last ten / first ten {last:6.2f} / {first:.2f} = {last / first:.2f}"
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("steps", [50, 300])
async def test_a_step(steps: int, kind: str, migrated_sqlite: Path) -> None:
    load()
    with model_server(steps) as url:
        async with kept_in(kind, migrated_sqlite) as log:
            name = f"{steps}"
            await a_run(log, f"warm {name}", LiteLLMModel("openai/gpt-4o-mini", base_url=url), steps)
            beside = Beside(LiteLLMModel("openai/gpt-4o-mini", base_url=url), url)
            box = await a_run(log, name, beside, steps)
    between = [b - a for a, b in itertools.pairwise(box.called)]
    own = [a - b for a, b in zip(beside.litellm, beside.bare, strict=True)][1:-1]
    rest = [
        whole - sum(parts)
        for whole, *parts in zip(between, beside.litellm[1:-1], beside.httpx[1:-1], beside.bare[1:-1], strict=True)
    ]
    plain = [a - b for a, b in zip(beside.httpx, beside.bare, strict=True)][1:-1]
    print(f"\n{steps} steps, log in {kind}; the model alone takes {median_ms(beside.bare):.2f} ms")
    row("a step, outside model and command", [a + b for a, b in zip(own, rest, strict=True)])
    row("  of it LiteLLM", own)
    row("  of it loop, history and log", rest)
    row("the model included", [a + b for a, b in zip(beside.litellm[1:-1], rest, strict=True)])
    row("peer: httpx posts the same prompt", plain)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("route", ["openai/gpt-4o-mini", "hosted_vllm/our-own", "deepseek/deepseek-chat"])
async def test_how_long_runs_keep_others_waiting(route: str) -> None:
    steps = 150
    late: list[float] = []

    async def tick() -> None:
        while True:
            begin, used = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.001)
            # no more than we have used the processor meanwhile: what other processes took of it is no fault of ours
            late.append(min(time.perf_counter() - begin - 0.001, time.process_time() - used))

    load()
    print()
    for runs in (0, 1, 4):
        late.clear()
        with model_server(steps) as url:
            ticking = asyncio.create_task(tick())
            if runs:
                one = partial(a_run, MemoryLog(time.time), model=LiteLLMModel(route, base_url=url), steps=steps)
                await asyncio.gather(*(one(f"{n}") for n in range(runs)))
            else:
                await asyncio.sleep(2)
            ticking.cancel()
        over = sum(wait > 0.02 for wait in late)
        ordered = sorted(late)
        print(
            f"{route}, {runs} runs at a time: another task waits p99 {1000 * ordered[len(late) * 99 // 100]:.1f} ms, "
            f"longest {1000 * ordered[-1]:.1f} ms; {over} of {len(late)} waits over 20 ms"
        )
