"""Text that strangers wrote: hidden characters taken out, and wrapped so that a model takes it as data."""

import re

_HIDDEN = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)

_CONTROLS = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
"""The ASCII ones of them."""


def clean(text: str) -> str:
    """Return the text without characters that nobody sees: controls (NUL included), zero-width and bidirectional marks,
    tag characters, lone surrogates. Line ends become newlines.
    """
    plain = text.isascii()  # nearly every text, and quicker so
    if plain and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode().translate(None, _CONTROLS).decode() if plain else _HIDDEN.sub("", text)


def label(name: str) -> str:
    """Return a name that somebody chose, without what could end a mark or a sentence of ours."""
    return re.sub(r"[^\w@:/#. -]", "", name)


def marks(source: str) -> tuple[str, str]:
    """Return the marks around what comes from there: they say so, and that it carries no instructions."""
    return f'<untrusted source="{label(source)}">', "</untrusted>"


def wrap(source: str, text: str) -> str:
    """Return the text between its marks, which it cannot end."""
    opening, closing = marks(source)
    body = clean(text).replace("</untrusted", "<\\/untrusted")
    return f"{opening}\n{body}\n{closing}"
