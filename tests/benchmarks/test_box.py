"""What a box costs: a command in the kept shell, and a cold start, beside boxes that hold a bare server, in the same run."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot import registry
from bot.core.ports import BoxSpec
from tests.benchmarks.bare_boxes import Bare, in_bubblewrap, in_docker
from tests.benchmarks.table import milliseconds, row

ROUNDS, COMMANDS = 15, 50
WHAT = {"cold": "a cold box to its first result", "command": "a command in the kept bash"}
AIMS = {
    "local": {"cold": "<= 25 ms", "command": "<= 0.3 ms"},
    "docker": {"cold": "<= 1.1", "command": "<= 0.3 ms"},
}


@pytest.mark.parametrize(
    ("kind", "bare"), [("local", in_bubblewrap), pytest.param("docker", in_docker, marks=pytest.mark.docker)]
)
@pytest.mark.timeout(300)
async def test_a_box(kind: str, bare: Callable[[Path, str], Bare], tmp_path: Path, need: Any) -> None:
    spec = BoxSpec()
    sandboxes = registry.load("sandboxes", kind)(spec, tmp_path / "boxes", {})
    try:
        await sandboxes.check()
    except Exception as error:  # noqa: BLE001  whatever is missing here
        need(False, str(error))
    times: dict[str, list[float]] = {"cold": [], "command": [], "bare cold": [], "bare command": []}
    for number in range(ROUNDS):
        begin = time.perf_counter()
        box = await sandboxes.create({})
        await box.run("true")
        times["cold"].append(time.perf_counter() - begin)
        folder = tmp_path / f"bare{number}"
        folder.mkdir()
        begin = time.perf_counter()
        other = bare(folder, spec.image)
        other.run("true")
        times["bare cold"].append(time.perf_counter() - begin)
        for _ in range(COMMANDS):
            begin = time.perf_counter()
            await box.run("true")
            times["command"].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            other.run("true")
            times["bare command"].append(time.perf_counter() - begin)
        await box.remove()
        other.remove()
    await sandboxes.close()
    medians = {name: statistics.median(some) for name, some in times.items()}
    print()
    for name, aim in AIMS[kind].items():
        ours, theirs = medians[name], medians[f"bare {name}"]
        row(f"{kind}, {WHAT[name]}", milliseconds(ours), f"a bare server {milliseconds(theirs)}", ours / theirs, aim)
