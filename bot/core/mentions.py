"""Finding a mention in Markdown and reading what is asked.

A mention counts as a whole word in what was newly said: not in code, quotes, links, e-mail addresses or HTML comments.
Everything here is linear in the length of the text, which anybody may write.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal, get_args

from msgspec import Struct

from bot.core.untrusted import clean

Verb = Literal["work", "stop", "status", "retry", "plan", "approve", "help"]
OPTIONS = ("model", "branch", "repo", "budget")
_VERBS = get_args(Verb)

_LONGEST = 200_000
"""Characters that are looked at. The platforms allow at most 65,536 in a comment."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)]) ")
_HTML = re.compile(r"<(pre|code|blockquote|a|samp|kbd)\b[^<>]{0,500}>", re.IGNORECASE)
_LINK = re.compile(
    r"""(?x)
    !?\[[^\[\]\n]{0,500}\]\([^()\s]{0,2000}[^()\n]{0,300}\)   # [text](target "title")
    | !?\[[^\[\]\n]{0,500}\]\[[^\[\]\n]{0,200}\]             # [text][reference]
    | <[a-zA-Z][a-zA-Z0-9+.\-]{1,30}:[^<>\s]{0,2000}>        # <scheme:target>
    | \b(?:https?|ftp|mailto|ssh|git)://?\S{1,2000}          # bare addresses
    | ^[ ]{0,3}\[[^\[\]\n]{1,200}\]:[^\n]{0,2000}            # [reference]: target
    """,
    re.MULTILINE,
)
_MAY_HIDE = re.compile(r"[<>`~\[:\t]|    ")
"""Whatever does not count as said begins with one of these."""
_BACKTICKS = re.compile("`+")
_NOT_NEWLINE = re.compile(r"[^\n]")
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
    mention = _mention(handles)
    if not mention.search(said):
        return None
    found = mention.search(_blank_out(said))
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
    names = "|".join(re.escape(h) for h in handles if h)
    return re.compile(rf"(?<![\w@/.+\-])(?:{names})(?![\w\-@/]|\.\w)", re.IGNORECASE)


def _blank_out(text: str) -> str:
    """Return the text at the same length with every part that does not count as said turned into spaces."""
    if _MAY_HIDE.search(text):
        for sign, spans in _HIDING:
            if sign in text:
                text = _erase(text, spans(text))
    return text


def _erase(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Blank the spans, which come in order and do not overlap; line ends stay."""
    pieces: list[str] = []
    last = 0
    for start, end in spans:
        pieces += text[last:start], _NOT_NEWLINE.sub(" ", text[start:end])
        last = end
    return "".join(pieces) + text[last:] if last else text


def _html_comments(text: str) -> Iterator[tuple[int, int]]:
    start = text.find("<!--")
    while start >= 0:
        end = text.find("-->", start + 4)
        end = len(text) if end < 0 else end + 3  # an open comment hides the rest
        yield start, end
        start = text.find("<!--", end)


def _quotes_and_blocks(text: str) -> Iterator[tuple[int, int]]:
    """Quoted lines, fenced blocks and indented blocks (CommonMark 4.4, 4.5, 5.1)."""
    position, fence, after_blank, in_list = 0, "", True, False
    for line in text.splitlines(keepends=True):
        start, position = position, position + len(line)
        inside = _LIST_ITEM.sub("", line, count=1)
        if fence:
            yield start, position
            bare = line.strip()
            if len(bare) >= len(fence) and set(bare) == {fence[0]}:
                fence = ""
        elif opened := _FENCE.match(inside):
            fence = opened[1]
            yield start, position
        elif line.startswith(("    ", "\t")) and after_blank and not in_list:
            yield start, position
            continue  # the block goes on until a line that is not indented
        elif inside.lstrip(" ").startswith(">"):
            yield start, position
        elif line.strip():
            in_list = bool(_LIST_ITEM.match(line)) or (in_list and line.startswith(" "))
        after_blank = not line.strip()


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Runs of backticks and what stands between two of equal length (CommonMark 6.1)."""
    runs = [(m.start(), m.end()) for m in _BACKTICKS.finditer(text)]
    later: dict[int, list[int]] = {}
    for index in range(len(runs) - 1, -1, -1):
        later.setdefault(runs[index][1] - runs[index][0], []).append(index)
    index = 0
    while index < len(runs):
        start, end = runs[index]
        same_length = later[end - start]
        while same_length and same_length[-1] <= index:
            same_length.pop()
        if same_length:
            closing = same_length[-1]
            yield start, runs[closing][1]
            index = closing
        index += 1


def _html_elements(text: str) -> Iterator[tuple[int, int]]:
    lower, position, unclosed = text.lower(), 0, set[str]()
    while opened := _HTML.search(text, position):
        name = opened[1].lower()
        end = -1 if name in unclosed else lower.find(f"</{name}", opened.end())
        if end < 0:
            unclosed.add(name)
            position = opened.end()
        else:
            yield opened.start(), end
            position = end


def _links(text: str) -> Iterator[tuple[int, int]]:
    return ((m.start(), m.end()) for m in _LINK.finditer(text))


_HIDING = (("<!--", _html_comments), ("", _quotes_and_blocks), ("`", _code_spans), ("<", _html_elements), ("", _links))
"""What does not count as said, in the order in which it is taken out, and a sign without which a text has none of it."""
