"""A run's log over MemoryLog, a box that plays results, and the way to let the agent work on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bot.agent import loop
from bot.agent.tools.bash import Bash
from bot.agent.tools.edit import Edit
from bot.agent.tools.finish import FinishTool
from bot.agent.tools.tasks import Tasks
from bot.agent.tools.think import ThinkTool
from bot.core.conversation import State
from bot.core.errors import SandboxError
from bot.core.events import Admitted, Asked, Draft, Event, Fact, RunStarted
from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.outbound import Outcome
from bot.core.ports import CommandResult, Limits, Model, Tool
from bot.testing.log import MemoryLog
from bot.testing.models import ScriptedModel


class ListLog:
    """A RunLog over a MemoryLog that nobody else writes."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.state = State()
        self.appends: list[int] = []
        self._log = MemoryLog()

    async def append(self, *drafts: Draft) -> list[Event]:
        new = await self._log.append("c", drafts, expected=self.state.seq)
        self.appends.append(len(new))
        self.take(new)
        return new

    async def refresh(self) -> list[Event]:
        return []

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.state.apply(event)
            self.events.append(event)

    async def asked(self, trigger: Trigger) -> None:
        """Let somebody with the right ask."""
        [event] = await self.append(Draft(Asked(trigger=trigger), "user"))
        await self.append(Draft(Admitted(request=event.seq, user="u")))

    async def began(self, run: str = "r1") -> None:
        await self.append(Draft(RunStarted(run=run, holder="h", requests=[1])))

    def cut(self, length: int) -> "ListLog":
        """The log as a killed worker left it after so many events."""
        shorter = ListLog()
        shorter.take(self.events[:length])
        shorter._log.events["c"] = list(self.events[:length])
        return shorter

    def facts(self, *kinds: type[Fact]) -> list[Any]:
        return [e.fact for e in self.events if isinstance(e.fact, kinds)]


@dataclass
class Box:
    """A box with files in memory, which answers commands from a table or by a function."""

    state: str = "box"
    files: dict[str, bytes] = field(default_factory=dict)
    outputs: Mapping[str, CommandResult | Exception] = field(default_factory=dict)
    commands: list[tuple[str, float, str]] = field(default_factory=list)
    on_run: Callable[[str], None] = lambda _command: None

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:  # noqa: ASYNC109
        self.commands.append((command, timeout, stdin))
        self.on_run(command)
        result = self.outputs.get(command, CommandResult(f"ran {command}\n", 0, "/workspace", 0.01))
        if isinstance(result, Exception):
            raise result
        return result

    async def read(self, path: str, *, limit: int = 64 * 1024 * 1024) -> bytes:
        if path not in self.files:
            raise SandboxError(f"there is no file {path}")
        if len(self.files[path]) > limit:
            raise SandboxError(f"{path} has {len(self.files[path])} bytes, more than {limit}")
        return self.files[path]

    async def write(self, path: str, data: bytes) -> None:
        self.files[path] = data

    async def interrupt(self) -> None: ...
    async def pause(self) -> None: ...
    async def resume(self) -> None: ...
    async def remove(self) -> None: ...
    async def close(self) -> None: ...


TOOLS: dict[str, Tool] = {
    "bash": Bash(),
    "edit": Edit(),
    "think": ThinkTool(),
    "tasks": Tasks(),
    "finish": FinishTool(),
}


def trigger(text: str = "fix the login", **fields: Any) -> Trigger:
    verb = fields.pop("verb", "work")
    given = {
        "thread": Thread("github", "acme/shop", "7"),
        "actor": Account("github", "1", "ada"),
        "request": Request(verb, text),
        "meaning": text,
        "by": "mention",
        "origin": Origin("comment", "c1"),
        "title": "Login redirects twice",
        "body": "Open /login and look.",
    }
    return Trigger(**(given | fields))


@dataclass
class Bench:
    """Everything that a run needs, ready to be bent by a test."""

    log: ListLog
    box: Box
    tools: Mapping[str, Tool]
    limits: Limits = field(default_factory=Limits)
    now: float = 0.0

    async def work(self, model: Model | list[dict[str, Any]]) -> Outcome:
        playing = ScriptedModel(model) if isinstance(model, list) else model
        return await loop.work(self.log, playing, self.tools, self.box, self.limits, lambda: self.now)


@pytest.fixture
async def log() -> ListLog:
    """A log in which somebody has asked and a run has begun."""
    log = ListLog()
    await log.asked(trigger())
    await log.began()
    return log


@pytest.fixture
def bench(log: ListLog) -> Bench:
    return Bench(log, Box(), TOOLS)


@pytest.fixture
def kit() -> Any:
    """The parts by name, for tests that make several logs."""
    return type(
        "Kit", (), {"Log": ListLog, "Box": Box, "Bench": Bench, "tools": TOOLS, "trigger": staticmethod(trigger)}
    )
