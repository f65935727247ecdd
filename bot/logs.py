"""Logging: readable lines or one JSON object a line, with the conversation and run bound to each."""

import contextvars
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

_bound: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("bound", default={})  # noqa: B039  never changed

_QUIET = ("arq", "httpx", "httpcore", "urllib3", "docker", "github", "LiteLLM", "alembic", "uvicorn.access", "openai")


@contextmanager
def bound(**names: str) -> Iterator[None]:
    """Add these names to every line that is logged inside."""
    token = _bound.set({**_bound.get(), **names})
    try:
        yield
    finally:
        _bound.reset(token)


def set_up(as_json: bool, redact: Callable[[str], str], level: int = logging.INFO) -> None:
    """Send all logs to standard error, secrets masked."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(redact) if as_json else _Readable(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Readable(logging.Formatter):
    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        names = " ".join(f"[{value}]" for value in _bound.get().values())
        return self._redact(f"{super().format(record)} {names}".rstrip())


class _Json(logging.Formatter):
    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
            **_bound.get(),
        }
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line)
