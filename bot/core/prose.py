"""What somebody says in a Markdown text: not code, quotes, links, addresses or HTML comments. Pure.

A pass over the lines finds the blocks (CommonMark 4 and 5), one over each paragraph what stands in it (6): of code spans,
comments and tags the one that begins first wins. Unlike there, a quote ends where the `>` do, as in mail and in chats.
Everything here is linear in the length of the text, which anybody may write. https://spec.commonmark.org/0.31.2/
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Literal

_DEEPEST = 20
"""Lists within lists that are told apart."""

_MAY_HIDE = re.compile(r"[<>`~\[:\t]|www\.|    ")
"""Whatever does not count as said begins with one of these."""
_NOT_NEWLINE = re.compile(r"[^\n]")

_BEGINS = frozenset("`~<>#-*+_0123456789")
_FENCE = re.compile(r"`{3,}(?=[^`]*\Z)|~{3,}")
_ITEM = re.compile(r"((?:[-*+]|(\d{1,9})[.)]))(?:[ \t]+|\Z)")
_RULE = re.compile(r"(?P<rule>[-*_])[ \t]*(?:(?P=rule)[ \t]*){2,}\Z")
_UNDERLINE = re.compile(r"(?:=+|-+)[ \t]*\Z")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|\Z)")
_TABLE_RULE = re.compile(r"^(?=[^\n]*\|)(?=[^\n]*-)[|: \t-]+$", re.MULTILINE)
_CELL = re.compile(r"(?:[^|\n\\]|\\[^\n]|\\)+")

_TAG = (
    r"</?[A-Za-z][A-Za-z0-9-]*+"
    r"""(?:\s++[A-Za-z_:][\w.:-]*+(?:\s*+=\s*+(?:[^\s"'=<>`]++|'[^'<]{0,2000}+'|"[^"<]{0,2000}+"))?+)*+\s*+/?>"""
)
_TAG_ALONE = re.compile(_TAG + r"[ \t]*\Z")
_BLOCK_TAG = re.compile(
    r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt"
    r"|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu"
    r"|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul)"
    r"(?:[ \t>]|/>|\Z)",
    re.IGNORECASE,
)
_VERBATIM_TAG = re.compile(r"<(?:pre|script|style|textarea)(?:[ \t>]|\Z)", re.IGNORECASE)
_VERBATIM_ENDS = re.compile(r"</(?:pre|script|style|textarea)>", re.IGNORECASE)
_COMMENT_ENDS = re.compile("-->")
_BLANK = re.compile(r"^[ \t]*\Z")
_INTERRUPTS = re.compile(
    "|".join(p.pattern for p in (_FENCE, _HEADING, _RULE, _VERBATIM_TAG, _BLOCK_TAG)) + "|>|<!--", re.IGNORECASE
)

_BACKTICKS = re.compile("`+")
_SIGN = re.compile(rf"\\[!-/:-@\[-`{{-~]|`+|<!--|<[a-zA-Z][a-zA-Z0-9+.\-]{{1,31}}:[^<>\s]{{0,2000}}>|{_TAG}")
_HIDDEN_SIGN = re.compile(r"\\[`\[\]<]|<[^\s>:]*:")
"""An address in angle brackets; an escaped sign that is none now."""
_ELEMENT = re.compile(r"<(pre|code|blockquote|a|samp|kbd)\b[^<>]{0,500}>", re.IGNORECASE)
_LINK = re.compile(
    r"""(?x)
    !?\[[^\[\]\n]{0,500}\](?:
      \(\s*+(?:[^()\s]++|\([^()\s]*+\)){0,50}+(?:\s++(?:"[^"\n]{0,500}+"|'[^'\n]{0,500}+'))?+\s*+\)  # [text](target "title")
      | \[[^\[\]\n]{0,200}\]                            # [text][reference]
    )
    | (?:\b(?:https?|ftp|mailto|ssh|git)://?|(?<![^\s*_~(])www\.)[^\s<>]{1,2000}  # bare addresses
    """
)
_DEFINITION = re.compile(
    r"""(?x)
    \[(?!\^)[^\[\]\n]{1,200}+\]:[ \t]*+\n?+[ \t]*+(?:<[^<>\n]*+>|[^\s<]\S*+)           # [reference]: target
    (?:[ \t]*+\n?+[ \t]*+(?<=\s)(?:"[^"]{0,500}+"|'[^']{0,500}+'|\([^()]{0,500}+\))[ \t]*+$)?+[ \t]*+(?:\n[ \t]*+|\Z)  # "title"
    """,
    re.MULTILINE,
)

Span = tuple[int, int]


def only_said(text: str) -> str:
    """Return the text at the same length with every part that does not count as said turned into spaces."""
    if not _MAY_HIDE.search(text):
        return text
    text = _erase(text, _Blocks(text).hidden())
    if "<" in text:
        text = _erase(text, _elements(text))
    return _erase(text, (found.span() for found in _LINK.finditer(text)))


def _erase(text: str, spans: Iterable[Span]) -> str:
    """Blank the spans, which come in the order of their beginnings; line ends stay."""
    pieces: list[str] = []
    last = 0
    for start, end in spans:
        if end > last:
            pieces += text[last:start], _NOT_NEWLINE.sub(" ", text[max(start, last) : end])
            last = end
    return "".join(pieces) + text[last:] if last else text


# --- blocks ---------------------------------------------------------------------------------------------------------


class _Blocks:
    """The blocks of a text, line by line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hidden: list[Span] = []
        self._items: list[int] = []
        """The columns where the contents of the open list items begin."""
        self._open: Literal["", "item", "paragraph", "fence", "html"] = ""
        self._begun = 0
        self._fence = ""
        self._html_ends = _BLANK

    def hidden(self) -> list[Span]:
        """Return what does not count as said, in order; HTML elements and links are not looked for."""
        start = 0
        for line in self._text.split("\n"):
            at = len(line) - len(line.lstrip(" \t"))
            if not self._goes_on(line, at, start):
                self._read(line, at, start)
            start += len(line) + 1
        self._end(len(self._text))
        return self._hidden

    def _goes_on(self, line: str, at: int, start: int) -> bool:
        """Whether the line belongs to the fence or HTML block that is open, which may end with it."""
        if self._open not in ("fence", "html"):
            return False
        inside = _column(line, at) - self._depth()
        if inside < 0 and at < len(line):  # the list item ends, and so does what is in it
            return False
        if self._open == "fence":
            bare = line[at:].rstrip(" \t")
            ends = inside < 4 and len(bare) >= len(self._fence) and not bare.strip(self._fence[0])
        else:
            ends = self._html_ends.search(line) is not None
        if ends:
            self._end(start + len(line))
        return True

    def _read(self, line: str, at: int, start: int) -> None:
        if at == len(line):
            if self._open == "item":  # with nothing on its first line: a blank one ends it
                self._items.pop()
            return self._end(start)
        column = _column(line, at)
        kept = bisect_right(self._items, column)
        indent = column - (self._items[kept - 1] if kept else 0)
        if self._open == "paragraph":
            inside = kept == len(self._items)
            if inside and indent < 4 and _UNDERLINE.match(line, at):
                return self._end(start)
            if indent > 3 or not _interrupts(line[at:], inside):
                return None
        self._end(start)
        del self._items[kept:]
        self._begin(line, at if indent > 3 else self._begin_items(line, at), start)
        return None

    def _begin_items(self, line: str, at: int) -> int:
        """Open the list items whose signs the line begins with; return where their contents begin."""
        while len(self._items) < _DEEPEST and (sign := _ITEM.match(line, at)) and not _RULE.match(line, at):
            after, at = _column(line, sign.end(1)), sign.end()
            gap = _column(line, at) - after
            self._items.append(after + (gap if gap < 5 and at < len(line) else 1))
            if gap > 4:
                break
        return at

    def _begin(self, line: str, at: int, start: int) -> None:
        """Open the block that begins there; one that cannot go on is ended with the line."""
        here, end, bare = start + at, start + len(line), line[at:]
        if not bare:
            self._open = "item"
            return
        if bare[0] == ">" or _column(line, at) - self._depth() > 3:  # a quote, indented code
            self._hidden.append((here, end))
            return
        self._begun, self._open = here, "paragraph"
        if fence := _FENCE.match(bare):
            self._open, self._fence = "fence", fence[0]
        elif html_ends := _html(bare):
            self._open, self._html_ends = "html", html_ends
            if html_ends.search(bare):
                self._end(end)
        elif _HEADING.match(bare) or _RULE.match(bare):
            self._end(end)

    def _end(self, at: int) -> None:
        """End the block that is open, and hide what does not count in it."""
        match self._open:
            case "fence":
                self._hidden.append((self._begun, at))
            case "html":
                seen = self._hidden[-1][1] if self._hidden else 0
                self._hidden += _comments(self._text, max(self._begun, seen), at)
            case "paragraph":
                self._hidden += _in_paragraph(self._text, self._begun, at)
        self._open = ""

    def _depth(self) -> int:
        return self._items[-1] if self._items else 0


def _column(line: str, at: int) -> int:
    return len(line[:at].expandtabs(4)) if at else 0


def _interrupts(bare: str, inside: bool) -> bool:
    """Whether a line ends the paragraph before it, from whose list items it has not fallen out if it is `inside`."""
    if bare[0] not in _BEGINS:
        return False
    if item := _ITEM.match(bare):
        return not inside or _RULE.match(bare) is not None or (item.end() < len(bare) and item[2] in (None, "1"))
    return _INTERRUPTS.match(bare) is not None


def _html(bare: str) -> re.Pattern[str] | None:
    """Return what ends the HTML block that begins here; None if none does."""
    if bare[0] != "<":
        return None
    if bare.startswith("<!--"):
        return _COMMENT_ENDS
    if _VERBATIM_TAG.match(bare):
        return _VERBATIM_ENDS
    return _BLANK if _BLOCK_TAG.match(bare) or _TAG_ALONE.match(bare) else None


# --- what stands in a block -----------------------------------------------------------------------------------------


def _in_paragraph(text: str, start: int, end: int) -> Iterator[Span]:
    while definition := _DEFINITION.match(text, start, end):
        yield definition.span()
        start = definition.end()
    if "|" in text[start:end] and _TABLE_RULE.search(text, start, end):
        for cell in _CELL.finditer(text, start, end):
            yield from _in_line(text, *cell.span())
    else:
        yield from _in_line(text, start, end)


def _in_line(text: str, start: int, end: int) -> Iterator[Span]:
    """Code spans, comments, addresses in angle brackets and escaped signs."""
    runs: dict[int, list[int]] = {}
    for run in reversed([*_BACKTICKS.finditer(text, start, end)]):
        runs.setdefault(len(run[0]), []).append(run.start())
    last_comment = text.rfind("-->", start, end)
    while found := _SIGN.search(text, start, end):
        sign, start = found[0], found.end()
        if sign[0] == "`":
            later = runs.get(len(sign), [])
            while later and later[-1] < start:
                later.pop()
            stop = later[-1] + len(sign) if later else 0
        elif sign == "<!--":
            stop = text.find("-->", start - 2, end) + 3 if start - 2 <= last_comment else 0  # `<!-->` is one
        else:
            stop = start if _HIDDEN_SIGN.match(sign) else 0
        if stop:
            yield found.start(), stop
            start = stop


def _comments(text: str, start: int, end: int) -> Iterator[Span]:
    """The comments in an HTML block. One that has no end there hides what follows, as browsers take it."""
    while (begun := text.find("<!--", start, end)) >= 0:
        stop = text.find("-->", begun + 2)
        start = len(text) if stop < 0 else stop + 3
        yield begun, start


def _elements(text: str) -> Iterator[Span]:
    lower, position, unclosed = text.lower(), 0, set[str]()
    while opened := _ELEMENT.search(text, position):
        name = opened[1].lower()
        end = -1 if name in unclosed else lower.find(f"</{name}", opened.end())
        if end < 0:
            unclosed.add(name)
            position = opened.end()
        else:
            yield opened.start(), end
            position = end
