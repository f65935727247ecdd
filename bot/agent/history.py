"""The prompt as a projection of the log: events in, messages in the shape of the chat completions API out. Pure.

Providers refuse a prompt in which a tool call has not exactly one tool message right behind it. Here that holds for
any log: a reply's tool messages are laid down together with it and filled when the observations come. What came in
while a reply was being made (its cause is the last event that it knew) stands behind it, so a prompt only ever grows.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bot.agent.images import Content, illustrated, in_words, size
from bot.agent.replies import arguments
from bot.agent.requests import as_message
from bot.core.conversation import RUN_VERBS
from bot.core.errors import UserError
from bot.core.events import (
    Admitted,
    Asked,
    Background,
    CommandOutput,
    Event,
    ModelReply,
    Notice,
    Observation,
    Problem,
    RunEnded,
)
from bot.core.inbound import Trigger

Message = dict[str, Any]

NO_RESULT = "interrupted: result unknown. Look at the present state before you rely on it."
_NO_TEXT = "(no answer)"
_WORTH_DROPPING = 400
_KEPT_WHOLE = 6
_SMALLER = 0.6
_SMALLEST = 4_000
_BAD_NAME = re.compile(r"[^A-Za-z0-9_-]")


class History:
    """The messages of one conversation. It follows a log that grows; following is linear in what is new.

    `images` are data URLs by address: those of the images in the log that the model is shown.
    """

    def __init__(self, system: str, images: Mapping[str, str] = {}) -> None:
        self._images = images
        self.messages: list[Message] = [{"role": "system", "content": system}]
        self._followed = 0
        self._asked: dict[int, Trigger] = {}
        self._last_asked: Trigger | None = None
        self._last_shown: Trigger | None = None
        self._said: list[int] = []
        """The seqs of the user messages at the end."""
        self._open: dict[str, Message] = {}
        """The tool message of every call id so far; the id's first result fills it."""
        self._filled: set[str] = set()

    def __contains__(self, call_id: object) -> bool:
        """Whether a call has this id."""
        return call_id in self._open

    def follow(self, events: Sequence[Event]) -> list[Message]:
        """Take in what is new in the log, which is given whole, and return the messages."""
        for event in events[self._followed :]:
            self._take(event)
        self._followed = len(events)
        return self.messages

    def shorten(self) -> bool:
        """Make the prompt clearly shorter, for good, and return whether anything could be left out.

        Contents of the oldest observations go first, then old arguments, images, and the middle of long texts of late.
        """
        whole = sum(map(_size, self.messages))
        excess = whole - int(whole * _SMALLER)
        old, late = self.messages[1:-_KEPT_WHOLE], self.messages[-_KEPT_WHOLE:]
        ways = ((old, _without_result), (old, _without_arguments), (old + late, _in_words), (late, _cut_in_the_middle))
        for messages, shorter in ways:
            for message in messages:
                if excess <= 0:
                    return True
                before = _size(message)
                shorter(message)
                excess -= before - _size(message)
        return sum(map(_size, self.messages)) < whole

    def _take(self, event: Event) -> None:
        match event.fact:
            case Asked(trigger=trigger):
                self._asked[event.seq] = self._last_asked = trigger.described_by(self._last_asked)
            case Admitted(request=seq, name=name) if (asked := self._asked.pop(seq, None)) and _runs(asked):
                self._say(event, as_message(asked.called(name), self._last_shown))
                self._last_shown = asked
            case ModelReply() as reply:
                known = event.seq if event.cause is None else event.cause
                late = sum(seq > known for seq in self._said)
                self._reply(reply, late)
            case Observation() as seen if event.call_id:
                self._fill(event.call_id, as_text(seen))
            case Background(content=content, images=images) if content:
                said = f"[onhand] What was said there before, for your information:\n{content}"
                self._say(event, illustrated(said, images, self._images))
            case Notice(content=content):
                self._say(event, f"[onhand] {content}")
            case RunEnded(outcome=outcome):
                self._say(
                    event,
                    f"[onhand] That run has ended: {outcome.ending} {outcome.reason}".rstrip()
                    + ". What follows is a new run "
                    "in a new sandbox with a fresh working copy; look at its state before you rely on what was said.",
                )

    def _say(self, event: Event, content: Content) -> None:
        self.messages.append({"role": "user", "content": content})
        self._said.append(event.seq)

    def _reply(self, reply: ModelReply, late: int) -> None:
        """Lay down a reply before the last `late` messages, which it did not know."""
        place = len(self.messages) - late
        behind, self.messages[place:] = self.messages[place:], []
        calls = [c for c in reply.calls if c.get("id") and c["id"] not in self._open]
        calls = list({c["id"]: c for c in calls}.values())
        message: Message = {"role": "assistant", "content": reply.content or ("" if calls else _NO_TEXT)}
        if calls:
            message["tool_calls"] = [_tool_call(c) for c in calls]
        self.messages.append(message)
        for call in calls:
            self._open[call["id"]] = {"role": "tool", "tool_call_id": call["id"], "content": NO_RESULT}
            self.messages.append(self._open[call["id"]])
        self.messages += behind
        self._said = self._said[len(self._said) - late :]

    def _fill(self, call_id: str, content: str) -> None:
        if call_id in self._open and call_id not in self._filled:
            self._filled.add(call_id)
            self._open[call_id]["content"] = content


def _runs(asked: Trigger) -> bool:
    return asked.request.verb in RUN_VERBS


def as_text(seen: Observation) -> str:
    """Return an observation as the model reads it."""
    match seen:
        case CommandOutput(content=content, exit_code=code, cwd=cwd, timed_out=timed_out):
            ended = (
                "ended at its time limit" if timed_out else f"exit code {code}" if code is not None else "interrupted"
            )
            return f"{content}{'' if not content or content.endswith(chr(10)) else chr(10)}[{ended}, in {cwd}]"
        case Problem(content=content):
            return f"Error: {content}"
    return seen.content or "Done."


def _tool_call(call: dict[str, str]) -> Message:
    """A stored call in a form that every provider takes back."""
    name = _BAD_NAME.sub("_", call.get("name", ""))[:64] or "unknown"
    text = call.get("arguments", "")
    try:
        arguments(text)
    except UserError:
        text = msgspec.json.encode({"unreadable": _storable(text)[:2_000]}).decode()
    return {"id": call["id"], "type": "function", "function": {"name": name, "arguments": text.strip() or "{}"}}


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _size(message: Message) -> int:
    return size(message["content"]) + sum(len(c["function"]["arguments"]) for c in message.get("tool_calls", ()))


def _without_result(message: Message) -> None:
    if message["role"] == "tool" and len(message["content"]) > _WORTH_DROPPING:
        message["content"] = (
            f"[left out to fit: this result had {len(message['content'])} characters; look again if needed]"
        )


def _without_arguments(message: Message) -> None:
    for call in message.get("tool_calls", ()):
        text = call["function"]["arguments"]
        if len(text) > _WORTH_DROPPING:
            call["function"]["arguments"] = f'{{"left_out_to_fit": "{len(text)} characters"}}'


def _in_words(message: Message) -> None:
    message["content"] = in_words(message["content"])


def _cut_in_the_middle(message: Message) -> None:
    content = message["content"]
    if len(content) > _SMALLEST:
        keep = max(_SMALLEST, len(content) // 2) // 2 - 50
        cut = len(content) - 2 * keep
        message["content"] = f"{content[:keep]}\n[{cut} characters left out to fit]\n{content[-keep:]}"
