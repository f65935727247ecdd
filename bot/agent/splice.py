"""A prompt's way out past LiteLLM, which walks and copies all messages of every call, so that steps cost ever more.

LiteLLM is shown the beginning of a conversation and its last two turns, and what it made of the rest in earlier calls is put
between. That this is the same is not assumed but seen: the older of the two turns was shown before, with other messages
around it, and must come out as it did then. Where a message follows one that it was not seen to follow, LiteLLM is shown
all. Of the providers' formats nothing is known here but what the list is called and how a turn of the model's begins.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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
        self.sent = b""
        """The last prompt, as we encode it."""
        self.length, self.turn = 0, 0
        """How many messages that has, and at which the model's last turn begins; 0 where there is none."""
        self.made: list[bytes] = []
        """What LiteLLM made of it, entry by entry."""
        self.made_turn = 0
        """The entry at which that turn begins."""


class Prompt:
    """The messages of one call."""

    def __init__(self, messages: Sequence[_Message], passage: Passage) -> None:
        self._messages, self._passage = messages, passage
        self._encoded = msgspec.json.encode([_light(m) for m in messages])
        self._pairs = set(pairwise(map(_form, messages)))
        self._turns = _turns(messages)
        self._goes_on = self._is_the_last_one_with_a_turn_more()

    def _is_the_last_one_with_a_turn_more(self) -> bool:
        last = self._passage
        known = last.trusted and last.turn > _BEGINNING and self._pairs <= last.seen
        return known and self._turns[-2:] == [last.turn, last.length] and self._encoded.startswith(last.sent[:-1])

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The messages that LiteLLM is to be given."""
        some = [*self._messages[:_BEGINNING], *self._messages[self._passage.turn :]]
        return [dict(m) for m in (some if self._goes_on else self._messages)]

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
            body = _with_list(fields, name, made)
        else:
            made_turn = turns[-1] if turns else 0
            last.trusted = len(turns) == len(self._turns)
        last.sent, last.length, last.turn = self._encoded, len(self._messages), self._turns[-1] if self._turns else 0
        last.made, last.made_turn = made, made_turn
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


def _with_list(fields: dict[str, msgspec.Raw], name: str, entries: Sequence[bytes]) -> bytes:
    """Return the fields as a JSON object with these entries in its list; copied once, as images make them long."""
    others = msgspec.json.encode({key: value for key, value in fields.items() if key != name})
    opening = b'%b"%b":[' % (b"," if len(others) > 2 else b"", name.encode())
    between = [part for entry in entries for part in (b",", entry)]
    return b"".join([others[:-1], opening, *between[1:], b"]}"])


def _light(message: _Message) -> _Message:
    """Return a message that is equal to another one's exactly where the messages are equal, without the bytes of its images."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {
        **message,
        "content": [{**p, "image_url": hash(p["image_url"]["url"])} if "image_url" in p else p for p in content],
    }


def _form(message: _Message) -> _Form:
    content = message.get("content")
    return message.get("role"), bool(content) and type(content), "tool_calls" in message


def _turns(messages: Sequence[_Message]) -> list[int]:
    """Return where the model begins to speak, each time: in our messages, and in what a provider calls them."""
    speaks = [m.get("role") in ("assistant", "model") for m in messages]
    return [n for n, (before, now) in enumerate(pairwise(speaks), 1) if now and not before]
