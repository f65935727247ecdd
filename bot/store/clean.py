"""What is done to every text before it is stored: secrets are masked, and what PostgreSQL cannot hold is replaced."""

import re
from collections.abc import Callable
from typing import Any

_NESTED = (dict, list, tuple)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Clean:
    """The one place where secrets leave what is written. Built on the redactor of the whole service."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, text: str) -> str:
        """Return the text without secrets, NUL and lone surrogates."""
        return storable(self._redact(text))

    def tree(self, value: Any) -> Any:
        """Return nested dicts and lists with every string in them cleaned, keys included; the very same if all were clean."""
        texts: list[str] = []
        _gather([value], texts)
        together = "\n".join(texts)  # one look at all of them is much quicker than one at each
        return value if self(together) == together else self._each(value)

    def _each(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self._each(key): self._each(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._each(item) for item in value]
        return value


def _gather(value: Any, texts: list[str]) -> None:
    if isinstance(value, dict):
        texts.extend(value)
        value = value.values()
    for item in value:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, _NESTED):
            _gather(item, texts)


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced by U+FFFD; for names that must not be masked."""
    if text.isascii() and "\x00" not in text:  # a look at the whole is a hundred times quicker
        return text
    return _UNSTORABLE.sub("\ufffd", text)
