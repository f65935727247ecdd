"""Reading and writing files of the box. Regular files only: a pipe or a device could keep the server waiting."""

from __future__ import annotations

import os

from sandbox.inside.wire import Refusal

_FOLDER, _REGULAR = 0o040000, 0o100000


def read(path: str, limit: int) -> bytes:
    """Return a file's bytes. Raises Refusal when there are more than `limit`, OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(fd, path)
        parts: list[bytes] = []
        room = limit + 1
        while room > 0:
            data = os.read(fd, min(room, 1 << 24))
            if not data:
                return b"".join(parts)
            parts.append(data)
            room -= len(data)
    finally:
        os.close(fd)
    raise Refusal("large", f"{path} is longer than {limit} bytes")


def write(path: str, data: bytes) -> None:
    """Write a file whole; folders on the way are made. Raises Refusal, OSError."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        _require_regular(fd, path)
        os.ftruncate(fd, 0)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def _require_regular(fd: int, path: str) -> None:
    kind = os.fstat(fd).st_mode & 0o170000
    if kind == _FOLDER:
        raise Refusal("folder", f"{path} is a folder")
    if kind != _REGULAR:
        raise Refusal("special", f"{path} is not a regular file")
