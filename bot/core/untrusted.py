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
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():  # nearly every text, and quicker so
        return text.encode().translate(None, _CONTROLS).decode()
    return _HIDDEN.sub("", text)


def wrap(source: str, text: str) -> str:
    """Return the text between marks that say where it comes from and that it carries no instructions."""
    body = clean(text).replace("</untrusted", "<\\/untrusted")
    name = re.sub(r"[^\w@:/#. -]", "", source)
    return f'<untrusted source="{name}">\n{body}\n</untrusted>'
