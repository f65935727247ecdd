"""Replies that call for nothing: a model is asked to go on a few times, then its words count as its answer, if they are whole."""

from collections.abc import Sequence

from bot.agent.endings import Done, Failed
from bot.core.events import Admitted, Draft, Event, ModelReply, Notice

SILENT = "no_call"
"""The reason of the Notice that follows a reply without tool calls."""

_PATIENCE = 3
_NO_CALL = (
    "Your reply called no tool. If work is left, go on with it by calling one. If you are done, or the answer "
    "is all that was wanted, call `finish` with it."
)
_CUT = (
    "Your reply was cut off at the limit on its length, before it called a tool. Say less at once, and go on by calling "
    "one: `finish` with the answer, in fewer words, if that is all that is left."
)


def go_on(events: Sequence[Event]) -> Draft:
    """Return the Notice that asks the model to go on.

    After a few replies without a call in a row, raises Done with the latest words that were not cut off, or Failed where
    there were none.
    """
    replies = _silent_replies(events)
    if len(replies) < _PATIENCE:
        return Draft(Notice(reason=SILENT, content=_CUT if any(reply.cut for reply in replies[:1]) else _NO_CALL))
    if words := next((reply.content for reply in replies if reply.content and not reply.cut), ""):
        raise Done(words, reason="answer")
    if any(reply.cut for reply in replies):
        text = "The language model's answers were cut off at the limit on their length, several times in a row."
        raise Failed("model", f"{text} Write `retry` to try again.")
    raise Failed("model", "The language model gave no answer, several times in a row. Write `retry` to try again.")


def _silent_replies(events: Sequence[Event]) -> list[ModelReply]:
    """The replies without a tool call that the log ends with, latest first."""
    replies: list[ModelReply] = []
    for event in reversed(events):
        match event.fact:
            case ModelReply(calls=[]) as reply:
                replies.append(reply)
            case ModelReply() | Admitted():
                break
    return replies
