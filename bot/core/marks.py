"""By what we know our own: the hidden mark on messages where Markdown may hold HTML comments, the names of branches. Pure."""

from urllib.parse import quote

from bot.core.markdown import cut
from bot.core.untrusted import clean

BRANCH_PREFIX = "onhand/"
"""What the names of our branches begin with; what follows is the thread's item, a hyphen and words."""

_MARK = "<!-- onhand:"


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
