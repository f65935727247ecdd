"""What gathers in mirrors and is in nobody's use any more: commits of runs long over, drafts of killed workers, mirrors that
nobody asks for. The caller holds the mirror's lock.
"""

import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from sandbox.deletion import delete
from sandbox.git import git

KEPT = 86_400.0
"""Seconds for which commits and drafts of a run are kept; a run takes minutes, and one that goes on later does without."""

_GC_SECONDS = 900.0
_GC = {
    "gc.auto": "1000",
    "gc.autoPackLimit": "20",
    "gc.autoDetach": "false",
    "gc.packRefs": "false",  # the time of a ref's file is what tells its age
    "gc.pruneExpire": "1.day.ago",  # pushes and readers do not take the lock
}
_GONE = ".gone-"


def remove(mirror: Path) -> int:
    """Remove a mirror, in one step for whoever looks for it; return how many (1)."""
    delete(mirror.rename(mirror.with_name(f"{mirror.name}{_GONE}{secrets.token_hex(4)}")))
    return 1


def left_over(folder: Path) -> int:
    """Remove what `remove` was cut off from; return how many."""
    found = list(folder.glob(f"*{_GONE}*"))
    delete(*found)
    return len(found)


async def sweep_out(mirror: Path, places: Iterable[str]) -> int:
    """Remove old refs below the places and old drafts, and let git gather its objects when there are many. Return how much.

    Raises GitError.
    """
    before = time.time() - KEPT
    drafts = _older(mirror, "*draft*", before)
    if drafts:
        delete(*drafts)
    refs = [ref for place in places for ref in _older(mirror, f"{place}/*", before)]
    for ref in refs:
        await git(mirror, "update-ref", "-d", str(ref.relative_to(mirror)))
    await git(mirror, "gc", "--auto", "--quiet", config=_GC, seconds=_GC_SECONDS)
    return len(refs) + len(drafts)


def _older(mirror: Path, pattern: str, before: float) -> list[Path]:
    return [f for f in mirror.glob(pattern) if not f.name.endswith(".lock") and f.stat().st_mtime < before]
