"""A view of this machine in which some folders are within anybody's reach, whatever lies above them is closed to others.

Root needs it to start a program as a user that owns nothing else. The view is a mount namespace (mount_namespaces(7)) of
the thread that made it and of what that thread has started, and ends with them.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.kernel import checked, in_a_thread, libc

PLACE = Path("/tmp/onhand")  # noqa: S108 - in a view where nobody else looks
"""Where the folders are found, by their names."""

_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_NOSUID, _NODEV, _BIND, _REC, _SLAVE = 2, 4, 4096, 16384, 1 << 19


def start(command: Sequence[str], folders: Mapping[str, Path], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command that sees the folders at PLACE; `options` are Popen's. Raises OSError where it may not be done."""

    def step() -> "subprocess.Popen[bytes]":
        _enter(folders)
        return subprocess.Popen(command, **options)

    return in_a_thread(step)


def _enter(folders: Mapping[str, Path]) -> None:
    """Give the calling thread the view."""
    checked(libc().unshare(_CLONE_FS | _CLONE_NEWNS))
    _mount("none", Path("/"), _REC | _SLAVE)
    opened = {name: os.open(path, os.O_PATH | os.O_CLOEXEC) for name, path in folders.items()}
    try:
        _mount("tmpfs", PLACE.parent, _NOSUID | _NODEV, "tmpfs", "mode=0755")
        for name, fd in opened.items():
            (PLACE / name).mkdir(mode=0o755, parents=True)
            _mount(f"/proc/self/fd/{fd}", PLACE / name, _BIND | _REC)
    finally:
        for fd in opened.values():
            os.close(fd)


def _mount(what: str, at: Path, flags: int, kind: str = "", options: str = "") -> None:
    """Do mount(2)."""
    words = [word.encode() or None for word in (what, str(at), kind)]
    checked(libc().mount(*words, flags, options.encode() or None))
