"""What is done to every text before it is stored: secrets are masked, and what PostgreSQL cannot hold is replaced."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Clean:
    """The one place where secrets leave what is written. Built on the redactor of the whole service."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, text: str) -> str:
        """Return the text without secrets, NUL and lone surrogates."""
        return storable(self._redact(text))

    def document(self, value: Any) -> tuple[str, Any]:
        """Return a value as JSON, every string in it cleaned, keys included, and the value itself as it stands there.

        One look at the whole text is much quicker than one at each string: the redactor knows secrets as JSON writes them.
        """
        try:
            text = msgspec.json.encode(value).decode()
            if "\\u0000" not in text and self._redact(text) == text:
                return text, value
        except UnicodeEncodeError:
            pass  # a lone surrogate
        value = self._each(msgspec.to_builtins(value))
        return msgspec.json.encode(value).decode(), value

    def _each(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self._each(key): self._each(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._each(item) for item in value]
        return value


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced by U+FFFD; for names that must not be masked."""
    if text.isascii() and "\x00" not in text:  # a look at the whole is a hundred times quicker
        return text
    return _UNSTORABLE.sub("\ufffd", text)
