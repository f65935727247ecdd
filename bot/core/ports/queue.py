"""How much there is to do: what is open and what stands in line. All of it is counted in the database, for every worker alike."""

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct


class Load(Struct, frozen=True):
    """What is open at this moment."""

    requests: Mapping[str, int]
    """Open requests by phase: asked, waiting, connected, admitted."""
    oldest: float | None
    """When the oldest of those was asked that wait for us, in Unix seconds: one that waits for its person's account is none."""
    conversations: Mapping[str, int]
    """Conversations by status."""


class InLine(Struct, frozen=True):
    """A conversation that waits for a run."""

    conversation_id: str
    seq: int
    """Of its first request that waits."""
    since: float
    """When that was admitted, in Unix seconds."""
    service: str
    """The platform on which it was asked."""


class Rates(Struct, frozen=True):
    """How many requests for work are admitted; 0 is no limit."""

    per_person: int = 0
    """In an hour, of one account."""
    per_repository: int = 0
    """In an hour, in one repository (or channel, or project)."""
    per_thread: int = 0
    """In an hour, in one thread."""
    loop: int = 0
    """In a thread within `loop_seconds`: what comes after them is taken for a loop."""
    loop_seconds: float = 600.0


Circle = Literal["person", "place", "thread"]
"""Whose requests are counted together with one: those of its account, its repository or its thread."""


class Queue(Protocol):
    """The requests that are open, seen as a whole."""

    async def load(self) -> Load:
        """Count what is open."""
        ...

    async def line(self) -> list[InLine]:
        """Return the conversations that wait for a run and have none, the oldest first."""
        ...

    async def admitted(self, conversation_id: str, seq: int, circle: Circle, since: float) -> list[float]:
        """Return when requests for work in the circle of this one were admitted since then, newest first.

        Those that were asked before it and not decided upon yet count as well, as of when they were asked, whatever becomes of
        them: of many that come at once, each sees those before it.
        """
        ...
