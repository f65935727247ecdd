"""A bare mirror of a repository: what is asked of it, brought into it and kept in it, and who holds it."""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.core.errors import Refused
from bot.core.secret import Secret
from sandbox.deletion import delete
from sandbox.git import GitError, git
from sandbox.names import commit_id

OURS = "refs/onhand"
"""What branches of the forge are called in the mirror, and commits out of boxes."""
NETWORK_SECONDS = 900.0
"""That a fetch or a push may take."""
HANGS_SECONDS = 3.0
"""For which another is waited for; one that takes longer may hang, or its process may have been stopped, and holds nobody up."""


async def bring(mirror: Path, key: tuple[str, str, Secret], refs: set[str]) -> dict[str, str]:
    """Bring refs from the forge, `key` as for `git`; return their commits. Raises GitError.

    Another fetch may be under way, so each has places of its own first.
    """
    coming = f"{OURS}/coming/{secrets.token_hex(8)}"
    places = {ref: f"{coming}-{number}" for number, ref in enumerate(sorted(refs))}
    wanted = [f"+{ref}:{place}" for ref, place in places.items()]
    options = ("--quiet", "--no-tags", "--no-write-fetch-head")
    await git(mirror, "fetch", *options, "--", key[0], *wanted, key=key, seconds=NETWORK_SECONDS)
    commits = {ref: await commit_at(mirror, place) for ref, place in places.items()}
    moves = [f"update {mirrored(ref)} {commit}\ndelete {places[ref]}\n" for ref, commit in commits.items()]
    async with held(mirror):
        await git(mirror, "update-ref", "--stdin", stdin="".join(moves).encode())
    return commits


async def merge_base(mirror: Path, target: str, commit: str) -> str:
    """Return where a branch left the target; "" where this mirror does not know the target."""
    try:
        return (await git(mirror, "merge-base", target, commit)).decode().split()[0]
    except GitError:
        return ""


def read_loose(mirror: Path, ref: str) -> str:
    """Return the commit of a ref that is a file of its own, as all are in mirrors; nothing where it is not."""
    try:
        return commit_id((mirror / ref).read_text("ascii").strip())
    except (OSError, ValueError, Refused):
        return ""


async def has(mirror: Path, commit: str) -> bool:
    """Whether a commit is here."""
    try:
        await git(mirror, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


async def commit_at(mirror: Path, ref: str) -> str:
    """Return what a ref stands for, nothing where there is no such ref."""
    known = read_loose(mirror, ref)
    return known or (await git(mirror, "for-each-ref", "--format=%(objectname)", ref)).decode().strip()


async def commit_of(mirror: Path, ref: str) -> str:
    """Return the commit behind a ref. Raises GitError for one behind which there is none."""
    return (await git(mirror, "rev-parse", "--verify", f"{ref}^{{commit}}")).decode().strip()


async def keep(mirror: Path, ref: str, commit: str) -> None:
    """Keep a commit within reach for as long as runs may need it: `rubbish` goes by the time of the ref's file."""
    await git(mirror, "update-ref", ref, commit)
    os.utime(mirror / ref)


@asynccontextmanager
async def drafting(mirror: Path) -> AsyncIterator[Path]:
    """Make a folder for what is tried. One that a killed worker leaves is swept out as other drafts are."""
    folder = mirror / f"onhand-{secrets.token_hex(8)}.draft"
    await asyncio.to_thread(folder.mkdir)
    try:
        yield folder
    finally:
        await asyncio.to_thread(delete, folder)


def mirrored(ref: str) -> str:
    """Return what a ref of the forge is called here."""
    return f"{OURS}/{ref.removeprefix('refs/')}"


@asynccontextmanager
async def held(mirror: Path, lock_name: str = ".lock", seconds: float = HANGS_SECONDS) -> AsyncIterator[float | None]:
    """Hold a lock of the mirror; yield when it was last waited for and held, None if it is another's still after the seconds.

    Who only reads and adds goes on then: git itself keeps writers apart, and nobody removes anything while another holds it.
    """
    lock = os.open(mirror.with_suffix(lock_name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + seconds
    try:
        while not (held := _locked(lock)) and time.monotonic() < until:  # noqa: ASYNC110 - it may be another process
            await asyncio.sleep(0.02)
        last_used = os.fstat(lock).st_mtime
        if seconds:
            os.utime(lock)
        yield last_used if held else None
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
