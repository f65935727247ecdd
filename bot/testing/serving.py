"""An ASGI app on a free loopback port, in a thread with an event loop of its own: no test's loop can block it."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Any, Self

import uvicorn


class Serving:
    """Serves an ASGI app while entered. The port is taken, and `url` known, from the start."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # asyncio sees no TCP in such a socket, and leaves it
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._serve, name=f"serving-{self.port}", daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()  # the socket listens already: who connects before the loop is up waits for it
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop()
        await asyncio.to_thread(self._thread.join, 10)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve([self._socket]))


class _Server(uvicorn.Server):
    """Stops when told, where uvicorn looks ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End the server, once it is up; from another thread."""
        self._up.wait(10)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._up.set()
        await self._stopped.wait()


async def read_body(receive: Any) -> bytes:
    """Return the whole body of the ASGI request at hand."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def answer(send: Any, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
    """Send a whole ASGI response."""
    named = {"content-length": str(len(body)), **(headers or {})}
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
