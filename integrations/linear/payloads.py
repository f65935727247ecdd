"""The fields of Linear's payloads that we read, and nothing else of them.

Real payloads are looser than the published schema, and older ones lack the actor and the identifier, so everything may be
missing that we can do without. The sweep reads the same shapes from the API.

https://linear.app/developers/webhooks, https://linear.app/developers/agent-interaction
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct


class Head(Struct, frozen=True):
    """What every delivery has."""

    type: str | None = None
    action: str | None = None
    webhookTimestamp: float | None = None  # noqa: N815  # names are Linear's, here and below
    """When it was sent, in milliseconds since 1970. It is part of what is signed."""


class Person(Struct, frozen=True):
    """A user, an app's user, an integration. `type` is there for actors alone, `app` where we asked for it."""

    id: str = ""
    name: str | None = None
    type: str | None = None
    app: bool | None = None


class Team(Struct, frozen=True):
    """A team; its key begins the identifiers of its issues."""

    key: str = ""


class Label(Struct, frozen=True):
    """A label."""

    id: str = ""
    name: str | None = None


class Issue(Struct, frozen=True):
    """An issue, as it stands in other objects."""

    id: str = ""
    identifier: str | None = None
    number: float | None = None
    title: str | None = None
    description: str | None = None
    url: str | None = None
    team: Team | None = None


class Comment(Struct, frozen=True):
    """A comment, as it stands in other objects."""

    id: str = ""
    body: str | None = None
    userId: str | None = None  # noqa: N815
    user: Person | None = None
    createdAt: str | None = None  # noqa: N815
    url: str | None = None

    def is_by(self, person: Person) -> bool:
        """Whether nothing says that somebody else wrote it."""
        return (self.userId or (self.user.id if self.user else "")) in ("", person.id)


class Session(Struct, frozen=True):
    """A session of the agent."""

    id: str = ""
    issue: Issue | None = None
    comment: Comment | None = None
    """The root of its thread: the comment that mentions us, or one that Linear itself has written."""
    sourceCommentId: str | None = None  # noqa: N815
    sourceComment: Comment | None = None  # noqa: N815
    creator: Person | None = None
    createdAt: str | None = None  # noqa: N815
    url: str | None = None


class Content(Struct, frozen=True):
    """What an activity says."""

    body: str | None = None


class Activity(Struct, frozen=True):
    """What somebody says in a session."""

    id: str = ""
    content: Content | None = None
    body: str | None = None
    signal: str | None = None
    user: Person | None = None
    sourceCommentId: str | None = None  # noqa: N815
    sourceComment: Comment | None = None  # noqa: N815
    agentSession: Session | None = None  # noqa: N815
    createdAt: str | None = None  # noqa: N815


class Rule(Struct, frozen=True):
    """Guidance that a workspace or a team gives to agents."""

    body: str | None = None


class Data(Issue, frozen=True):
    """The issue or the comment that an event is about."""

    body: str | None = None
    issue: Issue | None = None
    user: Person | None = None
    creatorId: str | None = None  # noqa: N815
    userId: str | None = None  # noqa: N815
    parentId: str | None = None  # noqa: N815
    botActor: Any = None  # noqa: N815
    externalUser: Any = None  # noqa: N815
    labels: Sequence[Label] | None = None
    labelIds: Sequence[str] | None = None  # noqa: N815
    createdAt: str | None = None  # noqa: N815
    updatedAt: str | None = None  # noqa: N815
    editedAt: str | None = None  # noqa: N815


class Was(Struct, frozen=True):
    """What fields were before an update."""

    body: str | None = None
    labelIds: Sequence[str] | None = None  # noqa: N815


class Payload(Head, frozen=True):
    """The fields that we read, of any event."""

    actor: Person | None = None
    data: Data | None = None
    updatedFrom: Was | None = None  # noqa: N815
    url: str | None = None
    agentSession: Session | None = None  # noqa: N815
    agentActivity: Activity | None = None  # noqa: N815
    promptContext: str | None = None  # noqa: N815
    guidance: Sequence[Rule] | None = None
    previousComments: Sequence[Comment] | None = None  # noqa: N815
