"""Values that must not be seen, and the mask that is put over them wherever text leaves us."""

import json
import re
from collections.abc import Iterable

MASK = "********"
_SHORTEST = 6  # shorter values would mask ordinary words
_LEARNED = 64
"""Short-lived values that are remembered, those used last: they run out, and new ones come without end."""

_KEY_SHAPES = re.compile(
    r"""(?x)
    (?:\b|(?<=\\[nrtbf])|(?<=\\u[0-9a-f]{4}))  # or behind a character as JSON writes it
    (?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}
      |xox[abprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|lin_(?:api|oauth)_[A-Za-z0-9]{16,}
      |sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16})
    """
)
_KEY_SIGNS = (
    re.compile(r"_(?:(?<=gh[pousr]_)|(?<=github_pat_)|(?<=lin_))"),
    re.compile(r"-(?:(?<=glpat-)|(?<=xox[abprs]-)|(?<=xapp-)|(?<=sk-))"),
    re.compile("AKIA"),
)
"""One of these is in every text that has a key of such a shape. Each begins with a plain character, which is what takes least
time to look for: a hundredth of what the shapes take."""
_IN_ADDRESS = re.compile(r"""://[^/\s:@"']+:[^/\s@"']+@""")


class Secret:
    """A string that shows itself only to `reveal()`: not in repr, str, format, logs, JSON or pickles."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value. Call this at the last moment, in the adapter that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret()"

    def __str__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not serialised; pass an id and look the secret up where it is used")


class Redactor:
    """Masks known secret values, also as they stand in JSON, and anything shaped like a well-known key, in text."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._values: set[str] = set()
        self._learned: dict[str, None] = {}
        self._longest_first: list[str] = []
        for secret in secrets:
            self.add(secret)

    def add(self, secret: Secret) -> None:
        """Mask this value from now on, for good."""
        value = secret.reveal()
        if len(value) >= _SHORTEST and value not in self._values:
            self._values.add(value)
            self._sort()

    def learn(self, secret: Secret) -> None:
        """Mask this value, which may be short-lived, until enough others were learned after it."""
        value = secret.reveal()
        if len(value) < _SHORTEST or value in self._values:
            return
        known = value in self._learned
        self._learned.pop(value, None)
        self._learned[value] = None  # the one used last is the last one
        if not known:
            self._learned = dict.fromkeys(list(self._learned)[-_LEARNED:])
            self._sort()

    def _sort(self) -> None:
        values = {*self._values, *self._learned}
        in_json = {json.dumps(value, ensure_ascii=False)[1:-1] for value in values}
        self._longest_first = sorted(values | in_json, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        if len(text) < _SHORTEST:
            return text
        for value in self._longest_first:
            if value in text:
                text = text.replace(value, MASK)
        for sign in _KEY_SIGNS:
            if sign.search(text):
                text = _KEY_SHAPES.sub(MASK, text)
                break
        return _IN_ADDRESS.sub(f"://{MASK}@", text) if "://" in text else text
