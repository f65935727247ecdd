"""Files that a repository keeps in Git LFS, as its attributes say. Their contents are neither fetched nor uploaded.

https://git-lfs.com, gitattributes(5)
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from sandbox.git import GitError, git, lines


async def kept_in_lfs(mirror: Path, commit: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return those of the paths that the attributes in a commit put into LFS. Raises GitError."""
    try:
        everywhere = ":(glob)**/.gitattributes"
        await git(mirror, "grep", "--quiet", "--fixed-strings", "filter=lfs", commit, "--", everywhere)
    except GitError:
        return ()
    index = mirror / f"onhand-{secrets.token_hex(8)}.index"
    own = {"GIT_INDEX_FILE": str(index)}
    try:
        await git(mirror, "read-tree", commit, environment=own)
        asked = "\0".join(paths).encode(errors="replace")
        found = lines(
            await git(mirror, "check-attr", "--cached", "-z", "--stdin", "filter", stdin=asked, environment=own)
        )
    finally:
        index.unlink(missing_ok=True)
    return tuple(path for path, value in zip(found[::3], found[2::3], strict=True) if value == "lfs")
