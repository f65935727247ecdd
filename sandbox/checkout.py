"""Working copies into boxes and commits out of them: the port Checkout, over one bare mirror a repository.

The worker runs git in mirrors, never in a tree that a box wrote. Into a box goes a pack, out of a box comes a bundle,
and what comes is data until it has been checked. No key is in a box, an address, an argument or a configuration file.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bot.core.errors import Refused, SandboxError
from bot.core.in_turn import in_turn
from bot.core.outbound import Change, Patch
from bot.core.ports import Sandbox, Source
from bot.core.secret import Secret
from sandbox import rubbish, scripts
from sandbox.bundle import checked, join
from sandbox.git import GitError, git, lines
from sandbox.layout import Working, carry_in, in_box, lay_over
from sandbox.lfs import kept_in_lfs
from sandbox.mirror import (
    HANGS_SECONDS,
    NETWORK_SECONDS,
    OURS,
    bring,
    commit_at,
    has,
    held,
    keep,
    merge_base,
    mirrored,
    read_loose,
)
from sandbox.names import address, branch_ref, commit_id, read_ref
from sandbox.patch import patch_of
from sandbox.reasons import not_laid_out, unsafe, why_missing, why_not_pushed
from sandbox.rebase import rebased
from sandbox.shelf import Shelf, clear_up, lived_on

_FILLING_SECONDS = 10.0
"""For which another that may be laying a commit out is waited for."""
_NOBODY = "onhand <onhand@localhost>"
"""Who commits where the box has lost its repository, and with it in whose name the work is done."""
_MOST_OUT = 64 * 1024 * 1024
_MOST_FILES = 10_000


class GitCheckout:
    """Implements Checkout for git over HTTP. Any number of workers may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder).absolute()

    async def fetch(self, source: Source, token: Secret) -> str:
        url, head = address(source.url), _start(source)
        async with self._mirror(source) as mirror:
            if _is_there(mirror, source):
                return source.commit
        async with held(mirror, ".fetching"):  # what another brings need not be brought twice
            if _is_there(mirror, source):
                return source.commit
            try:
                return (await bring(mirror, (url, source.username, token), {branch_ref(source.base), head}))[head]
            except GitError as failed:
                if "fsck error" in failed.said:
                    raise unsafe(failed, source) from None
                if "couldn't find remote ref" not in failed.said:
                    raise failed.for_provider() from None
                raise await why_missing(mirror, source, head, token) from None

    async def put(
        self, source: Source, commit: str, branch: str, sandbox: Sandbox, author: str, co_author: str
    ) -> None:
        branch_ref(branch)
        onto = await commit_at(self._place(source), mirrored(branch_ref(source.base)))
        shelf = await self._shelf(source, commit_id(commit), onto, tree=sandbox.lays_over)
        mine = Working(branch, commit, source.base, onto, author, co_author)
        if not sandbox.lays_over or not await lay_over(sandbox, shelf, mine):
            await carry_in(sandbox, shelf, mine)

    async def take(self, source: Source, base: str, branch: str, sandbox: Sandbox, message: str) -> Change | None:
        commit_id(base)
        mirror = self._place(source)
        known = mirror.exists() and await has(mirror, base)
        name = f".git/onhand-{secrets.token_hex(8)}.bundle"
        await sandbox.start_over()  # whatever the session was told, or has left running
        told = (base, name, "known" if known else "", scripts.KEPT_CONFIG, branch)
        done = await in_box(sandbox, scripts.HAND_OUT, *told, stdin=message or "Work")
        if done.exit_code == scripts.NO_BASE and known:
            shelf = await self._shelf(source, base, "", tree=False)
            await carry_in(sandbox, shelf, Working(branch, base, source.base, "", _NOBODY, ""), anew=True)
            done = await in_box(sandbox, scripts.HAND_OUT, *told, stdin=message or "Work")
        if done.exit_code != 0:
            raise SandboxError(f"git could not hand the work out of the box ({done.exit_code}): {done.output[-1000:]}")
        size, left_out = _printed(done.output)
        if not size:
            return Change("", base, left_out=left_out) if left_out else None
        if size > _MOST_OUT:
            raise Refused(
                "large", f"The work is larger than {_MOST_OUT >> 20} MB in git, which is the most that I push."
            )
        bundle = await sandbox.read(f"/workspace/{name}", limit=_MOST_OUT)
        await in_box(sandbox, scripts.CLEAN_UP, name)
        async with self._mirror(source) as mirror:
            if await has(mirror, base):
                await keep(mirror, f"{OURS}/put/{base}", base)  # within reach, whatever became of its branch
        change = await _take_in(mirror, bundle, base, mirrored(branch_ref(source.base)))
        return msgspec.structs.replace(change, left_out=left_out)

    async def push(self, source: Source, change: Change, branch: str, token: Secret) -> None:
        url, target = (
            address(source.head_url if branch == source.head and source.head_url else source.url),
            branch_ref(branch),
        )
        commit = commit_id(change.commit)
        mirror = self._place(source)
        where_it_began = [f"--force-with-lease={target}:{commit_id(change.base)}"] if branch == source.head else []
        try:
            await git(
                mirror,
                "push",
                "--no-verify",
                *where_it_began,  # else what somebody took away from the branch meanwhile would come back
                "--",
                url,
                f"{commit}:{target}",
                key=(url, source.username, token),
                seconds=NETWORK_SECONDS,
            )
        except GitError as failed:
            raise why_not_pushed(failed, source, branch) from None

    async def rebase(self, source: Source, change: Change, branch: str, token: Secret) -> Change | None:
        there = source if branch == source.head else msgspec.structs.replace(source, head=branch, head_ref="")
        onto = await self.fetch(there, token)
        async with self._mirror(source) as mirror:
            commit = await rebased(mirror, commit_id(change.base), commit_id(change.commit), onto)
            if commit is None:
                return None
            await git(mirror, "update-ref", f"{OURS}/taken/{commit}", commit)
            return await _describe(mirror, commit, onto, mirrored(branch_ref(source.base)))

    async def patch(self, source: Source, change: Change) -> Patch:
        try:
            return await patch_of(self._place(source), commit_id(change.base), commit_id(change.commit))
        except GitError as failed:
            raise Refused("large", f"The work could not be written as a patch: {failed.said[-300:]}") from None

    async def tidy(self, unused_seconds: float) -> int:
        found = await asyncio.to_thread(rubbish.left_over, self._folder)
        return found + await in_turn(_tidied(mirror, unused_seconds) for mirror in sorted(self._folder.glob("*.git")))

    def _place(self, source: Source) -> Path:
        """Return where the mirror is; the name tells people which one it is, and the hash keeps them apart."""
        readable = re.sub(r"[^\w.-]+", "-", source.repository.name).strip(".-")[:60]
        return self._folder / f"{readable}-{hashlib.sha256(source.url.encode()).hexdigest()[:16]}.git"

    @asynccontextmanager
    async def _mirror(self, source: Source, seconds: float = HANGS_SECONDS) -> AsyncIterator[Path]:
        """Hold the mirror, made when new, against every other worker, but for one that keeps it for longer than the seconds."""
        mirror = self._place(source)
        self._folder.mkdir(parents=True, exist_ok=True)
        async with held(mirror, seconds=seconds):
            if not (mirror / "HEAD").exists():
                mirror.mkdir(mode=0o700, exist_ok=True)
                await git(mirror, "init", "--quiet", "--bare", "--template=", "--initial-branch=none", ".")
            yield mirror

    async def _shelf(self, source: Source, commit: str, base: str, *, tree: bool) -> Shelf:
        """Return where a commit is laid out for boxes, with its tree if asked for."""
        shelf = Shelf(self._place(source), commit, base)
        shelf.touch()
        if not (shelf.tree if tree else shelf.index).exists():
            async with self._mirror(source, _FILLING_SECONDS) as mirror:
                await keep(mirror, f"{OURS}/put/{commit}", commit)
                try:
                    await shelf.fill(tree=tree)
                except (GitError, OSError) as error:
                    raise not_laid_out(error, source) from None
        return shelf


async def _tidied(mirror: Path, unused_seconds: float) -> int:
    async with held(mirror, seconds=0.0) as last_used:
        if last_used is None:
            return 0
        found = await asyncio.to_thread(clear_up, mirror)
        if last_used < time.time() - unused_seconds and not lived_on(mirror):
            found += await asyncio.to_thread(rubbish.remove, mirror)
        elif (mirror / "HEAD").exists():
            found += await rubbish.sweep_out(mirror, (f"{OURS}/put", f"{OURS}/taken", f"{OURS}/coming"))
        return found


def _printed(output: str) -> tuple[int, tuple[str, ...]]:
    """Return a bundle's size as a box has printed it, 0 for none, and the names of what it left out."""
    sizes = re.findall(r"^([0-9]{1,20})$", output, re.MULTILINE)
    return int(sizes[-1]) if sizes else 0, tuple(re.findall(r"^left out: (.{1,200})", output, re.MULTILINE)[:20])


def _start(source: Source) -> str:
    """Return the ref in the repository that the work starts from."""
    branch = branch_ref(source.head or source.base)
    return read_ref(source.head_ref) if source.head and source.head_ref else branch


def _is_there(mirror: Path, source: Source) -> bool:
    """Whether the commit that the forge names is here already."""
    there = source.commit and not source.head and read_loose(mirror, mirrored(_start(source)))
    return bool(there) and there == source.commit


async def _take_in(mirror: Path, bundle: bytes, base: str, target: str) -> Change:
    """Check a bundle out of a box, and keep its commits; of one that is not taken, nothing. Raises SandboxError, Refused.

    The mirror need not be held while that goes on: what its end needs of it has been kept.
    """
    onto = await commit_at(mirror, target)
    async with checked(mirror, bundle, base) as (draft, commit):
        change = await _describe(draft, commit, base, onto)
        async with held(mirror):
            await join(draft, mirror)
            await keep(mirror, f"{OURS}/taken/{commit}", commit)
    return change


async def _describe(mirror: Path, commit: str, base: str, target: str) -> Change:
    """Return the change to commit: the run's from base, with the files of the whole branch since it left `target`.

    Raises Refused when the one does not come from the other, GitError.
    """
    left_behind = await git(mirror, "rev-list", "--count", f"{commit}..{base}", "--")
    if left_behind.strip() != b"0":
        raise Refused("history", "The work no longer builds on the commit that it began from, so I did not push it.")
    plain = ("--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
    whole = await merge_base(mirror, target, commit) or base
    numbers = lines(await git(mirror, "diff", "--numstat", "-z", *plain, whole, commit, "--"))
    if len(numbers) > _MOST_FILES:
        raise Refused("large", f"The work touches {len(numbers)} files; I push at most {_MOST_FILES} in one change.")
    subjects = lines(await git(mirror, "log", "-z", "--reverse", "--format=%s", f"{base}..{commit}", "--"))
    files = tuple(_counted(row) for row in numbers)
    return Change(commit, base, files, tuple(subjects), await kept_in_lfs(mirror, commit, [file[0] for file in files]))


def _counted(row: str) -> tuple[str, int, int]:
    """Read a row of --numstat; a binary file has no lines."""
    added, removed, path = row.split("\t", 2)
    return path, int(added) if added.isdigit() else 0, int(removed) if removed.isdigit() else 0
