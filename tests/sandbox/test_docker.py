"""Containers at an engine that does not do its part."""

import asyncio
import os
from pathlib import Path

from bot.core.errors import SandboxError
from bot.core.ports import BoxSpec
from sandbox.docker import DockerSandboxes

SHARED = min(32, (os.cpu_count() or 1) + 4)
"""The threads that all the rest of a process has together (asyncio.to_thread), DNS among it."""


async def test_an_engine_that_hangs_holds_up_nothing_else(tmp_path: Path) -> None:
    all_asked, asked = asyncio.Event(), list[asyncio.StreamWriter]()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        if len(asked) >= SHARED:
            all_asked.set()

    silent = await asyncio.start_unix_server(say_nothing, tmp_path / "e.sock")
    sandboxes = DockerSandboxes(BoxSpec(), tmp_path / "boxes", {"url": f"unix://{tmp_path}/e.sock"})
    creations = [asyncio.create_task(sandboxes.create({"number": str(number)})) for number in range(SHARED)]
    try:
        async with asyncio.timeout(5.0):
            await all_asked.wait()
            assert await asyncio.to_thread(lambda: "elsewhere") == "elsewhere"
    finally:
        silent.close()
        for writer in asked:
            writer.close()
        ended = await asyncio.gather(*creations, return_exceptions=True)
        await sandboxes.close()
    assert {type(end) for end in ended} == {SandboxError}
