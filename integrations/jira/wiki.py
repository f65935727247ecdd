"""Jira's wiki markup, which Data Center writes and all webhooks carry: read as Markdown, and written from Markdown. Pure.

https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all
"""

import re
from collections.abc import Callable, Sequence

from markdown_it.tree import SyntaxTreeNode

from integrations.jira.tree import ADDRESS, parse, without_tags

_TOKEN = re.compile(
    r"""(?x)
    \\(?P<escaped>[^A-Za-z0-9\s])
    | \{\{(?P<mono>(?:\\[^\n]|[^{}\n\\]){1,2000})\}\}
    | \{(?P<macro>code|noformat|quote|panel|color)(?::[^{}\n]{0,500})?\}
    | \[~(?:accountid:)?(?P<who>[^\[\]\n]{1,300})\]
    | \[(?:(?P<words>[^\[\]\n|]{0,500})\|)?(?P<target>(?:https?|ftp|mailto):[^\[\]\n|]{1,2000})(?:\|[^\[\]\n]{0,200})?\]
    | ^(?P<bq>bq\.[ \t])
    """,
    re.MULTILINE,
)
_ESCAPE = re.compile(r"\\([^A-Za-z0-9\s])")
_VERBATIM = ("code", "noformat")
_SPECIAL = re.compile(r"[\\{}\[\]*_+^~!|#?-]")
_ESCAPED_BOX = re.compile(r"\\\[([ xX])\\\] ")


def markdown(text: str, mention: Callable[[str], str]) -> str:
    """Return wiki markup as Markdown, as far as it matters for what is said: code, quotes, links and mentions.

    `mention` gives what to write for the account that a mention names; "" leaves the mention as it is.
    """
    pieces: list[str] = []
    verbatim, quoted, last = "", False, 0

    def add(piece: str) -> None:
        pieces.append(piece.replace("\n", "\n> ") if quoted else piece)

    for found in _TOKEN.finditer(text):
        macro = found["macro"] or ""
        if verbatim and macro != verbatim:
            continue
        before = text[last : found.start()]
        last = found.end()
        add(before.replace("```", "'''") if verbatim else before)
        if macro in _VERBATIM:
            add("\n```\n")
            verbatim = "" if verbatim else macro
        elif macro == "quote":
            quoted = not quoted
            pieces.append("\n> " if quoted else "\n\n")
        elif not macro:
            add(_inline(found, mention))
    add(text[last:].replace("```", "'''") if verbatim else text[last:])
    return "".join(pieces)


def _inline(found: re.Match[str], mention: Callable[[str], str]) -> str:
    if found["escaped"]:
        return "\n" if found["escaped"] == "\\" else found["escaped"]
    if found["mono"]:
        return "`" + _ESCAPE.sub(r"\1", found["mono"]).replace("`", "'") + "`"
    if found["who"]:
        return mention(found["who"].strip()) or found[0]
    if found["bq"]:
        return "> "
    target = found["target"].replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    return f"[{found['words']}]({target})" if found["words"] else f" {target} "


# --- writing --------------------------------------------------------------------------------------------------------


def markup(text: str) -> str:
    """Return Markdown as wiki markup that mentions nobody and loads nothing."""
    return _blocks(parse(text).children).strip()


def escaped(text: str) -> str:
    """Return the text so that nothing in it is markup; addresses stay whole."""
    pieces: list[str] = []
    last = 0
    for address in ADDRESS.finditer(text):
        pieces += _SPECIAL.sub(r"\\\g<0>", text[last : address.start()]), address[0]
        last = address.end()
    return "".join(pieces) + _SPECIAL.sub(r"\\\g<0>", text[last:])


def _blocks(nodes: Sequence[SyntaxTreeNode], bullets: str = "") -> str:
    return "\n\n".join(filter(None, (_block(node, bullets) for node in nodes)))


def _block(node: SyntaxTreeNode, bullets: str = "") -> str:
    if node.type in _SIGNS:
        return "\n".join(_item(item, bullets + _SIGNS[node.type]) for item in node.children)
    return _BLOCK.get(node.type, _inlines)(node)


def _item(item: SyntaxTreeNode, sign: str) -> str:
    first, rest = item.children[:1], item.children[1:]
    words = _inlines(first[0]) if first and first[0].type == "paragraph" else _blocks(first, sign)
    if box := _ESCAPED_BOX.match(words):
        words = ("(/) " if box[1] in "xX" else "") + words[box.end() :]
    return "\n".join([f"{sign} {words}", *(_block(node, sign) for node in rest)])


def _table(node: SyntaxTreeNode) -> str:
    return "\n".join(_row(row) for part in node.children for row in part.children)


def _row(row: SyntaxTreeNode) -> str:
    bar = "||" if row.children and row.children[0].type == "th" else "|"
    return bar + bar.join(f" {_inlines(cell)} " for cell in row.children) + bar


def _code(node: SyntaxTreeNode) -> str:
    """A block without its language: Data Center shows an error for one that it does not know."""
    content, name = node.content.rstrip("\n"), "code"
    if "{code" in content:
        content, name = content.replace("{noformat", "{ noformat"), "noformat"
    return f"{{{name}}}\n{content}\n{{{name}}}"


def _inlines(parent: SyntaxTreeNode) -> str:
    return "".join(_INLINE.get(node.type, _inlines)(node) for node in parent.children)


def _between(sign: str) -> Callable[[SyntaxTreeNode], str]:
    def write(node: SyntaxTreeNode) -> str:
        inner = _inlines(node)
        return f"{sign}{inner}{sign}" if inner.strip() else inner

    return write


def _link(node: SyntaxTreeNode) -> str:
    target, words = str(node.attrs.get("href", "")), _inlines(node)
    return f"[{words or target}|{target}]" if ADDRESS.fullmatch(target) else words


_SIGNS = {"bullet_list": "*", "ordered_list": "#"}

_BLOCK: dict[str, Callable[[SyntaxTreeNode], str]] = {
    "heading": lambda node: f"h{node.tag[1:]}. {_inlines(node)}",
    "fence": _code,
    "code_block": _code,
    "blockquote": lambda node: f"{{quote}}\n{_blocks(node.children)}\n{{quote}}",
    "hr": lambda node: "----",
    "table": _table,
    "html_block": lambda node: escaped(without_tags(node)),
}

_INLINE: dict[str, Callable[[SyntaxTreeNode], str]] = {
    "text": lambda node: escaped(node.content),
    "softbreak": lambda node: "\n",
    "hardbreak": lambda node: "\n",
    "code_inline": lambda node: f"{{{{{escaped(node.content)}}}}}",
    "strong": _between("*"),
    "em": _between("_"),
    "s": _between("-"),
    "link": _link,
    "image": lambda node: escaped(node.content),
    "html_inline": lambda node: escaped(without_tags(node)),
}
