"""The protocol between a worker and the action server. Both sides read this file.

A frame is one line of `name=value` words, `size` last, and `size` bytes. Only words, numbers and bytes travel, so that
the server need import no parser. What a body is made of stands behind the colon; `path`, `stdin` and `cwd` give the
length of that part.

    hello      version=                 : the key         answer: version=, or error=WORD and a closed line
    run        id= op= timeout= stdin=  : command, stdin  answer: exit= seconds= ending= cwd= : directory, output
    read       id= op= limit=           : path            answer: the bytes
    write      id= op= path=            : path, the bytes
    interrupt  id= op=
    restart    id= op=                                    ends everything but the server; a new shell
    ping       id= op=

Every answer carries the id of its request. One that failed has error=WORD : a sentence.
"""

from __future__ import annotations

VERSION = 1
MAX_LINE = 4096
MAX_BODY = 1 << 30


class Refusal(Exception):
    """An operation that is answered with `error=word` and a sentence."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word


def line(fields: dict[str, object], size: int) -> bytes:
    """Return the line of a frame; the values are words and numbers."""
    return " ".join(f"{name}={value}" for name, value in {**fields, "size": size}.items()).encode() + b"\n"


def frame(fields: dict[str, object], body: bytes = b"") -> bytes:
    """Return a whole frame."""
    return line(fields, len(body)) + body


def parse(text: bytes) -> dict[str, str]:
    """Return the fields of a frame's line, `size` among them. Raises ValueError, KeyError."""
    fields = dict(word.split("=", 1) for word in text.decode("ascii").split(" "))
    if not 0 <= int(fields["size"]) <= MAX_BODY:
        raise ValueError(f"expected a size of at most {MAX_BODY} bytes, got {fields['size']}")
    return fields
