"""An overlay in the view of another process: one folder's files, and a box's own changes on top of them.

The mount is made out of sight and moved into the mount namespace of the box (open_tree(2), fsmount(2), move_mount(2),
setns(2)). This machine's own table of mounts never shows it, and it ends with the last process of the box: nothing has
to be unmounted, whoever was killed. It takes root. Numbers are of linux/mount.h; from 424 on calls have one on all machines.
"""

import ctypes
import os
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from sandbox.kernel import call, checked, in_a_thread, libc

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_CLONE, _CLOEXEC, _EMPTY_PATH, _HERE = 1, 1, 0x1000, -100
_SET_STRING, _CREATE = 1, 6
_FROM_EMPTY_PATH = 4
_NOSUID, _NODEV, _IDMAP = 2, 4, 0x100000
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000


class _Attributes(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def mount(pid: int, tree: Path, upper: Path, work: Path, at: str) -> None:
    """Let a process of another mount namespace, and all that share it, see `tree` with `upper` on top at the path `at`.

    User ids of `tree` are read as that process's user namespace maps them. Raises OSError where it may not be done.
    """
    users = Path(f"/proc/{pid}/ns/user")
    same = os.stat(users).st_ino == os.stat("/proc/self/ns/user").st_ino
    with ExitStack() as opened:
        made = _detached(opened, tree, upper, work, None if same else users)
        space = _kept(opened, os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
        in_a_thread(lambda: _move(made, space, at))


def lies_at(pid: int, at: str) -> bool:
    """Whether a process sees an overlay at a path (proc_pid_mountinfo(5)). Raises OSError where there is no such process."""
    mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return any(" - overlay " in mount and mount.split(" ")[4] == at for mount in mounts)


def shares_mounts(pid: int) -> bool:
    """Whether a process sees this process's own mounts."""
    return os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino


@cache
def why_not(folder: Path) -> str:
    """Return what stands in the way of overlays whose files lie in `folder`; nothing when they work."""
    if os.geteuid() != 0:
        return "the worker is not root"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name, ExitStack() as opened:
        tree, upper, work = (Path(name, part) for part in ("tree", "upper", "work"))
        for part in (tree, upper, work):
            part.mkdir()
        try:
            _detached(opened, tree, upper, work, None)
        except OSError as error:
            return f"the kernel says: {error.strerror}"
    return ""


def _detached(opened: ExitStack, tree: Path, upper: Path, work: Path, users: Path | None) -> int:
    """Return an overlay that nobody sees yet; it is gone when the stack is closed, unless it was moved to a place."""
    below = _kept(opened, call(_OPEN_TREE, _HERE, os.fsencode(tree), _CLONE | os.O_CLOEXEC))
    if users is not None:
        mapped = _Attributes(set=_IDMAP, user_namespace=_kept(opened, os.open(users, os.O_RDONLY | os.O_CLOEXEC)))
        call(_MOUNT_SETATTR, below, b"", _EMPTY_PATH, ctypes.byref(mapped), ctypes.sizeof(mapped))
    context = _kept(opened, call(_FSOPEN, b"overlay", _CLOEXEC))
    for name, value in (("lowerdir", f"/proc/self/fd/{below}"), ("upperdir", str(upper)), ("workdir", str(work))):
        call(_FSCONFIG, context, _SET_STRING, name.encode(), os.fsencode(value), 0)
    call(_FSCONFIG, context, _CREATE, None, None, 0)
    return _kept(opened, call(_FSMOUNT, context, _CLOEXEC, _NOSUID | _NODEV))


def _move(made: int, space: int, at: str) -> None:
    checked(libc().unshare(_CLONE_FS))
    checked(libc().setns(space, _CLONE_NEWNS))
    call(_MOVE_MOUNT, made, b"", _HERE, at.encode(), _FROM_EMPTY_PATH)


def _kept(opened: ExitStack, fd: int) -> int:
    opened.callback(os.close, fd)
    return fd
