"""What a client may send beside a body has an end, be it a header, a trailer or an address, and a request has to come in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from bot.commands.service import free_port
from bot.web import protocol
from bot.web.protocol import LONGEST_HEAD, BoundedProtocol, end_slow_requests

KEPT = 2
"""Seconds for which a connection is kept that nobody uses."""
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"


PIECE, PIECES = b"a" * 10_000, 500
LEFT = asyncio.Event()
"""Set when the application knows that the client of /live has gone."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the number of bytes that came; at /early without waiting for them. /stream sends pieces; /drip one, and waits.

    /live sends pieces until nobody is there any more.
    """
    size = 0
    if scope["path"] == "/live":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert not (await receive())["more_body"]
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await asyncio.wait({gone}, timeout=0.05)
        LEFT.set()
        return
    if scope["path"] in ("/stream", "/drip"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(PIECES if scope["path"] == "/stream" else 1):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        if scope["path"] == "/drip":
            await receive()
            await receive()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    while scope["path"] != "/early" and (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            break
    said = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


@asynccontextmanager
async def serving(http: type[BoundedProtocol]) -> AsyncIterator[int]:
    port = free_port("127.0.0.1")
    options: dict[str, Any] = {
        "log_config": None,
        "lifespan": "off",
        "timeout_keep_alive": KEPT,
        "timeout_graceful_shutdown": 1,
    }
    server = uvicorn.Server(uvicorn.Config(app, port=port, http=http, **options))
    served = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    looking = asyncio.create_task(end_slow_requests(server, every=0.1))
    yield port
    looking.cancel()
    server.should_exit = True
    await served


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(BoundedProtocol) as port:
        yield port


async def answer(port: int, head: bytes, piece: bytes = b"", times: int = 0) -> bytes:
    """Send a head and many pieces, as long as they are taken; return the answer's status line and the rest of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
        return await reader.read(4096)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [POST + b"x: ", b"POST /", POST + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: "],
    ids=["a header", "an address", "a trailer"],
)
async def test_what_never_ends_is_refused(port: int, head: bytes) -> None:
    pieces = 4 * LONGEST_HEAD // 1000
    async with asyncio.timeout(30):
        refused = await answer(port, head, b"a" * 1000, pieces)
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert refused.endswith(b"bytes of head")


async def test_headers_without_an_end_are_refused(port: int) -> None:
    async with asyncio.timeout(30):
        refused = await answer(port, POST, b"x-some: " + b"a" * 992 + b"\r\n", 4 * LONGEST_HEAD // 1000)
    assert refused.startswith(b"HTTP/1.1 400 ")


async def test_a_long_body_is_none_of_it(port: int) -> None:
    size = 5 * LONGEST_HEAD
    async with asyncio.timeout(30):
        taken = await answer(
            port, POST + b"x: " + b"a" * 30_000 + b"\r\ncontent-length: %d\r\n\r\n" % size, b"b" * 1024, size // 1024
        )
    assert taken.endswith(b"\r\n\r\n%d" % size)


@pytest.mark.parametrize(
    "sent", [b"", POST, POST + b"content-length: 9\r\n\r\nab"], ids=["nothing", "half a head", "half a body"]
)
async def test_a_request_that_does_not_come_to_its_end_is_refused(
    port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "SLOWEST", 0.5)
    async with asyncio.timeout(30):
        refused = await answer(port, sent)
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert b"expected the whole request within" in refused


async def test_a_connection_between_two_requests_is_left_alone(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SLOWEST", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        for size in (2, 3):
            writer.write(POST + b"content-length: %d\r\n\r\n%s" % (size, b"a" * size))
            assert (await reader.readuntil(b"\r\n\r\n%d" % size)).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(1.0)
    writer.close()


async def test_a_connection_that_nobody_uses_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SLOWEST", 3600.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        for _ in range(2):  # it is used again before its time is up
            writer.write(POST + b"content-length: 1\r\n\r\na")
            assert (await reader.readuntil(b"\r\n\r\n1")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(KEPT / 2)
        writer.write(POST + b"content-length: 1\r\n\r\n")
        await asyncio.sleep(2 * KEPT)
        writer.write(b"a")
        assert (await reader.readuntil(b"\r\n\r\n1")).startswith(b"HTTP/1.1 200 "), "it was closed amid a request"
        assert await reader.read() == b""
    writer.close()


async def test_an_answer_may_come_before_the_request_has(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SLOWEST", 3600.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        for _ in range(2):
            writer.write(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\na")
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"b")
        assert await reader.read() == b"", "it is closed when nobody has used it for long"
    writer.close()


class Noted:
    """A transport that notes what is written to it."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport, self._writes = transport, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)


async def test_head_and_body_of_an_answer_leave_in_one_piece() -> None:
    writes: list[bytes] = []

    class Noting(BoundedProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(Noted(transport, writes))  # type: ignore[arg-type]

    async with serving(Noting) as port, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(POST + b"content-length: 1\r\n\r\na")
            await reader.readuntil(b"\r\n\r\n1")
        writer.close()
    assert len(writes) == 2


async def test_two_requests_at_once_are_both_answered_and_the_connection_is_closed_when_told(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"content-length: 2\r\n\r\nab" + POST + b"connection: close\r\ncontent-length: 1\r\n\r\na")
    async with asyncio.timeout(30):
        said = await reader.read()
    assert said.count(b"HTTP/1.1 200 ") == 2
    assert said.index(b"\r\n\r\n2") < said.index(b"\r\n\r\n1")
    writer.close()


async def test_a_long_stream_comes_whole_and_a_slow_one_at_once(port: int) -> None:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).count(b"a" * 100) == len(PIECE) * PIECES // 100
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /drip HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(PIECE)
        writer.close()


async def test_who_sends_no_more_still_gets_the_answer(port: int) -> None:
    async with asyncio.timeout(30):
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST + b"content-length: 1\r\n\r\na")
            writer.write_eof()
            assert (await reader.read()).endswith(b"\r\n\r\n1")
            writer.close()


async def test_an_answer_ends_when_its_client_goes_though_another_request_came_behind_it(port: int) -> None:
    LEFT.clear()
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n" + POST + b"content-length: 1\r\n\r\na")
        await reader.readuntil(PIECE)
        writer.transport.abort()
        await LEFT.wait()


async def test_a_stream_ends_when_the_server_does() -> None:
    LEFT.clear()
    async with asyncio.timeout(30):
        async with serving(BoundedProtocol) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(PIECE)
            reading = asyncio.create_task(reader.read())
        assert LEFT.is_set()
        assert PIECE in await reading
        writer.close()
