"""A prompt's way out past LiteLLM, which walks and copies all messages of every call, so that steps cost ever more.

Where LiteLLM sends messages on as they are, it is given the first two, and the whole prompt goes out in their place. That
it does so is not assumed but seen: what it makes of a prompt is compared with what it was given, and only
prompts in which nothing follows anything that was not seen before go out past it. LiteLLM itself is not known here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import msgspec

_Message = Mapping[str, Any]
_Form = tuple[Any, bool, bool]
_PROMPT: ContextVar["Prompt | None"] = ContextVar("prompt", default=None)


class Passage:
    """What was seen of the way to one model."""

    def __init__(self) -> None:
        self.as_is = True
        """Whether all messages so far were sent on as they are."""
        self.seen: set[tuple[_Form, _Form]] = set()
        """Which forms of messages were seen to follow which."""


class Prompt:
    """The messages of one call."""

    def __init__(self, messages: Sequence[_Message], passage: Passage) -> None:
        self._messages, self._passage = messages, passage
        self._pairs = set(pairwise(map(_form, messages)))
        self._whole = not (passage.as_is and self._pairs and self._pairs <= passage.seen)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The messages that LiteLLM is to be given."""
        return [dict(m) for m in (self._messages if self._whole else self._messages[:2])]

    @contextmanager
    def going_out(self) -> Iterator[None]:
        """Have `outgoing` mean this prompt, in this task."""
        token = _PROMPT.set(self)
        try:
            yield
        finally:
            _PROMPT.reset(token)

    def put_into(self, body: str | bytes) -> str | bytes:
        """Return the body of a request with all messages in it."""
        if not self._passage.as_is:
            return body
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if self._whole:
            self._compare(fields.get("messages", msgspec.Raw(b"null")))
            return body
        fields["messages"] = msgspec.Raw(msgspec.json.encode(self._messages))
        return msgspec.json.encode(fields)

    def _compare(self, sent: msgspec.Raw) -> None:
        self._passage.as_is = msgspec.json.decode(sent) == list(self._messages)
        self._passage.seen |= self._pairs


def outgoing(body: str | bytes) -> str | bytes:
    """Return what is to be sent for the JSON body that LiteLLM made."""
    prompt = _PROMPT.get()
    return prompt.put_into(body) if prompt else body


def _form(message: _Message) -> _Form:
    return message.get("role"), bool(message.get("content")), "tool_calls" in message
