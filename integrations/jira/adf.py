"""The Atlassian Document Format of Jira Cloud: read as Markdown, and written from Markdown. Pure.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from markdown_it.tree import SyntaxTreeNode

from integrations.jira.tree import ADDRESS, BOX, language, parse, without_tags

Node = dict[str, Any]
Mention = Callable[[str], str]

_DEEPEST = 40
"""Levels of a document that are read."""

_BLOCKS = ("paragraph", "heading", "mediaSingle", "mediaGroup", "table", "tableRow")
_LISTS = ("bulletList", "orderedList", "taskList", "decisionList")
_MARKS = {"strong": "strong", "em": "em", "s": "strike"}
_KINDS = {"bullet_list": "bulletList", "ordered_list": "orderedList"}


def markdown(document: Node, mention: Mention) -> str:
    """Return a document as Markdown. `mention` gives what to write for the account of a mention; "" leaves the name."""
    return _read(document, mention, 0).strip()


def _read(node: Any, mention: Mention, depth: int) -> str:
    if not isinstance(node, dict) or depth > _DEEPEST:
        return ""
    kind, attrs, content = node.get("type"), node.get("attrs"), node.get("content")
    if kind == "text":
        return _text(node)
    if isinstance(kind, str) and kind in _INLINE:
        return _INLINE[kind](attrs if isinstance(attrs, dict) else {}, mention)
    parts = [_read(child, mention, depth + 1) for child in content] if isinstance(content, list) else []
    return _around(kind, parts)


def _around(kind: Any, parts: list[str]) -> str:
    if kind in _LISTS:
        return "".join(f"- {part.strip().replace(chr(10), chr(10) + '  ')}\n" for part in parts) + "\n"
    whole = "".join(parts)
    if kind == "codeBlock":
        return "\n```\n" + whole.replace("```", "'''") + "\n```\n\n"
    if kind == "blockquote":
        return "> " + whole.strip().replace("\n", "\n> ") + "\n\n"
    return whole + ("\n\n" if kind in _BLOCKS else "")


def _text(node: Node) -> str:
    words = node.get("text") if isinstance(node.get("text"), str) else ""
    marks = node.get("marks") if isinstance(node.get("marks"), list) else []
    for mark in marks or []:
        if not isinstance(mark, dict):
            continue
        target = mark.get("attrs", {}).get("href") if isinstance(mark.get("attrs"), dict) else None
        if mark.get("type") == "code":
            words = f"`{str(words).replace('`', chr(39))}`"
        elif mark.get("type") == "link" and isinstance(target, str) and target != words:
            words = f"[{words}]({_target(target)})"
    return str(words)


def _target(address: str) -> str:
    return re.sub(r"[\s()<>]", lambda m: f"%{ord(m[0]):02X}", address[:2000])


def _mention(attrs: Node, mention: Mention) -> str:
    account, name = attrs.get("id"), attrs.get("text")
    shown = str(name).lstrip("@") if isinstance(name, str) else "somebody"
    return (mention(account) if isinstance(account, str) else "") or f"[~{shown}]"


_INLINE: dict[str, Callable[[Node, Mention], str]] = {
    "mention": _mention,
    "hardBreak": lambda attrs, _: "\n",
    "inlineCard": lambda attrs, _: f" {_target(str(attrs.get('url', '')))} ",
    "blockCard": lambda attrs, _: f"{_target(str(attrs.get('url', '')))}\n\n",
    "emoji": lambda attrs, _: str(attrs.get("text") or attrs.get("shortName") or ""),
    "status": lambda attrs, _: str(attrs.get("text") or ""),
    "rule": lambda attrs, _: "\n---\n\n",
}


# --- writing --------------------------------------------------------------------------------------------------------


def document(text: str) -> Node:
    """Return Markdown as a document that mentions nobody and loads nothing."""
    blocks = [block for node in parse(text).children if (block := _BLOCK.get(node.type, _paragraph)(node))]
    return {"type": "doc", "version": 1, "content": blocks or [_of([])]}


def _of(content: list[Node]) -> Node:
    return {"type": "paragraph", "content": content}


def _paragraph(node: SyntaxTreeNode) -> Node:
    return _of(_inlines(node))


def _heading(node: SyntaxTreeNode) -> Node:
    return {"type": "heading", "attrs": {"level": int(node.tag[1:])}, "content": _inlines(node)}


def _code(node: SyntaxTreeNode) -> Node:
    block: Node = {"type": "codeBlock", "content": _words(node.content.rstrip("\n"))}
    return {**block, "attrs": {"language": language(node)}} if language(node) else block


def _html(node: SyntaxTreeNode) -> Node | None:
    words = _words(without_tags(node))
    return _of(words) if words else None


def _top_list(node: SyntaxTreeNode) -> Node:
    """A list of tasks where every item is one, else a list."""
    boxes = [BOX.match(_first_words(item)) for item in node.children]
    if node.type == "ordered_list" or not all(boxes):
        return _list(node)
    tasks = [_task(item, box) for item, box in zip(node.children, boxes, strict=True)]
    return {"type": "taskList", "attrs": {"localId": f"tasks-{_line(node)}"}, "content": tasks}


def _line(node: SyntaxTreeNode) -> int:
    """Return the line of the Markdown in which a block begins: by it each task has a name of its own."""
    return node.map[0] if node.map else 0


def _first_words(item: SyntaxTreeNode) -> str:
    found = next((part for part in item.walk() if part.type == "text"), None)
    return found.content if found else ""


def _task(item: SyntaxTreeNode, box: "re.Match[str] | None") -> Node:
    words = [part for node in item.walk() if node.type == "inline" for part in _inlines(node)]
    words[:1] = _words(words[0]["text"][4:], words[0].get("marks"))
    state = "DONE" if box and box[1] in "xX" else "TODO"
    return {"type": "taskItem", "attrs": {"localId": f"task-{_line(item)}", "state": state}, "content": words}


def _list(node: SyntaxTreeNode) -> Node:
    items = [{"type": "listItem", "content": _plain(item)} for item in node.children]
    return {"type": _KINDS[node.type], "content": items}


def _plain(parent: SyntaxTreeNode) -> list[Node]:
    """Return what a list item or a quote may hold: paragraphs, lists and code; of all else the words."""
    found: list[Node] = []
    for node in parent.children:
        if node.type in _PLAIN:
            block = _PLAIN[node.type](node)
            found += [block] if block else []
        else:
            found += [_paragraph(part) for part in node.walk() if part.type == "inline"]
    if not found or found[0]["type"] in _LISTS:
        found.insert(0, _of([]))
    return found


def _table(node: SyntaxTreeNode) -> Node:
    rows = [
        {"type": "tableRow", "content": [_cell(cell) for cell in row.children]}
        for part in node.children
        for row in part.children
    ]
    return {"type": "table", "content": rows}


def _cell(cell: SyntaxTreeNode) -> Node:
    return {"type": "tableHeader" if cell.type == "th" else "tableCell", "content": [_paragraph(cell)]}


def _inlines(parent: SyntaxTreeNode, marks: tuple[Node, ...] = ()) -> list[Node]:
    return [part for node in parent.children for part in _inline(node, marks)]


def _inline(node: SyntaxTreeNode, marks: tuple[Node, ...]) -> list[Node]:
    if node.type in ("text", "image"):
        return _words(node.content, marks)
    if node.type == "html_inline":
        return _words(without_tags(node), marks)
    if node.type in ("softbreak", "hardbreak"):
        return [{"type": "hardBreak"}]
    if node.type == "code_inline":
        return _words(node.content, [*(mark for mark in marks if mark["type"] == "link"), {"type": "code"}])
    return _inlines(node, _with_mark(node, marks))


def _with_mark(node: SyntaxTreeNode, marks: tuple[Node, ...]) -> tuple[Node, ...]:
    mark: Node = {"type": _MARKS.get(node.type, "")}
    if node.type == "link" and ADDRESS.fullmatch(target := str(node.attrs.get("href", ""))):
        mark = {"type": "link", "attrs": {"href": target}}
    known = {known["type"] for known in marks}
    return (*marks, mark) if mark["type"] and mark["type"] not in known else marks


def _words(text: str, marks: Iterable[Node] | None = None) -> list[Node]:
    found = list(marks or ())
    if not text:
        return []
    return [{"type": "text", "text": text, "marks": found} if found else {"type": "text", "text": text}]


_BLOCK: dict[str, Callable[[SyntaxTreeNode], Node | None]] = {
    "heading": _heading,
    "fence": _code,
    "code_block": _code,
    "bullet_list": _top_list,
    "ordered_list": _top_list,
    "blockquote": lambda node: {"type": "blockquote", "content": _plain(node)},
    "hr": lambda node: {"type": "rule"},
    "table": _table,
    "html_block": _html,
}

_PLAIN: dict[str, Callable[[SyntaxTreeNode], Node | None]] = {
    "paragraph": _paragraph,
    "fence": _code,
    "code_block": _code,
    "bullet_list": _list,
    "ordered_list": _list,
    "html_block": _html,
}
