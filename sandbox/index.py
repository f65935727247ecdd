"""git's index of a tree that nobody has run git in: what it remembers of each file is written by us (gitformat-index(5)).

So `git status` compares no contents, and a file's owner and times may be set after it was written.
"""

import hashlib
import os
import struct
from collections.abc import Callable

_HEADER = struct.Struct(">4sII")
_SEEN = struct.Struct(
    ">10I"
)  # changed (seconds, nanoseconds), written (the same), device, inode, mode, user, group, size
_ID = 20
_FLAGS = struct.Struct(">H")
_EXTENDED = 0x4000


def remember(index: bytes, look: Callable[[bytes], os.stat_result | None], owner: int) -> bytes:
    """Return the index with what `look` finds at each path; None leaves an entry as it is. `owner` is seen as user and group.

    Raises ValueError for what is no index of version 2 or 3 with SHA-1 names.
    """
    kind, version, entries = _HEADER.unpack_from(index)
    if kind != b"DIRC" or version not in (2, 3):
        raise ValueError(f"expected an index of version 2 or 3, got {kind!r} {version}")
    made, at = bytearray(index[:-_ID]), _HEADER.size
    for _ in range(entries):
        (flags,) = _FLAGS.unpack_from(index, at + _SEEN.size + _ID)
        start = at + _SEEN.size + _ID + _FLAGS.size * (2 if flags & _EXTENDED else 1)
        end = index.index(b"\0", start)
        if (seen := look(index[start:end])) is not None:
            mode = _SEEN.unpack_from(index, at)[6]
            _SEEN.pack_into(made, at, *_facts(seen, mode, owner))
        at += (end - at) // 8 * 8 + 8
    return bytes(made) + hashlib.sha1(made, usedforsecurity=False).digest()


def _facts(seen: os.stat_result, mode: int, owner: int) -> tuple[int, ...]:
    changed, written = divmod(seen.st_ctime_ns, 10**9), divmod(seen.st_mtime_ns, 10**9)
    facts = (*changed, *written, seen.st_dev, seen.st_ino, mode, owner, owner, seen.st_size)
    return tuple(fact & 0xFFFFFFFF for fact in facts)
