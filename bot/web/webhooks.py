"""THE endpoint: POST /api/integration/{service}/events. Raw bytes in, one small JSON answer out, never a 500."""

import logging
import time
from typing import Any, NamedTuple

import msgspec
from litestar.types import Receive, Scope, Send

from bot.core.errors import Rejected, Unavailable
from bot.core.inbound import Inbound
from bot.core.ports import Services
from bot.flows import intake
from bot.web.metrics import Metrics

log = logging.getLogger(__name__)

PREFIX = "/api/integration/"
_QUIET = 10.0
"""Seconds between two lines about refusals of the same kind."""

LONGEST_BODY = 26 * 1024 * 1024
"""Bytes; GitHub sends up to 25 MB."""

ROOM = 256 * 1024 * 1024
"""Bytes of bodies that are coming in pieces, all together: nobody has shown a signature yet."""

_encode = msgspec.json.Encoder().encode


class _Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    event: str = ""
    """The event's name; "" when it is not known."""
    wanted: bytes | None = None
    """What the platform wants to hear in place of `body`."""


class Webhooks:
    """The ASGI application of everything under PREFIX."""

    def __init__(self, services: Services, metrics: Metrics) -> None:
        self._services, self._metrics = services, metrics
        self._last_refusal: dict[str, float] = {}
        self._coming = 0
        """Bytes that are held of bodies which have yet to come to their ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one delivery."""
        service, _, rest = scope["path"].removeprefix(PREFIX).rstrip("/").partition("/")
        if rest != "events":
            await _send(send, 404, {"error": "not_found", "detail": "expected /api/integration/SERVICE/events"})
            return
        answer = await self._answer(scope, receive, service)
        word = answer.body.get("status") or answer.body["error"]
        self._metrics.delivery(service if answer.event else "", answer.event, word)
        await _send(send, answer.status, answer.body if answer.wanted is None else answer.wanted)

    async def _answer(self, scope: Scope, receive: Receive, service: str) -> _Answer:
        try:
            if scope.get("method") != "POST":
                raise Rejected("method", "expected POST", 405)
            inbound = Inbound(_headers(scope), await self._read(receive))
            receipt = await intake.receive(self._services, service, inbound)
        except Rejected as error:
            self._note_refusal(service, error)
            return _Answer(error.status, {"error": error.word, "detail": error.detail})
        except Unavailable as error:
            log.error("delivery for %s not stored: %s", service, error)
            return _unavailable("unavailable", "the delivery could not be stored now; please send it again")
        except Exception:
            log.exception("delivery for %s failed", service)
            return _unavailable("internal", "something went wrong here; please send it again")
        if receipt.status == "ignored":
            return _Answer(200, {"status": "ignored", "reason": receipt.reason}, receipt.event, receipt.body)
        status = 202 if receipt.status == "accepted" and receipt.body is None else 200
        body = {"status": receipt.status, "conversation_ids": receipt.conversation_ids}
        return _Answer(status, body, receipt.event, receipt.body)

    async def _read(self, receive: Receive) -> bytes:
        """Read the body up to the limit. Raises Rejected (413, and 400 for one that breaks off), Unavailable."""
        chunks: list[bytes] = []
        size = 0
        try:
            while size <= 2 * LONGEST_BODY:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Rejected("truncated", "the body broke off")
                chunk: bytes = message.get("body", b"")  # type: ignore[assignment]
                size += len(chunk)
                if size <= LONGEST_BODY:
                    chunks.append(chunk)
                    self._coming += len(chunk)
                if not message.get("more_body"):
                    break  # a body that is too long is read to its end, so that the sender gets to see the answer
                if self._coming > ROOM:
                    raise Unavailable(f"{self._coming} bytes of other bodies are coming")
        finally:
            self._coming -= sum(map(len, chunks))
        if size > LONGEST_BODY:
            raise Rejected("too_large", f"expected at most {LONGEST_BODY} bytes", 413)
        return b"".join(chunks)

    def _note_refusal(self, service: str, error: Rejected) -> None:
        """Log the first refusal of a kind in a while: whoever sends nonsense shall not fill the log; all are counted."""
        now = time.monotonic()
        if now - self._last_refusal.get(error.word, -_QUIET) >= _QUIET:
            self._last_refusal[error.word] = now
            log.info("delivery for %r refused: %s (further ones are only counted)", service[:40], error.word)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _unavailable(word: str, detail: str) -> _Answer:
    return _Answer(503, {"error": word, "detail": detail})


async def _send(send: Send, status: int, body: dict[str, Any] | bytes) -> None:
    data = body if isinstance(body, bytes) else _encode(body)
    headers = [(b"content-length", str(len(data)).encode())]
    if data:
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data, "more_body": False})
