"""Backends with small limits, each with a folder of its own."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bot.core.errors import ConfigError
from bot.core.ports import BoxSpec, Sandbox, Sandboxes
from sandbox.docker import DockerSandboxes
from sandbox.local import LocalSandboxes, ProcessSandboxes

SMALL = BoxSpec(cpus=1.0, memory_mb=256, pids=64, disk_mb=200)


@pytest.fixture
async def local(tmp_path: Path, need: Callable[[object, str], None]) -> AsyncIterator[Sandboxes]:
    need(shutil.which("bwrap"), "bubblewrap (deploy/engine.sh installs it)")
    async for sandboxes in _life(LocalSandboxes(SMALL, tmp_path / "boxes", {})):
        yield sandboxes


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Sandboxes]:
    async for sandboxes in _life(ProcessSandboxes(SMALL, tmp_path / "boxes", {})):
        yield sandboxes


@pytest.fixture
async def docker(tmp_path: Path, need: Callable[[object, str], None]) -> AsyncIterator[Sandboxes]:
    sandboxes = DockerSandboxes(SMALL, tmp_path / "boxes", {})
    try:
        await sandboxes.check()
    except ConfigError as error:
        need(None, f"a Docker engine with the sandbox image (deploy/engine.sh): {error}")
    async for living in _life(sandboxes):
        yield living


@pytest.fixture
async def box(local: Sandboxes) -> AsyncIterator[Sandbox]:
    """A box of the quickest kind that isolates."""
    made = await local.create({})
    yield made
    await made.remove()


async def _life(sandboxes: Sandboxes) -> AsyncIterator[Sandboxes]:
    yield sandboxes
    for state, _ in await sandboxes.list():
        await (await sandboxes.attach(state)).remove()
    await sandboxes.close()
