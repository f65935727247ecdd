"""The event loop of web and workers."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

_LOOK_UP = """
import asyncio
from bot.commands.service import quick_loop

async def main():
    loop = asyncio.get_running_loop()
    silent = [asyncio.create_task(loop.getaddrinfo(f"silent{number}", 80)) for number in range(20)]
    await asyncio.sleep(0.5)
    print(sum(not one.done() for one in silent), flush=True)
    await loop.getaddrinfo("localhost", 80)
    print("found", flush=True)

asyncio.Runner(loop_factory=quick_loop()).run(main())
"""


def test_names_that_nobody_answers_for_keep_no_other_from_being_looked_up(tmp_path: Path) -> None:
    """The resolver reads a file of nicknames first (hostname(7)); here that is a pipe into which nobody writes."""
    names = tmp_path / "names"
    os.mkfifo(names)
    environment = {name: value for name, value in os.environ.items() if name != "UV_THREADPOOL_SIZE"}
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOK_UP], env={**environment, "HOSTALIASES": str(names)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    patience = threading.Timer(8.0, process.kill)
    patience.start()
    hanging, found = process.stdout.readline().strip(), process.stdout.readline().strip()
    process.kill()  # in the end it would wait for the silent ones
    process.communicate()
    patience.cancel()
    if hanging == b"0":
        pytest.skip("the resolver of this machine reads no file of nicknames")
    assert found == b"found"
