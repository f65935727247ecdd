"""What the processes cost: until the web process answers and how much memory it holds, beside the bare libraries."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from bot.commands.service import free_port
from bot.redis_server import EmbeddedRedis
from tests.benchmarks.table import row

ROUNDS = 3
ROOT = Path(__file__).parents[2]

_BARE = "import litestar, uvicorn, arq, msgspec, sqlalchemy; print('ready', flush=True); input()"
_MEGABYTE = 1 << 20


@pytest.mark.timeout(300)
async def test_processes(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path)
    told = {**os.environ, "ONHAND_REDIS_URL": await redis.start(), "ONHAND_HOME": str(tmp_path / "home")}
    told |= {"ONHAND_GITHUB__WEBHOOK_SECRET": "a secret", "ONHAND_GITHUB__TOKEN": "a token of the benchmark"}
    told |= {"ONHAND_SANDBOX__KIND": "process", "ONHAND_LLM__MODEL": "openai/none", "ONHAND_LLM__API_KEY": "none"}
    try:
        for measure in (_web, _bare):  # once unmeasured: bytecode, the database's tables
            measure(told)
        web, bare, worker = [], [], []
        for _ in range(ROUNDS):
            web.append(_web(told))
            bare.append(_bare(told))
            worker.append(_worker(told))
        traced = _imports(told, tmp_path / "imports")
    finally:
        await redis.stop()
    print()
    _rows("web process", web, bare, "<= 1.2 s", "<= 100 MB")
    _rows("worker process, LiteLLM loaded", worker, bare, "", "")
    row(
        "litellm imported by the web process",
        "yes" if "litellm" in traced else "no",
        f"{len(traced)} packages imported",
        aim="no",
    )
    assert "litellm" not in traced


def _rows(what: str, seen: list[tuple[float, float]], bare: list[tuple[float, float]], time_: str, size: str) -> None:
    (took, holds), (least, smallest) = (
        [statistics.median(column) for column in zip(*pairs, strict=True)] for pairs in (seen, bare)
    )
    row(f"{what}: ready", f"{took:.2f} s", f"bare libraries {least:.2f} s", took / least, time_)
    row(f"{what}: memory (PSS)", f"{holds:.0f} MB", f"bare libraries {smallest:.0f} MB", holds / smallest, size)


def _web(told: Mapping[str, str]) -> tuple[float, float]:
    port = str(free_port("127.0.0.1"))
    begin = time.perf_counter()
    process = _start(told, "-m", "bot", "serve", "--bound", "--port", port)
    url = f"http://127.0.0.1:{port}/ready"
    with httpx.Client(trust_env=False) as client:
        while not _answers(client, url):
            assert process.poll() is None
            time.sleep(0.005)
    return _measured(process, begin)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def _worker(told: Mapping[str, str]) -> tuple[float, float]:
    begin = time.perf_counter()
    process = _start(told, "-m", "bot", "worker", "--bound", stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"is ready" not in (line := process.stderr.readline()):
        assert line, "the worker ended"
    return _measured(process, begin)


def _bare(told: Mapping[str, str]) -> tuple[float, float]:
    begin = time.perf_counter()
    process = _start(told, "-c", _BARE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return _measured(process, begin)


def _imports(told: Mapping[str, str], said: Path) -> set[str]:
    """Return the top level names of all that the web process has imported by the time that it has answered."""
    port = str(free_port("127.0.0.1"))
    with said.open("wb") as errors:
        arguments = ("-X", "importtime", "-m", "bot", "serve", "--bound", "--port", port)
        process = _start(told, *arguments, stderr=errors.fileno())
    with httpx.Client(trust_env=False) as client:
        while not _answers(client, f"http://127.0.0.1:{port}/ready"):
            time.sleep(0.02)
    process.terminate()
    process.wait(30)
    rows = [line for line in said.read_text(errors="replace").splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in rows}


def _start(told: Mapping[str, str], *arguments: str, **pipes: int) -> "subprocess.Popen[bytes]":
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **pipes}
    return subprocess.Popen([sys.executable, *arguments], env=told, cwd=ROOT, stdin=subprocess.PIPE, **output)  # type: ignore[call-overload,no-any-return]


def _measured(process: "subprocess.Popen[bytes]", begin: float) -> tuple[float, float]:
    """Return seconds and megabytes, and end the process."""
    took = time.perf_counter() - begin
    holds = psutil.Process(process.pid).memory_full_info().pss / _MEGABYTE
    process.terminate()
    process.communicate(timeout=30)
    return took, holds
