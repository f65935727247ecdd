"""The fields of Jira's payloads that we read, and nothing else of them.

Cloud and Data Center differ, versions differ, and bodies that Automation sends are written by hand: ids come as text or
as numbers, texts as wiki markup or as ADF. So a value may be of any type, and `text` takes what is one.

https://developer.atlassian.com/cloud/jira/platform/webhooks/
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from bot.core.errors import Rejected
from bot.core.untrusted import clean

_KEY = re.compile(r"([A-Z][A-Z0-9_]{0,99})-[1-9][0-9]{0,17}")
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_UNNAMED = re.compile(r"[^\w .'-]")


def text(value: Any) -> str:
    """Return what is a text, or a number as one; of anything else nothing."""
    if isinstance(value, str):
        return clean(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else ""


class Person(Struct, frozen=True, rename="camel"):
    """A user: of Cloud with an account id, of Data Center with a key and a name, of the time between with all of them."""

    account_id: Any = None
    key: Any = None
    name: Any = None
    display_name: Any = None
    account_type: Any = None
    active: Any = None

    @property
    def id(self) -> str:
        """By what the person is told apart for good; "" where that is not known."""
        found = self.account_id or self.key or self.name
        return found if isinstance(found, str) and _ID.fullmatch(found) else ""

    @property
    def ids(self) -> set[str]:
        """Everything by which a text or a change may name the person."""
        return {text(self.account_id), text(self.key), text(self.name)} - {""}

    @property
    def login(self) -> str:
        """What to call the person: the name of Data Center; the displayed one of Cloud, which anybody may bear, with the id."""
        if not self.account_id:
            return text(self.name) or self.id
        shown = " ".join(_UNNAMED.sub(" ", text(self.display_name)).split())[:60]
        return f"{shown} ({self.id})" if shown else self.id

    @property
    def human(self) -> bool:
        """Whether this may be one of the team: no app, no customer of a help desk, not deactivated."""
        return self.active is not False and text(self.account_type) in ("", "atlassian")


class Visibility(Struct, frozen=True):
    """Who alone may see a comment: a role or a group."""

    type: Any = None
    value: Any = None


class Comment(Struct, frozen=True, rename="camel"):
    """A comment, of a webhook or of the API."""

    id: Any = None
    body: Any = None
    author: Person | None = None
    update_author: Person | None = None
    created: Any = None
    updated: Any = None
    visibility: Visibility | None = None
    jsd_public: Any = None

    @property
    def circle(self) -> str:
        """Who may see it, for an answer in the same circle: "" for all, `internal`, `role:NAME`, `group:NAME`."""
        if self.visibility and (value := text(self.visibility.value)):
            return f"{'group' if text(self.visibility.type) == 'group' else 'role'}:{value}"
        return "internal" if self.jsd_public is False else ""


class Change(Struct, frozen=True):
    """What became of one field."""

    field: Any = None
    before: Any = msgspec.field(default=None, name="fromString")
    after: Any = msgspec.field(default=None, name="toString")
    to: Any = None
    to_account: Any = msgspec.field(default=None, name="tmpToAccountId")


class Changelog(Struct, frozen=True):
    """The changes of one update."""

    id: Any = None
    items: list[Change] | None = None


class Fields(Struct, frozen=True):
    """The fields of an issue."""

    summary: Any = None
    description: Any = None
    labels: Any = None
    assignee: Person | None = None
    creator: Person | None = None
    reporter: Person | None = None


class Issue(Struct, frozen=True):
    """An issue."""

    id: Any = None
    key: Any = None
    fields: Fields | None = None

    @property
    def project(self) -> str:
        """The key of its project. Raises Rejected where the issue's key is none."""
        found = _KEY.fullmatch(text(self.key))
        if found is None:
            raise Rejected("body", "expected issue.key in the form ABC-12")
        return found[1]

    @property
    def name(self) -> str:
        """What stays the same when it moves to another project."""
        return text(self.id) or text(self.key)


class Payload(Struct, frozen=True):
    """The fields that we read, of any event."""

    event: Any = msgspec.field(default=None, name="webhookEvent")
    kind: Any = msgspec.field(default=None, name="issue_event_type_name")
    timestamp: Any = None
    user: Person | None = None
    issue: Issue | None = None
    comment: Comment | None = None
    changelog: Changelog | None = None

    @property
    def changes(self) -> Iterator[tuple[str, Change]]:
        """Every change with the name of its field, in lower case."""
        for item in (self.changelog.items if self.changelog else None) or []:
            yield text(item.field).lower(), item

    def change(self, field: str) -> Change | None:
        """The change of one field."""
        return next((item for name, item in self.changes if name == field), None)
