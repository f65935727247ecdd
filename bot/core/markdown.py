"""Markdown out of other people's words, made harmless.

What an agent writes may ping nobody, load nothing, hide nothing and forge no mark. `@names` become code spans. Where it
is not certain which part of a text is code, every `@` and `<` is replaced instead, in code too. Pure.
"""

import re
from html import unescape

from bot.core.untrusted import clean

_FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})")
_NOT_IN_TABLE_RULE = re.compile(r"[A-Za-z`]")
_FENCE_ANYWHERE = re.compile(r"```|~~~")
_AT_ENTITY = re.compile(r"&(?:#0{0,5}64|#[xX]0{0,5}40|commat);")
_ADDRESS_AT = re.compile(r"(https?://[^\s@<>`]{1,500})@")
_AT_NAME = re.compile(r"(?:(?<![A-Za-z0-9\\])\\*|(?<=[A-Za-z0-9])\\+)@([A-Za-z0-9][\w./@-]*(?<![./@-]))?")
_IMAGE = re.compile(r"!\[")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_CLOSES = re.compile(
    r"\b(clos(?:e[sd]?|ing)|fix(?:e[sd]|ing)?|resolv(?:e[sd]?|ing)|implement(?:s|ed|ing)?)(:?\s{1,20})(?:issues?\s{1,20})?"
    r"(?=(?:[\w.-]{1,100}/){0,5}[\w.-]{0,100}#\d|https?://|G[HL]-\d|\[(?:issue|work_item):)",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(#\d{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)")
_IN_CLOSING = re.compile(r"[\w\s#/:.[-]")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def cut(text: str, longest: int) -> str:
    """Return at most `longest` characters; where something is missing, the end says so.

    No code span is cut open: what is harmless stays so.
    """
    note = "\n\n(cut here: too long for one message)"
    if len(text) <= longest:
        return text
    kept = text[: longest - len(note)]
    if kept.count("`", kept.rfind("\n") + 1) % 2:
        kept = kept[: kept.rindex("`")]
    return kept + note


def line(text: str, longest: int = 200) -> str:
    """Return the text on one line, without markup that could reach beyond it."""
    flat = " ".join(clean(text).replace("`", "'").split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def code(text: str, longest: int = 160) -> str:
    """Return the text as a code span that it cannot leave."""
    return f"`{line(text, longest)}`" if text.strip() else ""


def harmless(text: str) -> str:
    """Return Markdown that reads the same but pings nobody, loads no picture, and holds no HTML (so no mark either)."""
    text = _AT_ENTITY.sub("@", clean(text))
    parts = _split(text)
    if parts is None:
        return _IMAGE.sub("[", _TAG.sub("&lt;", text)).replace("@", "＠")  # noqa: RUF001  # the wide sign pings nobody
    return "".join(part if is_code else _quieten(part) for part, is_code in parts)


def closes_nothing(text: str) -> str:
    """Return the text with "fixes #1" turned into "fixes the issue #1", which forges do not obey.

    GitLab does obey "fixes issue #1", "fixes GL-1" and "fixes [issue:1]".
    https://docs.gitlab.com/administration/issue_closing_pattern/
    Where such words are made of entities, these are shown as they were written.
    """
    if "&" in text and len(_CLOSES.findall(unescape(text))) > len(_CLOSES.findall(text)):
        text = _ENTITY.sub(lambda m: f"&amp;{m[1]}" if _IN_CLOSING.match(unescape(m[0])) else m[0], text)
    return _CLOSES.sub(r"\1\2the issue ", text)


def plain(text: str) -> str:
    """Return a title, or a commit's message, that pings nobody and closes nothing: forges read both out of plain text too."""
    return closes_nothing(clean(text).replace("@", "＠"))  # noqa: RUF001


def closes(text: str, place: str, number: str) -> bool:
    """Whether a pull request with this text closes the issue when it is merged, as GitHub reads it.

    https://docs.github.com/issues/tracking-your-work-with-issues/using-issues/linking-a-pull-request-to-an-issue
    """
    name = re.escape(place)
    issue = re.compile(rf"(?:(?:{name})?#|GH-|https?://[\w.:-]{{1,200}}/{name}/issues/){number}(?!\w)", re.IGNORECASE)
    said = _COMMENT.sub("", text)
    return any(issue.match(said, found.end()) for found in _CLOSES.finditer(said))


def _quieten(prose: str) -> str:
    prose = _IMAGE.sub("[", _TAG.sub("&lt;", prose))
    prose = _ADDRESS_AT.sub(r"\1%40", prose)
    return _AT_NAME.sub(lambda m: f"`@{m[1]}`" if m[1] else "＠", prose)  # noqa: RUF001


def _split(text: str) -> list[tuple[str, bool]] | None:
    """Return the text in parts with whether each is code, or None where that is not certain.

    Certain are fences at the very start of a line and code spans within one line; a fence elsewhere, a span over lines,
    or a run of several backticks is read differently inside lists, quotes and tables.
    """
    parts: list[tuple[str, bool]] = []
    fence, table = "", any(map(_is_table_rule, text.split("\n")))
    for row in re.split(r"(?<=\n)", text):
        bare = row.strip()
        if fence:
            parts.append((row, True))
            if len(bare) >= len(fence) and set(bare) == {fence[0]} and not row.startswith(("    ", "\t")):
                fence = ""
        elif opened := _FENCE.match(row):
            fence = opened[1]
            parts.append((row, True))
        elif _FENCE_ANYWHERE.search(row) or (spans := _spans(row, table)) is None:
            return None
        else:
            parts += spans
    return parts


def _spans(row: str, table: bool) -> list[tuple[str, bool]] | None:
    pieces = row.split("`")
    if len(pieces) % 2 == 0 or "\\`" in row:
        return None
    if any(not code.strip() or (table and "|" in code) for code in pieces[1::2]):
        return None
    if any(_runs_into_code(prose) for prose in pieces[:-1:2]) or any(p.startswith(("@", "\\")) for p in pieces[2::2]):
        return None
    return [(f"`{piece}`" if index % 2 else piece, bool(index % 2)) for index, piece in enumerate(pieces)]


def _runs_into_code(prose: str) -> bool:
    """Whether a name or an address ends where a backtick comes: GitHub takes the backtick as a part of an address."""
    last = prose.rsplit(None, 1)[-1] if prose and not prose[-1].isspace() else ""
    return "@" in last or "://" in last or "www." in last


def _is_table_rule(row: str) -> bool:
    """Whether this may be the line below a table's header."""
    return "|" in row and "-" in row and _NOT_IN_TABLE_RULE.search(row) is None
