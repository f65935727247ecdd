"""A prompt's way out past LiteLLM, which walks and copies all messages of every call, so that steps cost ever more.

LiteLLM is shown the beginning of a conversation and its last two turns, and what it made of the rest in earlier calls is put
between. That this is the same is not assumed but seen: the older of the two turns was shown before, with other messages
around it, and must come out as it did then. Where a message follows one that it was not seen to follow, LiteLLM is shown
all. Of the providers' formats nothing is known here but what the list is called and how a turn of the model's begins.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from itertools import pairwise
from typing import Any

import msgspec

_Message = Mapping[str, Any]
_Form = tuple[Any, bool | type, bool]
_PROMPT: ContextVar["Prompt | None"] = ContextVar("prompt", default=None)
_LISTS = ("messages", "contents")
_BEGINNING = 2
"""Messages that are always shown: some providers take no conversation that does not begin with a person."""


class UnlikeBeforeError(Exception):
    """LiteLLM made something else of a turn than before. From here on it is shown every prompt whole."""


class Passage:
    """What was seen of the way of one conversation to one model."""

    def __init__(self) -> None:
        self.trusted = True
        """Whether every turn so far came out as before."""
        self.seen: set[tuple[_Form, _Form]] = set()
        """Which forms of messages were seen to follow which."""
        self.sent: list[_Message] = []
        """A copy of the last prompt."""
        self.turns: list[int] = []
        """At which of its messages the model began to speak."""
        self.made: list[bytes] = []
        """What LiteLLM made of it, entry by entry."""
        self.made_turn = 0
        """The entry at which that turn begins."""


class Prompt:
    """The messages of one call."""

    def __init__(self, messages: Sequence[_Message], passage: Passage) -> None:
        self._messages, self._passage = list(messages), passage
        self._kept = len(passage.sent) if self._messages[: len(passage.sent)] == passage.sent else 0
        """How many messages are as they were in the last prompt. They are not looked at again: steps would cost ever more."""
        late = self._messages[max(self._kept - 1, 0) :]
        self._pairs = set(pairwise(map(_form, late)))
        self._turns = (passage.turns if self._kept else []) + _turns(late, max(self._kept - 1, 0))
        self._goes_on = self._kept > 0 and self._has_one_turn_more_than(passage)

    def _has_one_turn_more_than(self, last: Passage) -> bool:
        known = last.trusted and self._pairs <= last.seen and bool(last.turns) and last.turns[-1] > _BEGINNING
        return known and self._turns == [*last.turns, len(last.sent)]

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The messages that LiteLLM is to be given."""
        if not self._goes_on:
            return [dict(m) for m in self._messages]
        return [dict(m) for m in self._messages[:_BEGINNING] + self._messages[self._passage.turns[-1] :]]

    @contextmanager
    def going_out(self) -> Iterator[None]:
        """Have `outgoing` mean this prompt, in this task."""
        token = _PROMPT.set(self)
        try:
            yield
        finally:
            _PROMPT.reset(token)

    def put_into(self, body: bytes) -> bytes:
        """Return the body of a request with all messages in it. Raises UnlikeBeforeError."""
        last = self._passage
        if not last.trusted:
            return body
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        name = next(name for name in _LISTS if name in fields)
        made = [bytes(entry) for entry in msgspec.json.decode(fields[name], type=list[msgspec.Raw])]
        turns = _turns([msgspec.json.decode(entry) for entry in made])
        if self._goes_on:
            made, made_turn = self._joined(made, turns), len(last.made)
            del fields[name]
            body = _object(fields, name, made)
        else:
            made_turn = turns[-1] if turns else 0
            last.trusted = len(turns) == len(self._turns)
        last.sent = last.sent[: self._kept] + deepcopy(self._messages[self._kept :])
        last.turns, last.made, last.made_turn = self._turns, made, made_turn
        last.seen |= self._pairs
        return body

    def _joined(self, made: list[bytes], turns: list[int]) -> list[bytes]:
        """Return what was made of all messages: as before, and of the last turn as now."""
        last = self._passage
        again = last.made[last.made_turn :]
        if len(turns) != 2 or made[turns[0] : turns[1]] != again:
            last.trusted = False
            raise UnlikeBeforeError
        return last.made + made[turns[1] :]


def outgoing(body: bytes) -> bytes:
    """Return what is to be sent for the JSON body that LiteLLM made."""
    prompt = _PROMPT.get()
    return prompt.put_into(body) if prompt else body


def _form(message: _Message) -> _Form:
    content = message.get("content")
    return message.get("role"), bool(content) and type(content), "tool_calls" in message


def _turns(messages: Sequence[_Message], first: int = 0) -> list[int]:
    """Return where the model begins to speak, each time: in our messages, and in what a provider calls them.

    `first` is the place of the first one, at which nobody is taken to begin.
    """
    speaks = [m.get("role") in ("assistant", "model") for m in messages]
    return [n for n, (before, now) in enumerate(pairwise(speaks), first + 1) if now and not before]


def _object(fields: Mapping[str, msgspec.Raw], name: str, entries: Sequence[bytes]) -> bytes:
    """Return a JSON object of these fields and of one more with a long list, of two entries or more, which is copied once."""
    head = msgspec.json.encode(fields)[:-1] + (b"," if fields else b"") + b'"%b":[' % name.encode()
    return b",".join((head + entries[0], *entries[1:-1], entries[-1] + b"]}"))
