"""The worker's end of the connection to an action server: one socket, any number of requests on their way.

The other end is in the hands of whatever runs in the box: neither form nor size of what it sends is trusted.
"""

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple, cast

from bot.core.errors import SandboxError, SandboxGone
from bot.core.secret import Secret
from sandbox.inside.wire import MAX_LINE, VERSION, line, parse

Answer = tuple[dict[str, str], bytes]

_HELLO_SECONDS = 10.0
_HELLO = 0  # the id under which the answer to the hello is awaited


class Peer(NamedTuple):
    """A process as this machine knows it; pid 0 where it cannot be seen from here."""

    pid: int
    uid: int
    gid: int


class Connection(asyncio.BufferedProtocol):
    """A connection that has shown its key. Made by `connect`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._space = bytearray(1 << 18)
        self._incoming = bytearray()
        self._fields: dict[str, str] | None = None
        self._waiting: dict[int, tuple[asyncio.Future[Answer] | None, int]] = {}
        """What has no answer yet, and how long that may be; None where nobody waits for it."""
        self._last = _HELLO
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._transport is None or self._transport.is_closing()

    @property
    def peer(self) -> Peer:
        """The process that listened at the other end, in this machine's numbers (SO_PEERCRED of unix(7))."""
        if self._transport is None:
            raise SandboxGone("the connection to the box is closed")
        sock = cast("socket.socket", self._transport.get_extra_info("socket"))
        return Peer(*struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))

    async def hello(self, key: Secret) -> None:
        """Show the key. Raises SandboxError when it is not the right one, SandboxGone when nobody looks at it."""
        answer = self._expect(_HELLO, MAX_LINE)
        shown = key.reveal().encode()
        self._write(line({"version": VERSION}, len(shown)), shown)
        await self._within(answer, _HELLO_SECONDS)

    async def ask(self, op: str, body: bytes, patience: float, most: int = MAX_LINE, **fields: object) -> Answer:
        """Send a request and return the answer.

        `patience` is in seconds; `most` is the longest body that is taken. Raises SandboxError for a refusal, SandboxGone
        when the other end is lost or does not answer in time.
        """
        self._last = number = self._last + 1
        answer = self._expect(number, most)
        self._write(line({"id": number, "op": op, **fields}, len(body)), body)
        await self._writable.wait()
        return await self._within(answer, patience)

    def tell(self, op: str, body: bytes = b"", **fields: object) -> None:
        """Send a request whose answer nobody waits for; what is asked after it is done after it."""
        if not self.closed:
            self._last += 1
            self._waiting[self._last] = None, MAX_LINE
            self._write(line({"id": self._last, "op": op, **fields}, len(body)), body)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _expect(self, number: int, most: int) -> asyncio.Future[Answer]:
        if self.closed:
            raise SandboxGone("the connection to the box is closed")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer, most
        return answer

    async def _within(self, answer: asyncio.Future[Answer], patience: float) -> Answer:
        try:
            async with asyncio.timeout(patience):
                fields, body = await answer
        except TimeoutError:
            self.close()
            raise SandboxGone(f"the box did not answer within {patience:.0f} s") from None
        if "error" in fields:
            raise SandboxError(body.decode("utf-8", "replace") or fields["error"])
        return fields, body

    def _write(self, start: bytes, body: bytes) -> None:
        if self._transport is not None:
            self._transport.writelines((start, body))  # together: the other end is woken once

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        for answer, _ in self._waiting.values():
            if answer is not None and not answer.done():
                answer.set_exception(SandboxGone("the box has closed the connection: it was removed, or it died"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming += memoryview(self._space)[:nbytes]
        try:
            while self._take():
                pass
        except (ValueError, KeyError):
            self.close()

    def _take(self) -> bool:
        """Hand over one answer, if a whole one is there. Raises ValueError, KeyError for what is no answer."""
        if self._fields is None:
            end = self._incoming.find(b"\n", 0, MAX_LINE)
            if end < 0 and len(self._incoming) < MAX_LINE:
                return False
            self._fields = parse(bytes(self._incoming[: max(0, end)]))
            del self._incoming[: end + 1]
        fields, size = self._fields, int(self._fields["size"])
        number = int(fields.get("id", _HELLO))
        answer, most = self._waiting[number]  # one that nobody asked for is no answer
        if size > max(most, MAX_LINE):
            raise ValueError(f"expected at most {most} bytes, got {size}")
        if len(self._incoming) < size:
            return False
        body = bytes(memoryview(self._incoming)[:size])
        del self._incoming[:size]
        self._fields = None
        del self._waiting[number]
        if answer is not None and not answer.done():
            answer.set_result((fields, body))
        return True


async def connect(path: Path, key: Secret) -> Connection:
    """Connect to the server at `path`. Raises SandboxGone when there is none, SandboxError when it refuses us."""
    loop = asyncio.get_running_loop()
    opened = -1
    try:
        # the path may be too long for a socket's address, and the box may have laid a link to one of ours there
        opened = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        _, connection = await loop.create_unix_connection(Connection, f"/proc/self/fd/{opened}")
    except OSError as error:
        raise SandboxGone(f"there is no box at {path}: {error.strerror or error}") from None
    finally:
        if opened >= 0:
            os.close(opened)
    try:
        await connection.hello(key)
    except BaseException:
        connection.close()
        raise
    return connection
