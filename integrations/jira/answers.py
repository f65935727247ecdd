"""The fields of Jira's answers that we read, where they are not those of its payloads."""

from typing import Any

import msgspec
from msgspec import Struct

from integrations.jira.payloads import Change, Comment, Fields, Person

LONGEST_FILE = 100_000
"""Bytes of an attached text."""


class Comments(Struct, frozen=True):
    """A page of comments."""

    comments: list[Comment] = []
    total: int = 0


class Status(Struct, frozen=True):
    """A state of a workflow."""

    name: str = ""


class Transition(Struct, frozen=True):
    """A way out of the state in which an issue is."""

    id: str
    to: Status = Status()


class Target(Struct, frozen=True):
    """Where a link leads."""

    url: str = ""
    title: str = ""


class Link(Struct, frozen=True):
    """A remote link of an issue."""

    object: Target = Target()


class At(Struct, frozen=True):
    """Something that has an address."""

    url: str = ""


class Branch(Struct, frozen=True):
    """A branch, and the repository that it is in."""

    repository: At = At()


class Development(Struct, frozen=True, rename="camel"):
    """What one forge has told Jira about an issue."""

    repositories: list[At] = []
    branches: list[Branch] = []
    pull_requests: list[At] = []

    @property
    def addresses(self) -> list[str]:
        """Of the repositories and changes."""
        found = [*self.pull_requests, *(branch.repository for branch in self.branches), *self.repositories]
        return [at.url for at in found]


class Attachment(Struct, frozen=True, rename="camel"):
    """A file of an issue."""

    id: str
    filename: str = ""
    mime_type: str = ""
    size: int = 0
    created: Any = None

    @property
    def is_text(self) -> bool:
        """Whether it can be read as text, as a whole."""
        kind = self.mime_type.partition(";")[0]
        return self.size <= LONGEST_FILE and (kind.startswith("text/") or kind.endswith(("json", "xml", "yaml")))


class History(Struct, frozen=True):
    """One update of an issue, as its history keeps it."""

    id: Any = None
    author: Person | None = None
    created: Any = None
    items: list[Change] = []


class Histories(Struct, frozen=True):
    """The updates of an issue."""

    histories: list[History] = []


class FoundFields(Fields, frozen=True):
    """The fields of an issue with what the API adds to them."""

    created: Any = None
    comment: Comments | None = None
    attachment: list[Attachment] | None = None


class Found(Struct, frozen=True):
    """An issue, as the API shows it."""

    id: str
    key: str
    fields: FoundFields = FoundFields()
    changelog: Histories = Histories()


class Page(Struct, frozen=True):
    """A page of what was searched for: Cloud names the next by a token, Data Center counts."""

    issues: list[Found] = []
    total: int = 0
    next: str | None = msgspec.field(default=None, name="nextPageToken")
