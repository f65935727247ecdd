"""By what we know our own: the hidden mark on messages where Markdown may hold HTML comments, the names of branches. Pure."""

import hashlib
import re
from urllib.parse import quote

from bot.core.markdown import cut
from bot.core.untrusted import clean

BRANCH_PREFIX = "onhand/"
"""What the names of our branches begin with; what follows is the thread's item, a hyphen and words."""

_MARK = "<!-- onhand:"
_NOTE = re.compile(rf"{_MARK}text=([0-9a-f]{{12}})-([0-9a-f]{{12}}) -->\r?\n?")
_NOTE_LENGTH = len(f"{_MARK}text=-") + 24 + len(" -->\n")


def mark(topic: str) -> str:
    """Return the hidden comment by which a message of this topic is found again; every topic has its own."""
    return f"{_MARK}{quote(topic, safe=':/,=').replace('--', '-%2D')} -->"


def carries_mark(text: str) -> bool:
    """Whether a mark stands anywhere in a text, as in a description of ours above which somebody wrote more."""
    return _MARK in text


def begins_with_mark(text: str) -> bool:
    """Whether a text is one of our messages, whoever's token posted it; one that quotes ours has the mark elsewhere."""
    return text.lstrip().startswith(_MARK)


def marked(text: str, topic: str, longest: int) -> str:
    """Return the text under its mark, cut to what the platform takes."""
    return cut(f"{mark(topic)}\n{clean(text)}", longest)


def noted(title: str, text: str, topic: str, longest: int) -> str:
    """Return a change's text under its mark and a hidden note of how title and text read, from which `renewed` knows them."""
    body = marked(text, topic, longest - _NOTE_LENGTH)
    above, _, below = body.partition("\n")
    return f"{above}\n{_MARK}text={_digest(title)}-{_digest(body)} -->\n{below}"


def renewed(title: str, body: str, title_there: str, body_there: str) -> tuple[str | None, str | None]:
    """Return what to write of a title and its `noted` body over those that are there; None for what stays as it is.

    What people changed since we wrote it stays, each on its own; without a note nobody knows, so both do.
    """
    note = _NOTE.search(body_there)
    if note is None:
        return None, None
    title_is_ours = _digest(title_there) == note[1]
    body_is_ours = _digest(_NOTE.sub("", body_there, count=1)) == note[2]
    if not title_is_ours:  # the note tells of the last that we wrote
        body = body.replace(f"text={_digest(title)}-", f"text={note[1]}-", 1)
    return (
        title if title_is_ours and title != title_there else None,
        body if body_is_ours and body != body_there else None,
    )


def _digest(text: str) -> str:
    """Return a short digest of a text as a form sends it back: platforms change line ends and trim."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return hashlib.sha256(plain.encode()).hexdigest()[:12]
