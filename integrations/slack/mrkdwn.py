"""Slack's own markup: what people wrote there as Markdown, and our Markdown as theirs. Pure.

What we say is harmless by construction: `&`, `<` and `>` of every text are escaped, so nothing in it can ping anybody,
and only http, https and mailto become links.

https://docs.slack.dev/messaging/formatting-message-text
"""

import re
from collections.abc import Callable, Iterator

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode as Node

from bot.core.untrusted import clean

LONGEST_SECTION = 3000
"""Characters that Slack takes as the text of one section."""

_FENCES = 8
"""Characters around the code in a block."""

_CONTROL = re.compile(r"<([^<>\n]{1,3000})>")
_BLOCK = re.compile(r"```(.*?)```", re.DOTALL)
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s<>|]{1,2000}")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")


# --- what people wrote ----------------------------------------------------------------------------------------------


def to_markdown(text: str) -> str:
    """Return what a person wrote as Markdown: people as `@U123`, links as such, fences and quotes on lines of their own."""
    text = _CONTROL.sub(_read_control, clean(text))
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = _BLOCK.sub(lambda m: f"\n```\n{m[1].strip(chr(10))}\n```\n", text)
    return "\n".join(_quoted_to_the_end(text.split("\n"))).strip("\n")


def mentions(text: str) -> list[str]:
    """Return the ids of the people whom a raw text mentions, in order."""
    return re.findall(r"<@([A-Z0-9]{2,40})(?:\|[^<>]{0,200})?>", text)


def _read_control(control: re.Match[str]) -> str:
    target, _, label = control[1].partition("|")
    match target[0]:
        case "@":
            return f" @{target[1:]} "
        case "#":
            return f"#{label or target[1:]}"
        case "!":
            return label or f"@{target[1:].partition('^')[0]}"
    return f"[{label}]({target})" if label and label != target else target


def _quoted_to_the_end(lines: list[str]) -> Iterator[str]:
    quoted = False
    for line in lines:
        quoted = quoted or line.startswith(">>>")
        yield f"> {line}" if quoted else line


# --- what we say ----------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Return the text with Slack's three special characters escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def sections(markdown: str, longest: int = LONGEST_SECTION) -> list[str]:
    """Return Markdown as mrkdwn in pieces that each fit a section, cut between paragraphs where possible."""
    pieces: list[str] = []
    for node in Node(_MARKDOWN.parse(clean(markdown))).children:
        for part in _parts(node, longest):
            if pieces and len(pieces[-1]) + len(part) + 2 <= longest:
                pieces[-1] += f"\n\n{part}"
            elif part.strip():
                pieces.append(part)
    return pieces


def mrkdwn(markdown: str) -> str:
    """Return Markdown as one piece of mrkdwn."""
    return "\n\n".join(sections(markdown, 40_000))


def shown_as_it_is(code: str) -> bool:
    """Whether the lines of the blocks in which code is shown are its own: none is too long, and nothing in it ends a block."""
    return "```" not in code and all(len(escape(row)) <= LONGEST_SECTION - _FENCES for row in code.split("\n"))


def _parts(node: Node, longest: int) -> Iterator[str]:
    """The node's text, in several parts where it is too long for one; what is code stays code in each, line by line."""
    code = node.type in ("fence", "code_block")
    text = escape(node.content.rstrip("\n")).replace("```", "'''") if code else _render(node)
    room, ends = (longest - _FENCES, "\n") if code else (longest, "\n ")
    while text:
        cut = len(text) if len(text) <= room else max(0, *(text.rfind(end, 0, room + 1) for end in ends)) or room
        part, text = text[:cut], text[cut:].removeprefix("\n") if code else text[cut:].lstrip("\n ")
        yield f"```\n{part}\n```" if code else part


def _render(node: Node) -> str:
    render = _RENDER.get(node.type)
    return render(node) if render else _inside(node)


def _inside(node: Node) -> str:
    return "".join(_render(child) for child in node.children) if node.children else escape(node.content)


def _around(mark: str) -> Callable[[Node], str]:
    def render(node: Node) -> str:
        said = _inside(node).strip()
        return f"{mark}{said}{mark}" if said else ""

    return render


def _code(node: Node) -> str:
    return f"`{escape(node.content).replace('`', chr(39))}`"


def _fence(node: Node) -> str:
    return next(_parts(node, 100_000), "")


def _link(node: Node) -> str:
    address = str(node.attrs.get("href") or node.attrs.get("src") or "")
    label = " ".join(_inside(node).replace("|", "/").split())
    if not _ADDRESS.fullmatch(address):
        return label
    return f"<{escape(address)}|{label}>" if label else f"<{escape(address)}>"


def _heading(node: Node) -> str:
    return f"*{_inside(node).strip().replace('*', '')}*"


def _quote(node: Node) -> str:
    return "\n".join(f"> {line}" for line in _blocks(node).split("\n"))


def _list(node: Node) -> str:
    first = int(node.attrs.get("start") or 1)
    rows = []
    for number, item in enumerate(node.children, first):
        bullet = f"{number}. " if node.type == "ordered_list" else "• "
        text = _blocks(item, "\n")
        for box, sign in (("[ ] ", "☐ "), ("[x] ", "☑ ")):
            if text.startswith(box):
                bullet, text = sign, text.removeprefix(box)
        rows.append(bullet + text.replace("\n", "\n    "))
    return "\n".join(rows)


def _blocks(node: Node, between: str = "\n\n") -> str:
    return between.join(part for child in node.children if (part := _render(child)))


_RENDER: dict[str, Callable[[Node], str]] = {
    "strong": _around("*"),
    "em": _around("_"),
    "s": _around("~"),
    "code_inline": _code,
    "fence": _fence,
    "code_block": _fence,
    "link": _link,
    "image": _link,
    "heading": _heading,
    "blockquote": _quote,
    "bullet_list": _list,
    "ordered_list": _list,
    "softbreak": lambda _: "\n",
    "hardbreak": lambda _: "\n",
    "hr": lambda _: "———",
}
