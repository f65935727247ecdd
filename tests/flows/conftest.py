"""The stories on a real store, with a provider, a bus, boxes and a forge in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from msgspec import structs

from bot.agent.tools.bash import Bash
from bot.agent.tools.finish import FinishTool
from bot.auth.none import NoAuth
from bot.core.conversation import State, conversation_id, fold
from bot.core.errors import SandboxGone
from bot.core.inbound import Account, Delivery, Origin, Repository, Thread, Trigger
from bot.core.mentions import find_request
from bot.core.outbound import Change, OpenChange, Patch, React, Say
from bot.core.ports import AuthContext, CommandResult, Limits, Model, Rates, Sandbox, Services, Source, Workshop
from bot.core.secret import Secret
from bot.flows import desk, intake, report, runlog, work
from bot.store import Store
from bot.testing.integrations import RecordingClient
from bot.testing.models import ScriptedModel

THREAD = Thread("memory", "acme/app", "12")
CONVERSATION = conversation_id(THREAD)

RUN_THE_TESTS = {"text": "", "calls": [{"name": "bash", "arguments": {"command": "make test"}}]}
FINISH = {"text": "", "calls": [{"name": "finish", "arguments": {"title": "Mend it", "summary": "It works."}}]}


class Killed(BaseException):
    """The worker dies here."""


class MemoryBus:
    """The port Bus without Redis: it notes who was rung for."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[str, int]] = []
        self.runs: list[tuple[str, int]] = []

    async def acknowledge(self, conversation_id: str, seq: int) -> None:
        self.acknowledged.append((conversation_id, seq))

    async def run(self, conversation_id: str, seq: int, *, hurry: bool = False, begun: bool = False) -> None:
        self.runs.append((conversation_id, seq))

    async def grown(self, latest: Mapping[str, int]) -> None: ...

    async def follow(self, conversation_id: str) -> AsyncIterator[int]:
        while True:
            yield 0
            await asyncio.sleep(0.01)


@dataclass
class Box:
    """A box whose commands all succeed."""

    state: str
    commands: list[str] = field(default_factory=list)
    interrupted: bool = False
    resumed: bool = False
    hold: Any = None
    """An asyncio.Event that a command waits for, if there is one."""
    deaths: int = 0
    """How many commands it has yet to die of."""

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:  # noqa: ASYNC109
        self.commands.append(command)
        if self.deaths:
            self.deaths -= 1
            raise SandboxGone(self.state)
        if self.hold is not None:
            await self.hold.wait()
        return CommandResult("ok\n", 0, "/workspace", 0.0)

    async def interrupt(self) -> None:
        self.interrupted = True

    async def resume(self) -> None:
        self.resumed = True

    async def close(self) -> None: ...


class Boxes:
    """The port Sandboxes in memory; boxes outlive their worker."""

    name = "memory"

    def __init__(self) -> None:
        self.living: dict[str, Box] = {}
        self.made = 0
        self.hold: Any = None
        self.deaths = 0

    async def check(self) -> str:
        return "memory"

    async def create(self, labels: Mapping[str, str]) -> Sandbox:
        self.made += 1
        box = self.living[f"box-{self.made}"] = Box(f"box-{self.made}", hold=self.hold, deaths=self.deaths)
        box.remove = self._remover(box.state)  # type: ignore[attr-defined]
        return box  # type: ignore[return-value]

    def _remover(self, state: str) -> Any:
        async def remove() -> None:
            self.living.pop(state, None)

        return remove

    async def attach(self, state: str) -> Sandbox:
        if state not in self.living:
            raise SandboxGone(state)
        return self.living[state]  # type: ignore[return-value]

    async def remove(self, state: str) -> None:
        self.living.pop(state, None)


class Forge(RecordingClient):
    """The provider, which also remembers what it holds, so that what was done twice shows."""

    def made(self, kind: type) -> list[str]:
        """Topics of the things that now exist, each as often as it was made anew."""
        return sorted({call.topic for call in self.calls if isinstance(call, kind)})


class Pushes:
    """The port Checkout in memory."""

    def __init__(self) -> None:
        self.pushed: dict[str, str] = {}
        self.changed = True
        self.error: Exception | None = None

    async def fetch(self, source: Source, token: Secret) -> str:
        return "base"

    async def put(
        self, source: Source, commit: str, branch: str, box: Sandbox, author: str, co_author: str
    ) -> None: ...

    async def take(self, source: Source, base: str, branch: str, box: Sandbox, message: str) -> Change | None:
        return Change("c" * 40, base, (("a.py", 1, 1),), (message,)) if self.changed else None

    async def push(self, source: Source, change: Change, branch: str, token: Secret) -> None:
        if self.error:
            raise self.error
        self.pushed[branch] = change.commit

    async def tidy(self, unused_seconds: float) -> int:
        return 0

    async def rebase(self, source: Source, change: Change, branch: str, token: Secret) -> Change | None:
        return None

    async def patch(self, source: Source, change: Change) -> Patch:
        return Patch("From cccc: the work, s3cret\n")


class World:
    """Everything around a story, and the ways to make something happen."""

    def __init__(self, store: Store) -> None:
        self.forge, self.bus, self.boxes, self.pushes = Forge(), MemoryBus(), Boxes(), Pushes()
        self.store = store
        self.ids = 0
        auth = NoAuth(AuthContext(store.accounts, Secret("k" * 20), "http://here"))
        self.services = Services(
            integrations={"memory": self.forge}, auth=auth, log=store.log, conversations=store.conversations,
            inbox=store.inbox, leases=store.leases, accounts=store.accounts, vault=store.vault, bus=self.bus,
            clock=time.time, queue=store.queue, sweeps=store.sweeps, mask=lambda _: None, rates=Rates(), defaults={},
            redact=lambda text: text.replace("s3cret", "********"),
        )  # fmt: skip
        self.script: Sequence[Any] = [RUN_THE_TESTS, FINISH]
        self.model: Callable[[str], Model] = lambda _: ScriptedModel(list(self.script))

    def use(self, **parts: Any) -> None:
        """Replace services."""
        self.services = replace(self.services, **parts)

    @property
    def shop(self) -> Workshop:
        tools = {"bash": Bash(), "finish": FinishTool()}
        return Workshop(self.model, tools, self.boxes, self.pushes, Limits())  # type: ignore[arg-type]

    async def ask(self, text: str = "@onhand fix it", who: str = "alice", **more: Any) -> int:
        """Let somebody ask; return the request's seq."""
        self.ids += 1
        request = find_request(text, ["@onhand"])
        assert request is not None
        trigger = Trigger(
            THREAD, Account("memory", who, who), request, f"memory:{self.ids}", "mention",
            Origin("comment", str(self.ids)), title="Login redirect", repository=Repository("memory", "acme/app"),
        )  # fmt: skip
        trigger = structs.replace(trigger, **more)
        await intake.accept(self.services, Delivery("memory", f"d{self.ids}", "comment", (trigger,)))
        return self.bus.acknowledged[-1][1]

    async def admit(self, text: str = "@onhand fix it", who: str = "alice", **more: Any) -> int:
        """Let somebody ask, and the front desk do its part."""
        seq = await self.ask(text, who, **more)
        await desk.acknowledge(self.services, CONVERSATION, seq)
        return seq

    async def run(self, holder: str = "worker/1") -> float:
        return await work.run(self.services, self.shop, CONVERSATION, holder)

    async def run_and_die_with(self, kind: str) -> None:
        """Run until an event of this kind stands in the log, end the worker there, and lose its box."""
        append = self.store.log.append

        async def append_and_die(conversation_id: str, drafts: Any, *, expected: int) -> Any:
            events = await append(conversation_id, drafts, expected=expected)
            if any(draft.fact.kind == kind for draft in drafts):
                raise asyncio.CancelledError
            return events

        self.store.log.append = append_and_die  # type: ignore[method-assign]
        try:
            with pytest.raises(asyncio.CancelledError):
                await self.run()
        finally:
            self.store.log.append = append  # type: ignore[method-assign]
        self.boxes.living.clear()

    async def state(self) -> State:
        return fold(await self.store.log.read(CONVERSATION))

    def said(self) -> dict[str, str]:
        """What stands at the provider now, by topic."""
        return dict(self.forge.messages)


@pytest.fixture(autouse=True)
def _soon_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun and is not found is waited for a second, not ten, and a database for a moment, not a minute."""
    monkeypatch.setattr(report, "_IN_FLIGHT", 1.0)
    monkeypatch.setattr(report, "_ANOTHERS", 0.7)
    monkeypatch.setattr(runlog, "_PAUSES", (0.05, 0.1))


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


__all__ = ["OpenChange", "React", "Say"]
