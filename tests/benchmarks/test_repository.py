"""What a 50 MB repository costs a box: put into it by the checkout, beside a bare box and the ways of others, in one run."""

import io
import os
import statistics
import subprocess
import tarfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bot import registry
from bot.core.inbound import Repository
from bot.core.ports import BoxSpec, Sandbox, Source
from bot.core.secret import Secret
from bot.testing.git_server import GitServer
from sandbox.checkout import GitCheckout

ROUNDS = 5
FILES, BYTES = 2_000, 50 << 20
BOT, ALICE = "onhand <onhand@example.com>", "Alice <alice@example.com>"


def fifty_megabytes() -> bytes:
    """Return a stream for git fast-import: 2,000 files, half of the bytes of a kind that no packing makes smaller."""
    size = BYTES // FILES
    parts = [b"commit refs/heads/main\ncommitter Alice <alice@example.com> now\ndata 5\nBegin\n"]
    for number in range(FILES):
        text = f"def function_{number}(): return {number}\n".encode()
        data = os.urandom(size) if number % 2 else (text * (size // len(text) + 1))[:size]
        parts.append(f"M 100644 inline src/{number % 50}/file{number}.py\ndata {size}\n".encode() + data + b"\n")
    return b"".join([*parts, b"done\n"])


@pytest.mark.parametrize("kind", ["local", "process", pytest.param("docker", marks=pytest.mark.docker)])
@pytest.mark.timeout(600)
async def test_a_repository_into_a_box(kind: str, tmp_path: Path, need: Any) -> None:
    sandboxes = registry.load("sandboxes", kind)(BoxSpec(), tmp_path / "boxes", {})
    try:
        print(f"\n{await sandboxes.check()}")
    except Exception as error:  # noqa: BLE001  whatever is missing here
        need(False, str(error))
    checkout = GitCheckout(tmp_path / "mirrors")
    async with GitServer(tmp_path / "forge", {"token"}) as server:
        await server.create("octo/large", {})
        server.hosting.git("octo/large", "fast-import", "--quiet", "--date-format=now", stdin=fifty_megabytes())
        bare = server.hosting.path("octo/large")
        source = Source(Repository("github", "octo/large"), f"{server.url}/octo/large.git", "main")
        commit = await checkout.fetch(source, Secret("token"))

        async def nothing(box: Sandbox) -> None:
            """A box without any repository."""

        async def put(box: Sandbox) -> None:
            await checkout.put(source, commit, "onhand/7-work", box, BOT, ALICE)

        async def archive(box: Sandbox) -> None:
            """Everything in one archive through the box's door."""
            await box.write("all.tar", _archive(tmp_path, bare))
            await box.run("tar -xf all.tar && rm all.tar")

        ways = {"a bare box": nothing, "put": put, "an archive": archive}
        times: dict[str, list[float]] = {name: [] for name in (*ways, "first git status", "clone on this machine")}
        await _through(sandboxes, put)  # the mirror is warm
        for _ in range(ROUNDS):
            for name, way in ways.items():
                seconds, status = await _through(sandboxes, way)
                times[name].append(seconds)
                times["first git status"] += [status] if name == "put" else []
            times["clone on this machine"].append(_clone(bare, tmp_path / "clone"))
    await sandboxes.close()
    medians = {name: statistics.median(some) for name, some in times.items()}
    for name, seconds in medians.items():
        ratio = seconds / medians["a bare box"]
        print(f"  {kind}, {name}: {seconds * 1000:.0f} ms, {ratio:.2f} of a bare box")


async def _through(sandboxes: Any, way: Callable[[Sandbox], Awaitable[None]]) -> tuple[float, float]:
    """Return the seconds from nothing to a first result after this way in, and those of a first `git status`."""
    begin = time.perf_counter()
    box = await sandboxes.create({})
    try:
        await way(box)
        await box.run("true")
        cold = time.perf_counter() - begin
        status = await box.run("git status --short")
        assert status.output == "" or "not a git repository" in status.output, status.output
        return cold, status.seconds
    finally:
        await box.remove()


def _archive(folder: Path, bare: Path) -> bytes:
    """Return a tar of a working copy with history."""
    work = folder / "archived"
    if not work.exists():
        subprocess.run(["git", "clone", "--quiet", str(bare), str(work)], check=True)
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.add(work, ".")
    return held.getvalue()


def _clone(bare: Path, to: Path) -> float:
    begin = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(bare), str(to)], check=True)
    seconds = time.perf_counter() - begin
    subprocess.run(["rm", "-rf", str(to)], check=True)
    return seconds
