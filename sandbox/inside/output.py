"""What a command writes, in bounded memory: the first and the last part of it."""

from __future__ import annotations

KEEP = 15_000
"""Bytes kept at each end."""


class Output:
    """Takes everything in, gives both ends back."""

    def __init__(self) -> None:
        self._head, self._tail, self._cut = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        """Take more in."""
        room = KEEP - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 8 * KEEP:
            self._trim()

    def whole(self) -> bytes:
        """Return both parts, and between them, where something was cut, a line that says how many bytes."""
        self._trim()
        if not self._cut:
            return bytes(self._head + self._tail)
        end = _before_split(self._head)
        note = f"\n[... {self._cut + len(self._head) - end} bytes cut here ...]\n"
        return bytes(self._head[:end]) + note.encode() + bytes(self._tail)

    def _trim(self) -> None:
        extra = max(0, len(self._tail) - KEEP)
        if extra:
            while extra < len(self._tail) and self._tail[extra] & 0xC0 == 0x80:  # the middle of a character
                extra += 1
            self._cut += extra
            del self._tail[:extra]


def _before_split(data: bytearray) -> int:
    """Return where to cut so that no UTF-8 character is left half at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            needs = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return len(data) if needs == back else len(data) - back
        if byte < 0x80:
            break
    return len(data)
