"""Working copies into boxes and commits out of them: the port Checkout, over one bare mirror a repository.

The worker runs git in mirrors, never in a tree that a box wrote. Into a box goes a pack, out of a box comes a bundle,
and what comes is data until it has been checked. No key is in a box, an address, an argument or a configuration file.
"""

import asyncio
import fcntl
import hashlib
import math
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bot.core.errors import ProviderError, Refused, SandboxError
from bot.core.outbound import Change
from bot.core.ports import Sandbox, Source
from bot.core.secret import Secret
from sandbox import rubbish, scripts
from sandbox.git import GitError, address, branch_ref, commit_id, git, lines, read_loose, read_ref
from sandbox.layout import Working, carry_in, in_box, lay_over
from sandbox.lfs import kept_in_lfs
from sandbox.rebase import rebased
from sandbox.shelf import Shelf, clear_up, lived_on

_OURS = "refs/onhand"  # what branches of the forge are called in the mirror, and commits out of boxes
_NETWORK_SECONDS = 900.0
_HANGS_SECONDS = 5.0
"""For which another's fetch is waited for; one that takes longer may hang, and holds nobody up."""
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
        async with _held(mirror, ".fetching", _HANGS_SECONDS):  # what another brings need not be brought twice
            if _is_there(mirror, source):
                return source.commit
            try:
                return (await _fetch(mirror, (url, source.username, token), {branch_ref(source.base), head}))[head]
            except GitError as failed:
                if "fsck error" in failed.said:
                    raise _unsafe(failed, source) from None
                if "couldn't find remote ref" not in failed.said:
                    raise failed.for_provider() from None
                raise await _why_missing(mirror, source, token) from None

    async def put(
        self, source: Source, commit: str, branch: str, sandbox: Sandbox, author: str, co_author: str
    ) -> None:
        branch_ref(branch)
        base = _mirrored(branch_ref(source.base))
        onto = read_loose(self._place(source), base) or await _existing(self._place(source), base)
        shelf = await self._shelf(source, commit_id(commit), onto, tree=sandbox.lays_over)
        mine = Working(branch, commit, source.base, onto, author, co_author)
        if not sandbox.lays_over or not await lay_over(sandbox, shelf, mine):
            await carry_in(sandbox, shelf, mine)

    async def take(self, source: Source, base: str, branch: str, sandbox: Sandbox, message: str) -> Change | None:
        commit_id(base)
        mirror = self._place(source)
        known = mirror.exists() and await _has(mirror, base)
        name = f".git/onhand-{secrets.token_hex(8)}.bundle"
        done = await in_box(sandbox, scripts.HAND_OUT, base, name, "known" if known else "", stdin=message or "Work")
        if done.exit_code != 0:
            raise SandboxError(f"git could not hand the work out of the box: {done.output[-1000:]}")
        if done.output.strip().endswith("nothing"):
            return None
        if _printed_number(done.output) > _MOST_OUT:
            raise Refused(
                "large", f"The work is larger than {_MOST_OUT >> 20} MB in git, which is the most that I push."
            )
        bundle = await sandbox.read(f"/workspace/{name}", limit=_MOST_OUT)
        await in_box(sandbox, scripts.CLEAN_UP, name)
        async with self._mirror(source) as mirror:
            return await _take_in(mirror, bundle, base, _mirrored(branch_ref(source.base)))

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
                seconds=_NETWORK_SECONDS,
            )
        except GitError as failed:
            raise _why_not_pushed(failed, source, branch) from None

    async def rebase(self, source: Source, change: Change, branch: str, token: Secret) -> Change | None:
        there = source if branch == source.head else msgspec.structs.replace(source, head=branch, head_ref="")
        onto = await self.fetch(there, token)
        async with self._mirror(source) as mirror:
            commit = await rebased(mirror, commit_id(change.base), commit_id(change.commit), onto)
            if commit is None:
                return None
            await git(mirror, "update-ref", f"{_OURS}/taken/{commit}", commit)
            return await _describe(mirror, commit, onto, _mirrored(branch_ref(source.base)))

    async def patch(self, source: Source, change: Change) -> str:
        commits = f"{commit_id(change.base)}..{commit_id(change.commit)}"
        plain = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=none", "--no-renames")
        try:
            printed = await git(
                self._place(source), "format-patch", "--stdout", "--no-signature", *plain, commits, "--"
            )
        except GitError as failed:
            raise Refused("large", f"The work could not be written as a patch: {failed.said[-300:]}") from None
        return printed.decode(errors="replace")

    async def tidy(self, unused_seconds: float) -> int:
        found = await asyncio.to_thread(rubbish.left_over, self._folder)
        for mirror in sorted(self._folder.glob("*.git")):
            async with _held(mirror, seconds=0.0) as last_used:
                found += await asyncio.to_thread(clear_up, mirror) if last_used is not None else 0
                if last_used is not None and last_used < time.time() - unused_seconds and not lived_on(mirror):
                    found += await asyncio.to_thread(rubbish.remove, mirror)
                elif last_used is not None and (mirror / "HEAD").exists():
                    found += await rubbish.sweep_out(mirror, (f"{_OURS}/put", f"{_OURS}/taken", f"{_OURS}/coming"))
        return found

    def _place(self, source: Source) -> Path:
        """Return where the mirror is; the name tells people which one it is, and the hash keeps them apart."""
        readable = re.sub(r"[^\w.-]+", "-", source.repository.name).strip(".-")[:60]
        return self._folder / f"{readable}-{hashlib.sha256(source.url.encode()).hexdigest()[:16]}.git"

    @asynccontextmanager
    async def _mirror(self, source: Source) -> AsyncIterator[Path]:
        """Hold the mirror, made when new, against every other worker."""
        mirror = self._place(source)
        self._folder.mkdir(parents=True, exist_ok=True)
        async with _held(mirror):
            if not (mirror / "HEAD").exists():
                mirror.mkdir(mode=0o700, exist_ok=True)
                await git(mirror, "init", "--quiet", "--bare", "--template=", "--initial-branch=none", ".")
            yield mirror

    async def _shelf(self, source: Source, commit: str, base: str, *, tree: bool) -> Shelf:
        """Return where a commit is laid out for boxes, with its tree if asked for."""
        shelf = Shelf(self._place(source), commit, base)
        shelf.touch()
        if not (shelf.tree if tree else shelf.index).exists():
            async with self._mirror(source) as mirror:
                await _keep(mirror, f"{_OURS}/put/{commit}", commit)
                try:
                    await shelf.fill(tree=tree)
                except (GitError, OSError) as error:
                    raise _not_laid_out(error, source) from None
        return shelf


def _printed_number(output: str) -> int:
    """Return the number that a box has printed last, 0 where it is none."""
    last = output.split()[-1:]
    return int(last[0][:20]) if last and last[0].isdecimal() else 0


def _start(source: Source) -> str:
    """Return the ref in the repository that the work starts from."""
    branch = branch_ref(source.head or source.base)
    return read_ref(source.head_ref) if source.head and source.head_ref else branch


def _is_there(mirror: Path, source: Source) -> bool:
    """Whether the commit that the forge names is here already."""
    there = source.commit and not source.head and read_loose(mirror, _mirrored(_start(source)))
    return bool(there) and there == source.commit


async def _fetch(mirror: Path, key: tuple[str, str, Secret], refs: set[str]) -> dict[str, str]:
    """Bring refs from the forge; return their commits. Another fetch may be under way, so each has places of its own first."""
    coming = f"{_OURS}/coming/{secrets.token_hex(8)}"
    places = {ref: f"{coming}-{number}" for number, ref in enumerate(sorted(refs))}
    wanted = [f"+{ref}:{place}" for ref, place in places.items()]
    options = ("--quiet", "--no-tags", "--no-write-fetch-head")
    await git(mirror, "fetch", *options, "--", key[0], *wanted, key=key, seconds=_NETWORK_SECONDS)
    commits = {ref: read_loose(mirror, place) or await _commit_of(mirror, place) for ref, place in places.items()}
    moves = [f"update {_mirrored(ref)} {commit}\ndelete {places[ref]}\n" for ref, commit in commits.items()]
    async with _held(mirror):
        await git(mirror, "update-ref", "--stdin", stdin="".join(moves).encode())
    return commits


async def _why_missing(mirror: Path, source: Source, token: Secret) -> Refused:
    """Return what to tell the person whose branch is not there. Raises ProviderError."""
    try:
        key = (source.url, source.username, token)
        there = await git(mirror, "ls-remote", "--heads", "--", source.url, key=key, seconds=60.0)
    except GitError as failed:
        raise failed.for_provider() from None
    name = source.repository.name
    if not there.strip():
        return Refused("empty", f"The repository {name} is empty; push a first commit and ask again.")
    found = {row.partition("\t")[2] for row in there.decode(errors="replace").splitlines()}
    missing = source.base if branch_ref(source.base) not in found else source.head
    return Refused("branch", f"The repository {name} has no branch {missing}; name one with branch= and ask again.")


def _unsafe(failed: GitError, source: Source) -> Refused:
    """Return what to tell the person whose repository holds what git takes for an attack (git-fsck(1))."""
    found = ", ".join(dict.fromkeys(re.findall(r": (\w+: [^\n]{1,100})", failed.said))) or "see git fsck"
    return Refused(
        "unsafe", f"git takes the repository {source.repository.name} for unsafe: {found}. I work on none such."
    )


_NO_FILE = re.compile(
    r"File name too long|unable to create file|cannot create directory"
)  # git cuts what it says at 4 KB


def _not_laid_out(error: GitError | OSError, source: Source) -> Exception:
    """Return what to tell the person whose repository has names that no file can have here, else the error."""
    if not _NO_FILE.search(error.said if isinstance(error, GitError) else str(error)):
        return error
    return Refused("names", f"The repository {source.repository.name} has paths that cannot be written as files here.")


_STANDS_IN_THE_WAY = re.compile(r"directory file conflict|'refs/heads/([^']+)' exists; cannot create")
_RULES = re.compile(r"GH006|GH013|protected branch|repository rule", re.IGNORECASE)
_SECRETS = re.compile(r"push protection|push cannot contain secrets", re.IGNORECASE)
_REJECTED = re.compile(r"^ ! \[remote rejected\] .*? \((.+)\)$", re.MULTILINE)
_REMOTE = re.compile(r"^remote:[ \t]*(?:error:[ \t]*)?(\S.*)$", re.MULTILINE)


def _why_not_pushed(failed: GitError, source: Source, branch: str) -> ProviderError | Refused:
    """Return what a refused push means. A rule of the forge is said in the forge's own words.

    https://docs.github.com/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets
    """
    told = " ".join(" ".join(_REMOTE.findall(failed.said)).split())[:300].rstrip(". ")
    if "was archived" in failed.said:
        return Refused(
            "archived", f"The repository {source.repository.name} is archived, so nothing can be pushed to it."
        )
    if _SECRETS.search(failed.said):
        return Refused("secrets", f"The forge holds a part of the work for a secret, and took nothing of it: {told}.")
    if _RULES.search(failed.said):
        return Refused("protected", f"The rules of the repository do not let me push to `{branch}`: {told}.")
    if found := _STANDS_IN_THE_WAY.search(failed.said):
        name = found[1] or branch.partition("/")[0]
        text = f"There is a branch `{name}`, beside which git allows no branch `{branch}`; please rename it."
        return Refused("protected", text)
    if "hook declined" in failed.said:
        return Refused("declined", f"A check of the repository declined the push to `{branch}`: {told}.")
    return _why_rejected(failed, branch, told)


def _why_rejected(failed: GitError, branch: str, told: str) -> ProviderError | Refused:
    """Return what a push means that was refused for a reason beside it, such as a right that the token lacks for a file."""
    error = failed.for_provider()
    if error.word == "forbidden" and (found := _REJECTED.search(failed.said)):
        more = f" {told}." if told else ""
        return Refused("protected", f"The forge did not take the push to `{branch}`: {found[1]}.{more}")
    return error


async def _take_in(mirror: Path, bundle: bytes, base: str, target: str) -> Change:
    """Check a bundle out of a box, and keep its commits. Raises SandboxError, Refused."""
    draft = mirror / f"onhand-{secrets.token_hex(8)}.draft"
    taken = f"{_OURS}/taken/{secrets.token_hex(8)}"
    try:
        await asyncio.to_thread(draft.write_bytes, bundle)
        if await _has(mirror, base):
            await _keep(mirror, f"{_OURS}/put/{base}", base)  # within reach, whatever became of its branch
        await git(mirror, "bundle", "verify", "--quiet", str(draft))
        only_files = {"protocol.file.allow": "always", "protocol.http.allow": "never", "protocol.https.allow": "never"}
        options = ("--quiet", "--no-tags", "--no-write-fetch-head")
        await git(mirror, "fetch", *options, "--", str(draft), f"HEAD:{taken}", config=only_files)
        commit = await _commit_of(mirror, taken)
        await _keep(mirror, f"{_OURS}/taken/{commit}", commit)
        await git(mirror, "update-ref", "-d", taken)
        return await _describe(mirror, commit, base, target)
    except GitError as failed:
        raise SandboxError(f"the box handed out no sound bundle of commits: {failed.said[-500:]}") from None
    finally:
        draft.unlink(missing_ok=True)


async def _describe(mirror: Path, commit: str, base: str, target: str) -> Change:
    """Return the change to commit: the run's from base, with the files of the whole branch since it left `target`.

    Raises Refused when the one does not come from the other, GitError.
    """
    left_behind = await git(mirror, "rev-list", "--count", f"{commit}..{base}", "--")
    if left_behind.strip() != b"0":
        raise Refused("history", "The work no longer builds on the commit that it began from, so I did not push it.")
    plain = ("--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
    whole = await _merge_base(mirror, target, commit) or base
    numbers = lines(await git(mirror, "diff", "--numstat", "-z", *plain, whole, commit, "--"))
    if len(numbers) > _MOST_FILES:
        raise Refused("large", f"The work touches {len(numbers)} files; I push at most {_MOST_FILES} in one change.")
    subjects = lines(await git(mirror, "log", "-z", "--reverse", "--format=%s", f"{base}..{commit}", "--"))
    files = tuple(_counted(row) for row in numbers)
    return Change(commit, base, files, tuple(subjects), await kept_in_lfs(mirror, commit, [file[0] for file in files]))


async def _merge_base(mirror: Path, target: str, commit: str) -> str:
    """Return where a branch left the target; "" where this mirror does not know the target."""
    try:
        return (await git(mirror, "merge-base", target, commit)).decode().split()[0]
    except GitError:
        return ""


def _counted(row: str) -> tuple[str, int, int]:
    """Read a row of --numstat; a binary file has no lines."""
    added, removed, path = row.split("\t", 2)
    return path, int(added) if added.isdigit() else 0, int(removed) if removed.isdigit() else 0


async def _has(mirror: Path, commit: str) -> bool:
    try:
        await git(mirror, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


async def _existing(mirror: Path, ref: str) -> str:
    """Return the commit of a ref, nothing where there is no such ref."""
    return (await git(mirror, "for-each-ref", "--format=%(objectname)", ref)).decode().strip()


async def _commit_of(mirror: Path, ref: str) -> str:
    return (await git(mirror, "rev-parse", "--verify", f"{ref}^{{commit}}")).decode().strip()


async def _keep(mirror: Path, ref: str, commit: str) -> None:
    """Keep a commit within reach for as long as runs may need it: `rubbish` goes by the time of the ref's file."""
    await git(mirror, "update-ref", ref, commit)
    os.utime(mirror / ref)


def _mirrored(ref: str) -> str:
    return f"{_OURS}/{ref.removeprefix('refs/')}"


@asynccontextmanager
async def _held(mirror: Path, lock_name: str = ".lock", seconds: float = math.inf) -> AsyncIterator[float | None]:
    """Hold a lock of the mirror; yield when it was last waited for and held, None if it is another's still after the seconds."""
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
