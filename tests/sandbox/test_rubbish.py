"""Mirrors are tidied beside whoever uses them."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.inbound import Repository
from bot.core.ports import Sandbox, Source
from bot.core.secret import Secret
from bot.testing.git_server import GitServer
from sandbox import rubbish
from sandbox.checkout import GitCheckout
from sandbox.git import GitError

TOKEN = Secret("a token for the tests 0123456789")
BRANCH, WHO = "onhand/7-greet", "Alice <alice@example.com>"
MONTH = 30 * 86_400.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "forge", {TOKEN.reveal()}) as server:
        await server.create("octo/hello", {"README.md": "Hello\n"})
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mirrors"


@pytest.fixture
def source(server: GitServer) -> Source:
    return Source(Repository("github", "octo/hello"), f"{server.url}/octo/hello.git", "main")


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def refs(folder: Path) -> set[str]:
    [mirror] = files(folder, "*.git")
    command = ["git", "-C", str(mirror), "for-each-ref", "--format=%(refname)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def age(paths: list[Path], seconds: float) -> None:
    assert paths, "there is something to be old"
    for path in paths:
        os.utime(path, (time.time() - seconds,) * 2)


async def worked(checkout: GitCheckout, source: Source, box: Sandbox) -> str:
    """Lay out, change something, take it; return the commit."""
    base = await checkout.fetch(source, TOKEN)
    await checkout.put(source, base, BRANCH, box, WHO, "")
    await box.run("echo more >>README.md", timeout=30)
    change = await checkout.take(source, base, BRANCH, box, "More")
    assert change is not None
    return change.commit


async def test_commits_of_runs_long_over_are_let_go_and_younger_ones_stay(
    folder: Path, source: Source, box: Sandbox
) -> None:
    checkout = GitCheckout(folder)
    commit = await worked(checkout, source, box)
    base = await checkout.fetch(source, TOKEN)
    assert await checkout.tidy(MONTH) == 0
    kept = {"refs/onhand/heads/main", f"refs/onhand/put/{base}", f"refs/onhand/taken/{commit}"}
    assert refs(folder) == kept
    age(files(folder, "*.git/refs/onhand/taken/*"), rubbish.KEPT + 60)
    assert await checkout.tidy(MONTH) == 1
    assert refs(folder) == kept - {f"refs/onhand/taken/{commit}"}


async def test_a_commit_that_is_taken_again_is_young_again(folder: Path, source: Source, box: Sandbox) -> None:
    checkout = GitCheckout(folder)
    commit = await worked(checkout, source, box)
    age(files(folder, "*.git/refs/onhand/*/*"), rubbish.KEPT + 60)
    assert await worked(checkout, source, box) != commit
    assert await checkout.tidy(MONTH) == 1, "the first taken commit; a branch of the forge is no rubbish, however old"


async def test_drafts_of_killed_workers_are_removed(folder: Path, source: Source) -> None:
    checkout = GitCheckout(folder)
    await checkout.fetch(source, TOKEN)
    [mirror] = files(folder, "*.git")
    drafts = [mirror / "onhand-0123.draft", mirror / "draft-0123-abcd.pack"]
    for draft in drafts:
        draft.write_bytes(b"half of it")
    drafts.append(mirror / "onhand-4567.draft")
    (drafts[-1] / "mails").mkdir(parents=True)
    assert await checkout.tidy(MONTH) == 0
    age(drafts, rubbish.KEPT + 60)
    assert await checkout.tidy(MONTH) == 3
    assert not [draft for draft in drafts if draft.exists()]


async def test_a_mirror_that_nobody_asks_for_goes_and_comes_back_when_asked_for(folder: Path, source: Source) -> None:
    checkout = GitCheckout(folder)
    commit = await checkout.fetch(source, TOKEN)
    assert await checkout.tidy(MONTH) == 0
    age(files(folder, "*.lock"), MONTH + 60)
    assert await checkout.tidy(MONTH) == 1
    assert not files(folder, "*.git*")
    assert await checkout.fetch(source, TOKEN) == commit


async def test_a_mirror_that_is_ruined_keeps_no_other_from_being_tidied(folder: Path, source: Source) -> None:
    checkout = GitCheckout(folder)
    await checkout.fetch(source, TOKEN)
    age(files(folder, "*.lock"), MONTH + 60)
    ruined = folder / "a-first.git"
    ruined.mkdir()
    (ruined / "HEAD").write_text("garbage")
    with pytest.raises(GitError):
        await checkout.tidy(MONTH)
    assert files(folder, "*.git*") == [ruined]


async def test_a_use_makes_a_mirror_young_again_and_tidying_does_not(folder: Path, source: Source) -> None:
    checkout = GitCheckout(folder)
    await checkout.fetch(source, TOKEN)
    age(files(folder, "*.lock"), MONTH - 60)
    await checkout.tidy(MONTH)
    [lock] = files(folder, "*.lock")
    assert lock.stat().st_mtime < time.time() - MONTH + 120
    await checkout.fetch(source, TOKEN)
    assert lock.stat().st_mtime > time.time() - 600


async def test_what_an_earlier_removal_left_is_removed(folder: Path) -> None:
    (folder / "octo-hello.git.gone-0123" / "objects").mkdir(parents=True)
    assert await GitCheckout(folder).tidy(MONTH) == 1
    assert not files(folder, "*")


async def test_tidying_beside_fetches_breaks_nothing(server: GitServer, folder: Path, source: Source) -> None:
    checkout = GitCheckout(folder)
    await checkout.fetch(source, TOKEN)
    for number in range(3):
        newest = await server.commit("octo/hello", {f"file{number}": "x"}, "More")
        done = await asyncio.gather(*(checkout.fetch(source, TOKEN) for _ in range(3)), checkout.tidy(MONTH))
        assert done == [newest] * 3 + [0]


async def test_git_gathers_many_packs_into_one(server: GitServer, folder: Path, source: Source) -> None:
    checkout = GitCheckout(folder)
    for number in range(22):
        await server.commit("octo/hello", {f"file{number}": "x"}, "More")
        commit = await checkout.fetch(source, TOKEN)
    assert len(files(folder, "*.git/objects/pack/*.pack")) > 20
    assert await checkout.tidy(MONTH) == 0
    assert len(files(folder, "*.git/objects/pack/*.pack")) == 1
    assert await checkout.fetch(source, TOKEN) == commit
