"""A commit laid out once on the worker, for all boxes that begin from it: its history as a pack, its files as a tree.

MIRROR/shelves/<commit>-<base>/history.pack, .idx   all that the commit and the base reach, and nothing else
MIRROR/shelves/<commit>-<base>/tree/                a working copy without settings; nobody writes to it any more
MIRROR/shelves/<commit>-<base>/rest                 paths that the tree lacks, each followed by a NUL
MIRROR/shelves/<commit>-<base>/users/               links to the folders of boxes that live on the tree (sandbox/layers.py)

Files come out as they are stored. Those for which a .gitattributes asks for more (a filter, LFS, line ends, an encoding)
are the rest: the git inside the box writes them, so that no such wish is ever followed by the worker.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from sandbox.deletion import delete
from sandbox.git import git
from sandbox.home import BOX_USER
from sandbox.index import remember

_SECONDS = 600.0
_LISTS = 256 * 1024 * 1024
_KEEP_SECONDS = 600.0
"""How long a shelf stays after its last use when no box lives on it."""
_OLDER = 60
"""Seconds by which files are older than their index: git then need not look into them."""
_CONVERSIONS = ("filter", "eol", "ident", "working-tree-encoding")


class Shelf:
    """Where one commit is laid out. Its makers hold the mirror's lock."""

    def __init__(self, mirror: Path, commit: str, base: str) -> None:
        self._mirror, self._commit, self._base = mirror, commit, base
        self.folder = mirror / "shelves" / f"{commit}-{base[:16]}"
        self.pack, self.index, self.tree = (self.folder / name for name in ("history.pack", "history.idx", "tree"))

    @property
    def rest(self) -> bytes:
        """The paths that are still to be written inside the box."""
        return (self.folder / "rest").read_bytes()

    def touch(self) -> None:
        """Note that it is in use, where it exists."""
        if self.folder.exists():
            os.utime(self.folder)

    async def fill(self, *, tree: bool) -> None:
        """Make what is missing: the pack, and where asked for the tree. Raises GitError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.touch()
        await asyncio.to_thread(clear_up, self._mirror)
        if not self.index.exists():
            await self._make_pack()
        if tree and not self.tree.exists():
            await self._make_tree()

    async def _make_pack(self) -> None:
        draft = self.folder / f"draft-{secrets.token_hex(8)}"
        wanted = "\n".join(name for name in (self._commit, self._base) if name).encode()
        packing = ("pack-objects", "--quiet", "--revs", "--delta-base-offset", str(draft))
        made = (await git(self._mirror, *packing, stdin=wanted, seconds=_SECONDS)).decode().strip()
        for kind, place in (("pack", self.pack), ("idx", self.index)):
            draft.with_name(f"{draft.name}-{made}.{kind}").rename(place)

    async def _make_tree(self) -> None:
        draft = self.folder / f"draft-{secrets.token_hex(8)}"
        try:
            inner = draft / ".git"
            for name in ("objects/pack", "objects/info", "refs/heads", "refs/remotes"):
                (inner / name).mkdir(parents=True)
            for kind, place in (("pack", self.pack), ("idx", self.index)):
                os.link(place, inner / "objects" / "pack" / f"pack-{self._commit}.{kind}")
            rest = await self._write_files(draft, inner / "index")
            await asyncio.to_thread(_hand_over, draft)
            (self.folder / "rest").write_bytes(b"".join(name + b"\0" for name in rest))
            if not self.tree.exists():  # else another was quicker
                draft.rename(self.tree)
        finally:
            if draft.exists():
                await asyncio.to_thread(delete, draft)

    async def _write_files(self, tree: Path, index: Path) -> list[bytes]:
        """Write the commit's files, and its index; return the paths that are left to the box."""
        there = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
        plain = {"core.bare": "false", "index.version": "2"}

        async def do(*arguments: str, stdin: bytes = b"") -> bytes:
            return await git(
                self._mirror, *arguments, stdin=stdin, config=plain, environment=there, seconds=_SECONDS, most=_LISTS
            )

        await do("read-tree", self._commit)
        names = (await do("ls-files", "-z")).split(b"\0")[:-1]
        rest: list[bytes] = []
        if any(name.endswith(b".gitattributes") for name in names):
            listed = b"".join(name + b"\0" for name in names)
            rest = _to_convert(await do("check-attr", "--cached", "-z", "--stdin", *_CONVERSIONS, stdin=listed))
        left = set(rest)
        await do("checkout-index", "-z", "--stdin", stdin=b"".join(n + b"\0" for n in names if n not in left))
        return rest


def _to_convert(printed: bytes) -> list[bytes]:
    """Read triples of path, attribute and value; return the paths that are not written as they are stored."""
    words = printed.split(b"\0")
    plain = {b"unspecified", b"unset"}
    found = {
        path: None
        for path, name, value in zip(words[::3], words[1::3], words[2::3], strict=False)
        if value not in plain and (name, value) != (b"eol", b"lf")
    }
    return list(found)


def _hand_over(tree: Path) -> None:
    """Give a tree to the user of boxes, make its files a little older, and let its index know them."""
    owner = BOX_USER if os.geteuid() == 0 else os.geteuid()
    then = int(time.time()) - _OLDER
    index = tree / ".git" / "index"
    for path in _below(os.fsencode(tree)):
        mode = os.lstat(path).st_mode
        if mode & 0o170000 != 0o120000:
            os.chmod(path, 0o755 if mode & 0o100 else 0o644)
        if os.geteuid() == 0:
            os.lchown(path, owner, owner)
        os.utime(path, (then, then), follow_symlinks=False)

    def look(name: bytes) -> os.stat_result | None:
        try:
            found = os.lstat(os.path.join(os.fsencode(tree), name))
        except OSError:
            return None
        return None if found.st_mode & 0o170000 == 0o040000 else found

    index.write_bytes(remember(index.read_bytes(), look, owner))


def _below(folder: bytes) -> Iterable[bytes]:
    todo = [folder]
    while todo:
        yield (place := todo.pop())
        for entry in os.scandir(place):
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
            else:
                yield entry.path


def clear_up(mirror: Path) -> int:
    """Remove the shelves of a mirror that nobody has used for a while and no box lives on; return how many.

    The caller holds the mirror's lock.
    """
    idle = [shelf for shelf in _shelves(mirror) if time.time() - shelf.stat().st_mtime > _KEEP_SECONDS]
    idle = [shelf for shelf in idle if not _has_boxes(shelf)]
    delete(*idle)
    return len(idle)


def lived_on(mirror: Path) -> bool:
    """Whether the working copy of a box lies over a shelf of this mirror."""
    return any(_has_boxes(shelf) for shelf in _shelves(mirror))


def _shelves(mirror: Path) -> list[Path]:
    return [path for path in (mirror / "shelves").glob("*") if path.is_dir()]


def _has_boxes(shelf: Path) -> bool:
    return any(user.exists() for user in (shelf / "users").glob("*"))
