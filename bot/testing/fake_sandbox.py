"""A box for tests that need no machine: files in memory, commands by a script."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.core.errors import SandboxError, SandboxGone
from bot.core.ports import CommandResult


@dataclass(frozen=True)
class Expected:
    """A line of a script: the command that is to come, and what it gives. `command` may be a compiled pattern."""

    command: str | re.Pattern[str]
    output: str = ""
    exit_code: int | None = 0
    timed_out: bool = False


class FakeSandbox:
    """A box without a machine: files in memory, commands by a script that it refuses to go past."""

    def __init__(
        self, script: Iterable[Expected | tuple[str, str]] = (), files: Mapping[str, bytes] | None = None
    ) -> None:
        self._script = [line if isinstance(line, Expected) else Expected(*line) for line in script]
        self.files = {_absolute(path): data for path, data in (files or {}).items()}
        self.commands: list[str] = []
        """What has been run."""
        self.interrupts = 0
        self.paused = self.removed = False

    @property
    def state(self) -> str:
        return '{"box": "fake"}'

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:  # noqa: ASYNC109
        self._require()
        self.commands.append(command)
        if not self._script:
            raise AssertionError(f"the script is at its end, and there came {command!r}")
        line = self._script.pop(0)
        fits = line.command.search(command) if isinstance(line.command, re.Pattern) else line.command == command
        if not fits:
            raise AssertionError(f"the script has {line.command!r} next, and there came {command!r}")
        return CommandResult(line.output, line.exit_code, "/workspace", 0.01, timed_out=line.timed_out)

    async def start_over(self) -> None:
        """There is no session, and nothing goes on running."""

    async def interrupt(self) -> None:
        self._require()
        self.interrupts += 1

    async def read(self, path: str, *, limit: int = 64 * 1024 * 1024) -> bytes:
        self._require()
        data = self.files.get(_absolute(path))
        if data is None:
            raise SandboxError(f"No such file or directory: {path}")
        if len(data) > limit:
            raise SandboxError(f"{path} is longer than {limit} bytes")
        return data

    async def write(self, path: str, data: bytes) -> None:
        self._require()
        self.files[_absolute(path)] = data

    @property
    def lays_over(self) -> bool:
        return False

    async def lay_over(self, tree: Path, own: Mapping[str, bytes]) -> bool:
        return False

    async def pause(self) -> None:
        self._require()
        self.paused = True

    async def resume(self) -> None:
        self._require()
        self.paused = False

    async def remove(self) -> None:
        self.removed = True

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _require(self) -> None:
        if self.removed:
            raise SandboxGone("this box was removed")


def _absolute(path: str) -> str:
    return os.path.normpath(os.path.join("/workspace", path))
