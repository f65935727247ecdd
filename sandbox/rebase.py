"""Commits put onto a newer state of their branch, in a bare mirror: without a working tree, an index or an identity.

Needs git 2.38 (merge-tree --write-tree); an older one can rebase nothing, and the caller says so.
"""

from pathlib import Path

from sandbox.git import GitError, git, lines

_NOBODY = "onhand <> 0 +0000"


async def rebased(mirror: Path, base: str, commit: str, onto: str) -> str | None:
    """Return the last of the commits `base..commit` put onto `onto`, in their order, without those that are there already.

    Doing it again gives the same ids, and onto one of these commits they stay as they are. None where two versions conflict,
    or a commit joins several lines of work.
    """
    try:
        mine = await _commits(mirror, f"{base}..{commit}")
        if onto in (one for one, _ in mine):
            return commit
        if await git(mirror, "rev-list", "--merges", "--max-count=1", f"{base}..{commit}", "--"):
            return None
        there = {known for _, known in await _commits(mirror, f"{base}..{onto}")}
        tip = onto
        for one, known in mine:
            if known not in there:
                tip = await _picked(mirror, one, tip)
    except GitError:  # with 1 for a conflict; what else it cannot do is for a person as well
        return None
    return tip


async def _commits(mirror: Path, between: str) -> list[tuple[str, str]]:
    """Return id, and what stays the same when it is put elsewhere, of each commit; oldest first."""
    stays = "%H%n%ae %at %ce %ct%n%B"
    rows = lines(await git(mirror, "log", "-z", "--reverse", "--topo-order", f"--format={stays}", between, "--"))
    return [(row[: row.index("\n")], row[row.index("\n") :]) for row in rows]


async def _picked(mirror: Path, commit: str, tip: str) -> str:
    """Return the commit put onto the tip, or the tip if nothing is left of it. Raises GitError.

    git merges three versions: a commit with the tip's files and this commit's parent makes that parent the common one.
    """
    parent, tree = await _id(mirror, f"{commit}^"), await _id(mirror, f"{tip}^{{tree}}")
    person = _NOBODY.encode()
    stand_in = await _write(mirror, tree, parent, [b"author " + person, b"committer " + person], b"onto")
    merged = await git(mirror, "merge-tree", "--write-tree", "--no-messages", stand_in, commit)
    if (new := merged.decode().split()[0]) == tree:
        return tip
    head, _, message = (await git(mirror, "cat-file", "commit", commit)).partition(b"\n\n")
    kept = [row for row in head.split(b"\n") if row.startswith((b"author ", b"committer ", b"encoding "))]
    return await _write(mirror, new, tip, kept, message)


async def _write(mirror: Path, tree: str, parent: str, rows: list[bytes], message: bytes) -> str:
    head = [f"tree {tree}".encode(), f"parent {parent}".encode(), *rows]
    raw = b"\n".join(head) + b"\n\n" + message
    return (await git(mirror, "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw)).decode().strip()


async def _id(mirror: Path, name: str) -> str:
    return (await git(mirror, "rev-parse", "--verify", name)).decode().strip()
