"""Answers of the GraphQL API: the fields that documents.py asks for. Pure."""

from typing import Generic, TypeVar

from msgspec import Struct

# Names are Linear's, in camel case.

T = TypeVar("T")


class Nodes(Struct, Generic[T], frozen=True):
    """A list."""

    nodes: list[T] = []


class Made(Struct, frozen=True):
    """What was created, changed or found."""

    id: str = ""
    url: str | None = None


class User(Struct, frozen=True):
    """A user; `app` for those of apps and agents."""

    id: str
    name: str = ""
    displayName: str = ""  # noqa: N815
    active: bool = False
    app: bool = True
    guest: bool = True


class State(Struct, frozen=True):
    """A state of issues."""

    id: str = ""
    type: str = ""
    position: float = 0.0


class Team(Struct, frozen=True):
    """A team with its started states."""

    states: Nodes[State]


class Issue(Struct, frozen=True):
    """An issue, as far as beginning it needs."""

    id: str
    state: State
    team: Team
    delegate: Made | None = None


class Suggestion(Struct, frozen=True):
    """A repository that may be meant; `confidence` is from 0 to 1."""

    repositoryFullName: str  # noqa: N815
    confidence: float
