"""A TCP proxy that a test can close, open and make hold bytes back: the network between two real parts."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self


class Proxy:
    """Passes bytes from a free loopback port on to `target`, a unix socket's path or a loopback port, while entered."""

    def __init__(self, target: str | int) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._lines: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.held = asyncio.Event()
        """Set when bytes are being held back."""
        self._watched = b""
        self._losing: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.set()
        await self.refuse()

    async def accept(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close every connection and take no new one: the other side is down."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for line in list(self._lines):
            line.close()

    def hold(self, once: bytes = b"") -> None:
        """Let no more bytes through; with `once`, only from the first piece on that has these bytes in it."""
        self.held.clear()
        self._watched = once
        if not once:
            self._open.clear()

    def lose(self) -> None:
        """Lose all bytes of the connections there are, without closing them; those that are made from now on are well."""
        self._losing = set(self._lines)

    def release(self) -> None:
        """Let the bytes go on."""
        self._watched = b""
        self._open.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if isinstance(self._target, int):
                there, out = await asyncio.open_connection("127.0.0.1", self._target)
            else:
                there, out = await asyncio.open_unix_connection(self._target)
            self._lines |= {writer, out}
            await asyncio.gather(self._pass_on(reader, out), self._pass_on(there, writer))
            self._lines -= {writer, out}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self._watched and self._watched in data:
                    self._watched = b""
                    self._open.clear()
                if not self._open.is_set():
                    self.held.set()
                    await self._open.wait()
                if writer not in self._losing:
                    writer.write(data)
                    await writer.drain()
        writer.close()
