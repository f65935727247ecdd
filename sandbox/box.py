"""One live box as the stories use it, the same for every backend: commands and files through a connection."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from bot.core.errors import SandboxError, SandboxGone
from bot.core.ports import CommandResult
from bot.core.secret import Secret
from sandbox.connection import Connection, Peer, connect
from sandbox.inside.wire import MAX_LINE

logger = logging.getLogger(__name__)

_SLACK = 30.0  # seconds beyond a command's own limit, in which the server ends it
_FILE_SECONDS = 120.0
_MOST_OUTPUT = 256 * 1024
_ENTER = b'builtin test . -ef "$PWD" || builtin cd -- "$PWD"'  # the shell may be in the folder that was there before


class Engine(Protocol):
    """What only the backend can do to a box of its own."""

    @property
    def lays_over(self) -> bool:
        """Whether `lay_over` can work."""
        ...

    async def lay_over(self, peer: Peer, tree: Path, own: Mapping[str, bytes]) -> bool:
        """Do what the port's lay_over says, seen from the process that serves the box. Doing it twice is harmless."""
        ...

    async def lay_again(self, peer: Peer) -> bool:
        """Do it again for a box that was started again, once; False where it had not been done. Raises SandboxError."""
        ...

    async def pause(self) -> None:
        """Stop every process of the box. Doing it twice is harmless. Raises SandboxGone."""
        ...

    async def resume(self) -> None:
        """Let them go on. Doing it twice is harmless. Raises SandboxGone."""
        ...

    async def remove(self) -> None:
        """End the box and delete what is left of it. Doing it twice is harmless."""
        ...


class Box:
    """Implements the port Sandbox. Connects when first used, and again when the line was lost but the box is alive."""

    def __init__(self, state: str, path: Path, key: Secret, engine: Engine) -> None:
        self._state, self._path, self._key, self._engine = state, path, key, engine
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._removed = False

    @property
    def state(self) -> str:
        return self._state

    async def connected(self) -> Connection:
        """Return the kept connection, a new one where it is lost. Raises SandboxGone, SandboxError.

        Over a new one nothing is asked before the box sees the working copy that was laid over its workspace.
        """
        if self._connection is not None and not self._connection.closed:
            return self._connection
        async with self._connecting:
            if self._removed:
                raise SandboxGone("this box was removed")
            if self._connection is None or self._connection.closed:
                connection = await connect(self._path, self._key)
                try:
                    await _laid(connection, self._engine.lay_again)
                except BaseException:
                    connection.close()
                    raise
                self._connection = connection
            return self._connection

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:  # noqa: ASYNC109
        connection = await self.connected()
        given = stdin.encode(errors="replace")
        try:
            fields, body = await connection.ask(
                "run",
                command.encode(errors="replace") + given,
                timeout + _SLACK,
                _MOST_OUTPUT,
                timeout=f"{timeout:.3f}",
                stdin=len(given),
            )
        except asyncio.CancelledError:
            connection.tell("drop")
            raise
        return _result(fields, body)

    async def interrupt(self) -> None:
        await (await self.connected()).ask("interrupt", b"", _SLACK)

    async def start_over(self) -> None:
        connection = await self.connected()
        try:
            await connection.ask("restart", b"", _SLACK)
        except SandboxGone:
            raise
        except SandboxError as error:  # a box from before an upgrade
            logger.warning("%s", error)

    async def read(self, path: str, *, limit: int = 64 * 1024 * 1024) -> bytes:
        connection = await self.connected()
        _, body = await connection.ask("read", path.encode(errors="surrogateescape"), _FILE_SECONDS, limit, limit=limit)
        return body

    async def write(self, path: str, data: bytes) -> None:
        name = path.encode(errors="surrogateescape")
        await (await self.connected()).ask("write", name + data, _FILE_SECONDS, MAX_LINE, path=len(name))

    @property
    def lays_over(self) -> bool:
        return self._engine.lays_over

    async def lay_over(self, tree: Path, own: Mapping[str, bytes]) -> bool:
        return await _laid(await self.connected(), lambda peer: self._engine.lay_over(peer, tree, own))

    async def pause(self) -> None:
        await self._engine.pause()

    async def resume(self) -> None:
        await self._engine.resume()

    async def remove(self) -> None:
        self._removed = True
        await self.close()
        await self._engine.remove()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def _laid(connection: Connection, lay: Callable[[Peer], Awaitable[bool]]) -> bool:
    """Have a working copy laid and the shell enter it; return whether it was. Raises SandboxGone where the box died meanwhile."""
    peer = connection.peer
    try:
        laid = await lay(peer)
    except (OSError, SandboxError):
        if _has_ended(peer.pid):
            raise SandboxGone("the box died while its working copy was laid") from None
        raise
    if laid:
        connection.tell("run", _ENTER, timeout=_SLACK, stdin=0)
    return laid


def _has_ended(pid: int) -> bool:
    return pid != 0 and not os.path.exists(f"/proc/{pid}/ns/mnt")


def _result(fields: dict[str, str], body: bytes) -> CommandResult:
    """Read an answer to `run`. A NUL in the output becomes U+FFFD too: no database column takes one."""
    try:
        split, ending = int(fields["cwd"]), fields["ending"]
        return CommandResult(
            output=body[split:].decode("utf-8", "replace").replace("\0", "\ufffd"),
            exit_code=None if fields["exit"] == "none" else int(fields["exit"]),
            cwd=body[:split].decode("utf-8", "replace"),
            seconds=float(fields["seconds"]),
            timed_out=ending == "timeout",
            interrupted=ending == "interrupt",
        )
    except (KeyError, ValueError):
        raise SandboxGone("the box does not keep to the protocol") from None
