"""Finding a mention in Markdown and reading what is asked.

A mention counts as a whole word in what was newly said: not in code, quotes, links, e-mail addresses or HTML comments.
Everything here is linear in the length of the text, which anybody may write.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, get_args

from msgspec import Struct

from bot.core.prose import only_said
from bot.core.untrusted import clean

Verb = Literal["work", "stop", "status", "retry", "plan", "approve", "help"]
OPTIONS = ("model", "branch", "repo", "budget")
_VERBS = get_args(Verb)

_LONGEST = 200_000
"""Characters that are looked at. The platforms allow at most 65,536 in a comment."""

_OPTION = re.compile(r"(?<!\S)(" + "|".join(OPTIONS) + r")=(\S{1,200})")
_COURTESY = re.compile(r"(?:[\s.,!?;:]|\b(?:please|now|thanks|thank you|it|again|this)\b)*", re.IGNORECASE)


class Request(Struct, frozen=True):
    """What is asked, platform apart."""

    verb: Verb = "work"
    text: str = ""
    """What was said, without the mention and the options."""
    options: dict[str, str] = {}


def find_request(text: str | None, handles: Iterable[str]) -> Request | None:
    """Return what the text asks of one of the handles (each with its `@`), or None if it mentions none of them."""
    handles = tuple(handles)
    if not text or (text.isascii() and not _may_be_in(text, handles)):  # nearly every text ends here
        return None
    said = clean(text[:_LONGEST])
    if not _may_be_in(said, handles):
        return None
    found = _mention(handles).search(only_said(said))
    if found is None:
        return None
    return read_request(said[: found.start()], said[found.end() :])


def read_request(before: str, after: str) -> Request:
    """Read verb and options from what stands after a mention; what stands before it belongs to the wish as well."""
    options = {}
    if "=" in after:
        options = {m[1]: m[2].rstrip(".,;:!?)") for m in _OPTION.finditer(after)}
        after = _OPTION.sub("", after)
    rest = after.lstrip(" \t,:;-")
    first = re.match(r"[A-Za-z]*", rest)
    word, more = (first[0].lower(), rest[first.end() :]) if first else ("", rest)
    verb: Verb = "work"
    if word in _VERBS and word != "work" and (word == "plan" or _COURTESY.fullmatch(_newly_said(more))):
        verb = word  # type: ignore[assignment]  # checked against the Literal on the line above
    said = rest if verb == "work" else more
    return Request(verb, f"{before}{said}".strip(), options)


def _newly_said(text: str) -> str:
    """Return a text without its quotes, and without what a mail program puts below an answer."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.rstrip() == "--" or (line.startswith("On ") and _introduces_quote(lines[number : number + 2])):
            lines = lines[:number]
            break
    return "\n".join(line for line in lines if not line.lstrip().startswith(">"))


def _introduces_quote(lines: list[str]) -> bool:
    """Whether it is `On Tue, 3 Nov 2026 NAME <ADDRESS> wrote:`, which may be broken over two lines."""
    return any(line.rstrip().endswith("wrote:") for line in lines)


def _may_be_in(text: str, handles: tuple[str, ...]) -> bool:
    lower = text.lower()
    for handle in handles:  # noqa: SIM110 -- nearly every delivery comes by here, and a generator costs three times as much
        if handle.lower() in lower:
            return True
    return False


@lru_cache(64)
def _mention(handles: tuple[str, ...]) -> re.Pattern[str]:
    """Match one of the names as a whole word, which may begin what `_` emphasizes."""
    names = "(?:" + "|".join(re.escape(h) for h in handles if h) + ")"
    word = rf"(?<![\w@/.+\-]){names}(?![\w\-@/]|\.\w)"
    emphasized = rf"(?<=_)(?<![^\W_]_)(?<![^\W_]__)(?=[^\n_]{{0,500}}[^\s_]_){names}(?!_*[^\W_]|[\-@/]|\.\w)"
    return re.compile(f"{word}|{emphasized}", re.IGNORECASE)
