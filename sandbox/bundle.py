"""A bundle out of a box (gitformat-bundle(5)): data until git has checked each object of it, in a draft inside the mirror.

git itself checks the objects of bundles only since 2.46, and when they are in. So the draft is a repository of its own that
borrows the mirror's objects. What passed joins them, as from the quarantine of git-receive-pack(1); else nothing stays.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.core.errors import Refused, SandboxError
from sandbox.git import CHECKS, GitError, git
from sandbox.mirror import commit_of, drafting, has
from sandbox.reasons import unsafe_work

_LONGEST_HEAD = 1024 * 1024
_HEAD = re.compile(rb"# v2 git bundle\n(?:-[0-9a-f]{40}[^\n]*\n)*([0-9a-f]{40}) HEAD\n\n")
"""The commits that it builds on, and its one ref; as `scripts.HAND_OUT` has it made."""


@asynccontextmanager
async def checked(mirror: Path, bundle: bytes, base: str) -> AsyncIterator[tuple[Path, str]]:
    """Check a bundle; yield the draft, a repository with its objects and the mirror's, and its commit.

    Raises SandboxError where it is broken, as does a GitError of the caller's about it, and Refused where it is unsafe.
    """
    async with drafting(mirror) as draft:
        try:
            yield draft, await _checked(draft, bundle, base)
        except GitError as failed:
            raise _meaning(failed) from None


async def join(draft: Path, mirror: Path) -> None:
    """Move a draft's objects into the mirror. The index comes last, for by it git finds the pack."""
    packs = await asyncio.to_thread(
        lambda: sorted((draft / "objects/pack").iterdir(), key=lambda f: f.suffix == ".idx")
    )
    for file in packs:
        os.replace(file, mirror / "objects/pack" / file.name)


async def _checked(draft: Path, bundle: bytes, base: str) -> str:
    head = _HEAD.match(bundle, 0, _LONGEST_HEAD)
    if head is None:
        raise SandboxError("the box handed out no sound bundle of commits: its head is none of ours")
    await git(draft, "init", "--quiet", "--bare", "--template=", "--initial-branch=none", ".")
    (draft / "objects/info/alternates").write_text("../../objects\n")
    await git(draft, "index-pack", CHECKS, "--fix-thin", "--stdin", stdin=bundle[head.end() :])
    commit = await commit_of(draft, head[1].decode())
    known = [f"^{base}"] if await has(draft, base) else []
    await git(draft, "rev-list", "--objects", "--quiet", commit, *known, "--")  # is all there that it needs?
    return commit


def _meaning(failed: GitError) -> Refused | SandboxError:
    if "fsck error" in failed.said:
        return unsafe_work(failed)
    return SandboxError(f"the box handed out no sound bundle of commits: {failed.said[-500:]}")
