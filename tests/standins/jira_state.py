"""What the small Jira remembers, and its two markups as far as it needs them."""

import re
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
STATES = ("To Do", "In Progress", "In Review", "Done")


class Refusal(Exception):
    """What the API answers instead."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Enrolled:
    """Somebody with an account here. `token` signs in over the API, as Jira.token gives it."""

    name: str
    id: str
    token: str
    kind: str
    member: bool


@dataclass
class Said:
    """A comment."""

    id: str
    key: str
    author: Enrolled
    body: Any
    created: str
    updated: str
    properties: Json = field(default_factory=dict)
    visibility: Json | None = None
    editor: Enrolled | None = None


@dataclass
class Ticket:
    """An issue."""

    id: str
    key: str
    author: Enrolled
    summary: str
    description: Any
    created: str
    updated: str
    labels: list[str] = field(default_factory=list)
    assignee: Enrolled | None = None
    state: str = "To Do"
    links: list[Json] = field(default_factory=list)
    histories: list[Json] = field(default_factory=list)
    files: list[tuple[Json, bytes]] = field(default_factory=list)


@dataclass
class Delivery:
    """One webhook delivery: what was sent, and what came back (status 0 when nothing did)."""

    id: str
    event: str
    body: bytes
    status: int = 0
    answer: str = ""


def plain(node: Any) -> str:
    """Return a document as wiki markup, roughly, as Cloud's webhooks carry it."""
    if not isinstance(node, dict):
        return node if isinstance(node, str) else ""
    inner = "".join(plain(child) for child in node.get("content", []))
    if node.get("type") == "text":
        marks = {mark["type"] for mark in node.get("marks", [])}
        return f"{{{{{node['text']}}}}}" if "code" in marks else str(node["text"])
    if node.get("type") == "mention":
        return f"[~accountid:{node['attrs']['id']}]"
    before, after = _AROUND.get(node.get("type", ""), ("", ""))
    return f"{before}{inner}{after}"


_AROUND = {
    "codeBlock": ("{code}\n", "\n{code}\n"),
    "hardBreak": ("", "\n"),
    "paragraph": ("", "\n\n"),
    "heading": ("h1. ", "\n\n"),
    "taskItem": ("* ", "\n"),
}


def document(text: str) -> Json:
    """Return wiki markup as a document, with its mentions and no other markup."""
    pieces = (piece for piece in re.split(r"(\[~accountid:[^\]]+\])", text) if piece)
    return {"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [_piece(p) for p in pieces]}]}


def _piece(piece: str) -> Json:
    if piece.startswith("[~accountid:"):
        return {"type": "mention", "attrs": {"id": piece[12:-1], "text": "@somebody"}}
    return {"type": "text", "text": piece}
