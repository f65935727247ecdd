"""How much there is to do: what is open and what stands in line. All of it is counted in the database, for every worker alike."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class Load(Struct, frozen=True):
    """What is open at this moment."""

    requests: Mapping[str, int]
    """Open requests by phase: asked, waiting, admitted."""
    oldest: float | None
    """When the oldest of those was asked that wait for us, in Unix seconds: one that waits for its person's account is none."""
    conversations: Mapping[str, int]
    """Conversations by status."""


class Queue(Protocol):
    """The requests that are open, seen as a whole."""

    async def load(self) -> Load:
        """Count what is open."""
        ...
