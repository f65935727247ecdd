"""Markdown as a tree, for the two markups that Jira takes it in. Pure."""

import re

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

ADDRESS = re.compile(r"https?://[^\s\[\]{}|\\<>\"!*]{1,1000}")
"""What may become a link, in whatever markup."""

BOX = re.compile(r"\[([ xX])\] ")
"""With what a task begins."""

_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>|<!--.*?(?:-->|\Z)", re.DOTALL)
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9#+-]{0,29}")


def parse(text: str) -> SyntaxTreeNode:
    """Return the tree of a Markdown text."""
    return SyntaxTreeNode(_PARSER.parse(text))


def without_tags(node: SyntaxTreeNode) -> str:
    """Return the words between HTML tags: our own texts fold things away with them, which Jira does not know."""
    return _TAG.sub("", node.content).strip("\n")


def language(node: SyntaxTreeNode) -> str:
    """Return the language of a code block, "" where it has none."""
    found = _LANGUAGE.match(node.info) if node.type == "fence" else None
    return found[0] if found else ""
