"""What uvicorn does not limit: how much of a request is kept that is not body, and how long one takes to come."""

import asyncio

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024
"""Bytes. GitHub's head has one thousand, and nginx lets 32 thousand through."""
SLOWEST = 60.0
"""Seconds in which a request has to come; 25 MB, GitHub's largest, take that at 4 Mbit/s."""
_LOOK_EVERY = 5.0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol. A request is refused with 400 when it takes too long, and when more than LONGEST_HEAD bytes bring neither
    its head to an end nor any of its body: httptools would keep them all, and copy them at each piece that comes.
    """

    _fruitless = 0
    _since: float | None = None
    """When the request that is coming began; None between two of them, for which uvicorn has a limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._since = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._fruitless += len(data)
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope and (cycle.response_complete or not cycle.more_body):
            self._fruitless, self._since = 0, None  # nearly always: all of it came at once
        elif self._since is None:
            self._since = self.loop.time()
        elif self._fruitless > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"expected at most {LONGEST_HEAD} bytes of head")

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def end_slow(self) -> None:
        """Refuse a request that has not come in time."""
        if self._since is not None and self.loop.time() - self._since > SLOWEST and not self.transport.is_closing():
            self.send_400_response(f"expected the whole request within {SLOWEST:.0f} s")


async def end_slow_requests(server: uvicorn.Server, every: float = _LOOK_EVERY) -> None:
    """Look for requests that take too long every few seconds, until cancelled: a timer for each would cost more."""
    while True:
        await asyncio.sleep(every)
        for connection in list(server.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.end_slow()
