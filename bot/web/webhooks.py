"""THE endpoint: POST /api/integration/{service}/events. Raw bytes in, one small JSON answer out, never a 500."""

import logging
import time
from typing import NamedTuple

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

RETRY = {"retry-after": "5"}
"""What every answer with 503 asks of whoever got it, in seconds."""

_encode = msgspec.json.Encoder().encode


class _Answer(NamedTuple):
    status: int
    word: str
    """What became of the delivery."""
    body: bytes
    event: str = ""
    """The event's name; "" when it is not known."""


class Webhooks:
    """The ASGI application of everything under PREFIX."""

    def __init__(self, services: Services, metrics: Metrics) -> None:
        self._services, self._metrics = services, metrics
        self._last_refusal: dict[str, float] = {}
        self._coming = 0
        """Bytes that are held of bodies which have yet to come to their ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one delivery."""
        service, _, rest = scope["path"][len(PREFIX) :].rstrip("/").partition("/")
        if rest != "events":
            await _send(send, 404, _error("not_found", "expected /api/integration/SERVICE/events"))
            return
        status, word, body, event = await self._answer(scope, receive, service)
        self._metrics.delivery(service if event else "", event, word)
        await _send(send, status, body)

    async def _answer(self, scope: Scope, receive: Receive, service: str) -> _Answer:
        try:
            if scope.get("method") != "POST":
                raise Rejected("method", "expected POST", 405)
            inbound = Inbound(_headers(scope), await self._read(receive))
            integration, delivery = intake.read(self._services, service, inbound)
            del inbound  # the body, before anything is waited for
            taken = await intake.take(self._services, integration, delivery)
        except Rejected as error:
            self._note_refusal(service, error)
            return _Answer(error.status, error.word, _error(error.word, error.detail))
        except Unavailable as error:
            log.error("delivery for %s not stored: %s", service, error)
            return _unavailable("unavailable", "the delivery could not be stored now; please send it again")
        except Exception:
            log.exception("delivery for %s failed", service)
            return _unavailable("internal", "something went wrong here; please send it again")
        status = 202 if taken.status == "accepted" and taken.body is None else 200
        return _Answer(status, taken.status, _said(taken) if taken.body is None else taken.body, taken.event)

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


def _said(taken: intake.Taken) -> bytes:
    if taken.status == "ignored":
        return _encode({"status": "ignored", "reason": taken.reason})
    return _encode({"status": taken.status, "conversation_ids": taken.conversation_ids})


def _error(word: str, detail: str) -> bytes:
    return _encode({"error": word, "detail": detail})


def _unavailable(word: str, detail: str) -> _Answer:
    return _Answer(503, word, _error(word, detail))


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    if body:
        headers.append((b"content-type", b"application/json"))
    if status == 503:
        headers += [(name.encode(), value.encode()) for name, value in RETRY.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
