"""Replies that call for nothing: a model is asked to go on a few times, then its words count as its answer."""

from collections.abc import Sequence

from bot.agent.endings import Done, Failed
from bot.core.events import Admitted, Draft, Event, ModelReply, Notice

SILENT = "no_call"
"""The reason of the Notice that follows a reply without tool calls."""

_PATIENCE = 3


def go_on(events: Sequence[Event]) -> Draft:
    """Return the Notice that asks the model to go on.

    After a few replies without a call in a row, raises Done with the latest words, or Failed where there were none.
    """
    texts = _silent_replies(events)
    if len(texts) < _PATIENCE:
        text = (
            "Your reply called no tool. If work is left, go on with it by calling one. If you are done, or the answer "
            "is all that was wanted, call `finish` with it."
        )
        return Draft(Notice(reason=SILENT, content=text))
    if words := next(filter(None, texts), ""):
        raise Done(words, reason="answer")
    raise Failed("model", "The language model gave no answer, several times in a row. Write `retry` to try again.")


def _silent_replies(events: Sequence[Event]) -> list[str]:
    """The texts of the replies without a tool call that the log ends with, latest first."""
    texts: list[str] = []
    for event in reversed(events):
        match event.fact:
            case ModelReply(calls=[], content=content):
                texts.append(content)
            case ModelReply() | Admitted():
                break
    return texts
