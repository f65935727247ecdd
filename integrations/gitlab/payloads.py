"""The fields of GitLab's payloads that we read, and nothing else of them.

Real payloads are looser than the documentation: older versions send no user id, no action of a note and no discussion,
and any text may be null. So everything may be missing that we can do without.

https://docs.gitlab.com/user/project/integrations/webhook_events/
"""

from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

T = TypeVar("T")

_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Person(Struct, frozen=True):
    """A user, of whatever kind."""

    id: _Id | None = None
    username: str | None = None
    re_requested: bool | None = None
    """Of a reviewer: whether the review was asked for anew."""


class Label(Struct, frozen=True):
    """A label of a project or a group."""

    title: str | None = None


class Changed(Struct, Generic[T], frozen=True):
    """What an update changed: before and after."""

    previous: T | None = None
    current: T | None = None


class Place(Struct, frozen=True):
    """A project."""

    path_with_namespace: str | None = None


class Position(Struct, frozen=True):
    """Where in a diff a note stands."""

    new_path: str | None = None
    old_path: str | None = None
    new_line: int | None = None
    old_line: int | None = None


class Diff(Struct, frozen=True):
    """The diff around a note, as older versions send it."""

    diff: str | None = None


class Item(Struct, frozen=True):
    """An issue, a work item or a merge request."""

    iid: _Id | None = None
    title: str | None = None
    description: str | None = None
    author_id: _Id | None = None
    url: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class Attributes(Item, frozen=True):
    """`object_attributes`: the item or the note that the event is about."""

    id: _Id | None = None
    action: str | None = None
    type: str | None = None
    note: str | None = None
    noteable_type: str | None = None
    discussion_id: str | None = None
    system: bool | None = None
    internal: bool | None = None
    position: Position | int | None = None
    st_diff: Diff | str | None = None


class Payload(Struct, frozen=True):
    """The fields that we read, of the events that have rows."""

    object_kind: str | None = None
    user: Person | None = None
    project: Place | None = None
    object_attributes: Attributes | None = None
    issue: Item | None = None
    merge_request: Item | None = None
    labels: list[Label] | None = None
    assignees: list[Person] | None = None
    reviewers: list[Person] | None = None
    changes: dict[str, msgspec.Raw] | None = None
    """Read with `changed`."""


class Kind(Struct, frozen=True):
    """Of an event that may have no row: what it is. Those of members and of whole instances have an `event_name` alone."""

    object_kind: str | None = None
    event_name: str | None = None


def changed(payload: Payload, name: str, kind: type[T]) -> Changed[T] | None:
    """Return what an update changed of one thing; None where it did not, or tells so in a form that we do not know.

    GitLab sends an object with `previous` and `current`, of reviewers also a list of these two.
    """
    raw = (payload.changes or {}).get(name)
    if raw is None:
        return None
    try:
        found = msgspec.json.decode(raw, type=Changed[kind] | tuple[kind | None, kind | None])  # type: ignore[valid-type]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, Changed) else Changed(*found)
