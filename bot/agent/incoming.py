"""What comes back from a model's server, before LiteLLM reads it: bounded, and where it can be, made what LiteLLM takes.

LiteLLM reads bodies to their end, quotes them whole in its errors, and goes over these with a regular expression that holds
up all threads: a second for 64,000 characters. And one field out of place is to it a server that is away. So no more
than LONGEST of an answer is read, little of it can be quoted, and that one came at all is noted, for it was paid for.
"""

import json
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx

LONGEST = 8 * 1024 * 1024
"""Bytes of an answer, unpacked. The longest that models give, 128,000 tokens in JSON's escapes, have some 3 million."""
LONGEST_ERROR = 4 * 1024
"""Bytes of an error, unpacked; the rest is not read."""
_QUOTED = 1_000
_READABLE = 500
"""Characters of JSON that are nested less deep than Python's parser goes, whatever they are."""


class UnusableAnswerError(Exception):
    """The server answered, but what came is endless or no answer."""


@dataclass
class Arrival:
    """What is known of the answer to one call."""

    came: bool = False
    """Whether one was received that is no error, be it usable or not."""


_ARRIVAL: ContextVar[Arrival | None] = ContextVar("arrival", default=None)


@contextmanager
def coming_in() -> Iterator[Arrival]:
    """Note in the Arrival what comes, in this task."""
    token = _ARRIVAL.set(arrival := Arrival())
    try:
        yield arrival
    finally:
        _ARRIVAL.reset(token)


async def bound(response: httpx.Response) -> None:
    """Have at most LONGEST of the body read, else UnusableAnswerError, and of an error LONGEST_ERROR: an event hook of httpx."""
    response.stream = _Bounded(response)


def answer(response: httpx.Response) -> httpx.Response:
    """Return what LiteLLM is to read for a response of status 200 that has been read. Raises UnusableAnswerError."""
    try:
        found = json.loads(response.content)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and (error := _error(found.get("error"))):
        usable = {"error": error}
    else:
        _note()
        usable = _usable(found)
    body = json.dumps(usable).encode()
    return _Answer(response.status_code, headers=response.headers, content=body, request=response.request)


class _Answer(httpx.Response):
    """A response of which LiteLLM's errors and logs quote little."""

    @property
    def text(self) -> str:
        return self.content[:_QUOTED].decode("utf-8", "replace")

    def json(self, **options: Any) -> Any:
        return _Quiet(super().json(**options))


class _Quiet(dict[str, Any]):
    def __repr__(self) -> str:
        return "{...}"


class _Bounded(httpx.AsyncByteStream):
    """The body of a response, unpacked here: httpx unpacks all of a chunk, which may become a thousand times as long."""

    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._stream, self._whole = response.stream, response.is_success
        self._unpack = _unpacker(response.headers.pop("content-encoding", "identity"))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LONGEST if self._whole else LONGEST_ERROR
        try:
            async for chunk in self._stream:
                piece = self._unpack(chunk, left + 1)
                yield piece[:left]
                left -= len(piece)
                if left < 0:
                    break
            else:
                return
        except zlib.error:
            pass
        if self._whole:
            _note()
            raise UnusableAnswerError("it is too long, or cannot be unpacked")

    async def aclose(self) -> None:
        await self._stream.aclose()


def _unpacker(encoding: str) -> Any:
    """Return a function of a chunk and of the most bytes that are wanted of it."""
    packed = encoding.lower() in ("gzip", "x-gzip", "deflate")
    return zlib.decompressobj(wbits=47).decompress if packed else lambda chunk, _: chunk


def _note() -> None:
    if arrival := _ARRIVAL.get():
        arrival.came = True


def _error(said: Any) -> Any:
    """Some servers say an error with status 200. Return of it what LiteLLM reads, if there is any."""
    if not isinstance(said, dict):
        return said and str(said)[:_QUOTED]
    code, message = said.get("code"), str(said.get("message") or "")[:_QUOTED]
    code = code if isinstance(code, int) else code and str(code)[:_QUOTED]
    return {"code": code, "message": message} if message or code is not None else None


def _usable(found: Any) -> dict[str, Any]:
    """Return an answer without what LiteLLM stumbles over; one in a format that is not OpenAI's almost as it is."""
    if not isinstance(found, dict):
        raise UnusableAnswerError("it is no JSON object")
    if not isinstance(choices := found.get("choices"), list):
        # LiteLLM quotes the names of all fields of one that it does not know, and of Gemini's without usage the whole.
        return {"usageMetadata": {}} | {name: found[name] for name in list(found)[:50] if len(name) < 50}
    choice = next((c for c in _dicts(choices) if isinstance(c.get("message"), dict)), None)
    if choice is None:
        raise UnusableAnswerError("it has no message")
    reason, content = choice.get("finish_reason"), choice["message"].get("content")
    message = {
        "role": "assistant",
        "content": _text(content),
        "tool_calls": _calls(choice["message"].get("tool_calls")),
    }
    whole = {
        "choices": [{"index": 0, "finish_reason": reason[:50] if isinstance(reason, str) else None, "message": message}]
    }
    names = {name: found[name][:_QUOTED] for name in ("model", "service_tier") if isinstance(found.get(name), str)}
    return {**names, **whole, "usage": found["usage"] if _counts(found.get("usage")) else None}


def _text(content: Any) -> str | None:
    if isinstance(content, list):
        texts = [part.get("text") for part in _dicts(content) if part.get("type") == "text"]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else None


def _calls(calls: Any) -> list[dict[str, Any]] | None:
    found = [_call(call, call["function"]) for call in _dicts(calls) if isinstance(call.get("function"), dict)]
    return found or None


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _call(call: dict[str, Any], function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or ""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    called = {"name": str(function.get("name") or ""), "arguments": _shallow(text)}
    return {"id": str(call.get("id") or ""), "type": "function", "function": called}


def _shallow(arguments: str) -> str:
    """Return arguments nested too deep for LiteLLM cut off, so that the model is told that they are not valid JSON."""
    try:
        json.loads(arguments)
    except RecursionError:
        return arguments.lstrip()[:_READABLE]
    except ValueError:
        pass
    return arguments


def _counts(usage: Any) -> bool:
    """Whether the tokens in it are whole numbers, those in its details too."""
    return isinstance(usage, dict) and all(
        value is None
        or (_counts(value) if name.endswith("_details") else isinstance(value, int) or "tokens" not in name)
        for name, value in usage.items()
    )
