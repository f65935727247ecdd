"""What uvicorn does not limit: how much of a request is kept that is not body, and how long one takes to come. One look at all
connections every few seconds sees to that, and to those that nobody uses: for them uvicorn sets a timer at every answer.
And an answer leaves in one piece.
"""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

LONGEST_HEAD = 64 * 1024
"""Bytes. GitHub's head has one thousand, and nginx lets 32 thousand through."""
SLOWEST = 60.0
"""Seconds in which a request has to come; 25 MB, GitHub's largest, take that at 4 Mbit/s."""
_LOOK_EVERY = 5.0
_MOST_GATHERED = 64 * 1024
"""Bytes that are written in one turn before they are sent all the same; asyncio's own high-water mark."""


class _Gathered:
    """A transport that sends what is written in one turn of the loop at its end, and in one piece.

    uvicorn writes head and body of an answer each by itself; a system call, and a packet, costs as much as all that is done
    with a delivery which asks for nothing.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._call_soon = transport, loop.call_soon
        self._written: list[bytes] = []
        self._size = 0
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._written:
            self._call_soon(self.flush)
        self._written.append(data)
        self._size += len(data)
        if self._size > _MOST_GATHERED:
            self.flush()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what was written now."""
        if self._written and not self.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()
        self._size = 0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol. A request is refused with 400 when it takes too long, and when more than LONGEST_HEAD bytes bring neither
    its head to an end nor any of its body: httptools would keep them all, and copy them at each piece that comes.
    """

    _fruitless = 0
    _since: float | None = None
    """When the request that is coming began; None when it has come."""
    _idle_since: float | None = None
    """When the last answer was complete; None while one is owed."""
    _answering: RequestResponseCycle | None = None
    """The request that is or was answered last; behind it others may wait that came as well."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._since = self.loop.time()
        self._gathered = _Gathered(transport, self.loop)
        super().connection_made(self._gathered)  # type: ignore[arg-type]

    def eof_received(self) -> None:
        """Send what was answered: a client that sends no more may still read, and the loop closes the connection after this."""
        self._gathered.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever answers: uvicorn tells the request that came last."""
        super().connection_lost(exc)
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def shutdown(self) -> None:
        """End a stream as well: it has no end of its own, and until it is over nobody new is let in."""
        super().shutdown()
        if self._answering is not None and self._answering.response_started and not self._answering.response_complete:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        self._fruitless += len(data)
        self._idle_since = None
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope and (cycle.response_complete or not cycle.more_body):
            self._fruitless, self._since = 0, None  # nearly always: all of it came at once
            if cycle.response_complete:  # it was answered before
                self._idle_since = self.loop.time()
        elif self._since is None:
            self._since = self.loop.time()
        elif self._fruitless > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"expected at most {LONGEST_HEAD} bytes of head")

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Do as uvicorn does, but for its timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._since is None:
            self._idle_since = self.loop.time()

    def end_slow(self) -> None:
        """Refuse a request that has not come in time; close a connection that nobody has used for long."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._since is not None and now - self._since > SLOWEST:
            self.send_400_response(f"expected the whole request within {SLOWEST:.0f} s")
        elif self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()


async def end_slow_requests(server: uvicorn.Server, every: float = _LOOK_EVERY) -> None:
    """Look for requests that take too long every few seconds, until cancelled: a timer for each would cost more."""
    while True:
        await asyncio.sleep(every)
        for connection in list(server.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.end_slow()
