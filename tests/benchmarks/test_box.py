"""What a box costs: a command in the kept shell, and a cold start, beside a bare subprocess in the same run."""

import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bot import registry
from bot.core.ports import BoxSpec


@pytest.mark.parametrize("kind", ["local", pytest.param("docker", marks=pytest.mark.docker)])
@pytest.mark.timeout(300)
async def test_a_box(kind: str, tmp_path: Path, need: Any) -> None:
    sandboxes = registry.load("sandboxes", kind)(BoxSpec(), tmp_path, {})
    try:
        await sandboxes.check()
    except Exception as error:  # noqa: BLE001  whatever is missing here
        need(False, str(error))
    cold, commands, bare = [], [], []
    for _ in range(10):
        begin = time.perf_counter()
        box = await sandboxes.create({})
        await box.run("true")
        cold.append(time.perf_counter() - begin)
        for _ in range(50):
            begin = time.perf_counter()
            await box.run("true")
            commands.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        subprocess.run(["bash", "-c", "true"], check=True)  # noqa: ASYNC221
        bare.append(time.perf_counter() - begin)
        await box.remove()
    await sandboxes.close()
    command, new = statistics.median(commands), statistics.median(bare)
    print(f"\n{kind}: cold box to first result {statistics.median(cold) * 1000:.1f} ms")
    print(
        f"  command in the kept bash {command * 1000:.2f} ms, {command / new:.2f} of a new bash ({new * 1000:.2f} ms)"
    )
