"""A shared folder of the worker in the workspace of a box, as the box's own to change: laid over it, or copied.

HOME/<box id>/over/upper/   what the box changed, where it is an overlay
HOME/<box id>/over/work/    the kernel's
HOME/<box id>/over/tree     a link to the folder below it, there as soon as it is laid
TREE/../users/<box id>      a link to the box's folder: whoever clears up leaves the tree alone until it leads nowhere
"""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bot.core.errors import SandboxError
from sandbox import overlay
from sandbox.connection import Peer
from sandbox.deletion import delete
from sandbox.home import BOX_USER, BoxFolder
from sandbox.index import remember


def way(home: Path) -> str:
    """Return how working copies come into boxes whose folders lie in `home`, for people."""
    reason = overlay.why_not(home)
    return f"working copies are copied ({reason})" if reason else "working copies are overlays over one shared checkout"


def lay(folder: BoxFolder, peer: Peer, tree: Path, own: Mapping[str, bytes]) -> bool:
    """Let the box see `tree` in its workspace, with the files of `own` on top. False, and nothing done, where that cannot be."""
    if overlay.why_not(folder.path.parent) or not peer.pid or overlay.shares_mounts(peer.pid):
        return False
    if os.path.lexists(f"/proc/{peer.pid}/root/workspace/.git"):
        return True
    over = folder.path / "over"
    delete(over)
    over.mkdir(mode=0o700)
    (over / "work").mkdir()
    upper = over / "upper"
    upper.mkdir(mode=0o755)
    _write(upper, own)
    _hand_over(upper, peer)
    _use(tree, folder)
    (over / "tree").symlink_to(tree)  # what whoever comes after a worker that is killed here can lay again
    try:
        overlay.mount(peer.pid, tree, upper, over / "work", "/workspace")
    except OSError:
        (over / "tree").unlink()
        return False
    return True


def lay_again(folder: BoxFolder, peer: Peer) -> bool:
    """Do what `lay` did, with what the box changed since, where its server was started again and does not see that.

    Whoever started it may not have lived to do so. False where nothing was laid. Raises SandboxError.
    """
    over = folder.path / "over"
    if not (over / "tree").is_symlink():
        return False
    tree = (over / "tree").readlink()
    try:
        if not overlay.lies_at(peer.pid, "/workspace"):
            overlay.mount(peer.pid, tree, over / "upper", over / "work", "/workspace")
    except OSError as error:
        raise SandboxError(f"the working copy of box {folder.id} cannot be laid over {tree} again: {error}") from None
    return True


def copy(tree: Path, to: Path, own: Mapping[str, bytes], peer: Peer) -> None:
    """Copy `tree` into the workspace of a box that has no working copy yet; git in the box then knows every file.

    Raises SandboxError.
    """
    if os.path.lexists(to / ".git"):
        return
    command = [
        "cp",
        "--archive",
        "--no-preserve=ownership",
        "--reflink=auto",
        "--no-target-directory",
        "--",
        str(tree),
        str(to),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SandboxError(f"the working copy could not be copied into the box: {done.stderr.strip()[-500:]}")
    _write(to, own)
    if peer.uid != os.geteuid():
        _hand_over(to, peer)
    index = to / ".git" / "index"
    if index.exists():
        inside = peer.uid if overlay.shares_mounts(peer.pid) else BOX_USER
        index.write_bytes(remember(index.read_bytes(), lambda name: _seen(to, name), inside))


def _seen(folder: Path, name: bytes) -> os.stat_result | None:
    """Return what is known of a file or link; None where there is none."""
    with contextlib.suppress(OSError):
        found = os.lstat(os.path.join(os.fsencode(folder), name))
        return None if found.st_mode & 0o170000 == 0o040000 else found
    return None


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if data.startswith(b"#!") else 0o644)


def _hand_over(folder: Path, peer: Peer) -> None:
    os.lchown(folder, peer.uid, peer.gid)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.lchown(os.path.join(place, name), peer.uid, peer.gid)


def _use(tree: Path, folder: BoxFolder) -> None:
    users = tree.parent / "users"
    users.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (users / folder.id).symlink_to(folder.path)
