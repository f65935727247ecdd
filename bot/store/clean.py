"""What is done to every text before it is stored: secrets are masked, and what PostgreSQL cannot hold is replaced."""

import re
from collections.abc import Callable
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Clean:
    """The one place where secrets leave what is written. Built on the redactor of the whole service."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, text: str) -> str:
        """Return the text without secrets, NUL and lone surrogates."""
        return storable(self._redact(text))

    def tree(self, value: Any) -> Any:
        """Return nested dicts and lists with every string in them cleaned, keys included."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self.tree(key): self.tree(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        return value


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced by U+FFFD; for names that must not be masked."""
    if text.isascii() and "\x00" not in text:  # a look at the whole is a hundred times quicker
        return text
    return _UNSTORABLE.sub("\ufffd", text)
