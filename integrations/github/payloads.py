"""The fields of GitHub's payloads that we read, and nothing else of them.

Real payloads are looser than their published schemas: a body, a title, a sender or a user may be null, fields of
Enterprise may be there and others not. So everything may be missing that we can do without.

https://docs.github.com/webhooks/webhook-events-and-payloads
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from bot.core.errors import Rejected

_Number = Annotated[int, Meta(ge=1, le=2**53)]
_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Person(Struct, frozen=True):
    """A user, bot, organisation or mannequin."""

    login: str = ""
    id: _Id = 0
    type: str | None = None

    @property
    def bot(self) -> bool:
        """Whether this is an app or another bot."""
        return self.type == "Bot" or self.login.endswith("[bot]")


class Present(Struct, frozen=True):
    """An object of which it only matters that it is there."""


class Item(Struct, frozen=True):
    """An issue or a pull request."""

    number: _Number
    title: str | None = None
    body: str | None = None
    user: Person | None = None
    html_url: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    pull_request: Present | None = None


class Comment(Struct, frozen=True):
    """A comment, a remark on code, or a review; in an answer of the API a reaction as well."""

    id: _Id
    body: str | None = None
    user: Person | None = None
    html_url: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    in_reply_to_id: _Id | None = None
    path: str | None = None
    line: int | None = None
    original_line: int | None = None
    diff_hunk: str | None = None


class Named(Struct, frozen=True):
    """A label."""

    name: str | None = None


class Place(Struct, frozen=True):
    """A repository."""

    full_name: str


class Was(Struct, frozen=True):
    """What a text was before an edit."""

    before: str | None = msgspec.field(default=None, name="from")


class Changes(Struct, frozen=True):
    """What an edit changed; of an issue that moved here, where it came from."""

    title: Was | None = None
    body: Was | None = None
    old_issue: Present | None = None
    old_repository: Present | None = None


class Maker(Struct, frozen=True):
    """The App that made something."""

    id: _Id = 0
    client_id: str | None = None


class CheckRun(Struct, frozen=True):
    """A check run."""

    external_id: str | None = None
    app: Maker | None = None


class CheckSuite(Struct, frozen=True):
    """All check runs of one App at a commit."""

    head_branch: str | None = None
    pull_requests: tuple[Item, ...] | None = None
    latest_check_runs_count: int | None = None
    app: Maker | None = None


class Pressed(Struct, frozen=True):
    """A button of a check run."""

    identifier: str | None = None


class Payload(Struct, frozen=True):
    """The fields that we read, of any event."""

    action: str | None = None
    repository: Place | None = None
    sender: Person | None = None
    issue: Item | None = None
    pull_request: Item | None = None
    comment: Comment | None = None
    review: Comment | None = None
    label: Named | None = None
    assignee: Person | None = None
    requested_reviewer: Person | None = None
    changes: Changes | None = None
    check_run: CheckRun | None = None
    check_suite: CheckSuite | None = None
    requested_action: Pressed | None = None

    @property
    def item(self) -> Item:
        """The issue or pull request that it is about."""
        item = self.pull_request or self.issue
        if item is None:
            raise Rejected("body", "expected an issue or a pull request in the payload")
        return item

    @property
    def change(self) -> bool:
        """Whether the item is a pull request."""
        return self.pull_request is not None or (self.issue is not None and self.issue.pull_request is not None)
