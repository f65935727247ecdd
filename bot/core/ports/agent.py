"""What the loop sees: Model, Tool, RunLog, and the caps of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct

from bot.core.conversation import State
from bot.core.events import Action, Draft, Event, Observation
from bot.core.ports.boxes import Sandbox


class ToolCall(Struct, frozen=True):
    """A tool call as the model wrote it; `arguments` is its own text."""

    id: str
    name: str
    arguments: str


class Reply(Struct, frozen=True):
    """One answer of a model."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    cut: bool = False
    """Whether it ends where the server's limit on the length of answers was reached."""


class Model(Protocol):
    """A language model. Messages and tools are in the shape of the chat completions API, images as `image_url` parts."""

    name: str

    async def complete(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
        """Return one answer. Raises ModelError, ContextTooLong, ImagesRefused (for a prompt that has images)."""
        ...


class RunLog(Protocol):
    """The log of one conversation in the hands of a run."""

    events: list[Event]
    state: State

    async def append(self, *drafts: Draft) -> list[Event]:
        """Add events at the end, those of other people that came meanwhile taken in first. Raises LeaseLost."""
        ...

    async def refresh(self) -> list[Event]:
        """Take in and return what others have added."""
        ...


class Tool(Protocol):
    """Something the agent can do. Built as `factory()`; found by entry point."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""

    def action(self, arguments: Mapping[str, Any]) -> Action:
        """Turn arguments into an action. Raises UserError saying what was expected."""
        ...

    async def execute(self, action: Action, sandbox: Sandbox) -> Observation:
        """Carry it out. Raises SandboxError."""
        ...


@dataclass(frozen=True)
class Limits:
    """Caps of one run. Time is in minutes, money in US dollars."""

    steps: int = 100
    cost_usd: float = 5.0
    minutes: float = 30.0
    command_seconds: float = 120.0
