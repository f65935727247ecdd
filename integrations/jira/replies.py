"""What onhand says and does on Jira: one comment that is edited, the issue's state, a link to the change. Pure.

The words are those of `bot.core.wording`; the client turns them into the markup of Cloud or Data Center.
"""

from typing import Literal

from bot.core.inbound import Trigger
from bot.core.outbound import Call, Say, Status
from bot.core.wording import messages

LONGEST = 15_000
"""Characters of Markdown in a comment: Jira takes 32,767 of its own markup, where each may be escaped."""

_LONGEST_PATCH = 14_000


class Progress(Say, frozen=True, kw_only=True):
    """A comment on its way: edits of it notify nobody."""


class Move(Call, frozen=True, kw_only=True):
    """Bring the issue into the state that is configured for this moment, where the workflow has a way there."""

    when: Literal["start", "end"]


class LinkChange(Call, frozen=True, kw_only=True):
    """Link the issue to the pull or merge request."""

    url: str


def render(trigger: Trigger, status: Status, topic: str, handle: str) -> list[Call]:
    """Return the comment, and what else belongs to this moment; the patch, where the work is one, in a comment of its own."""
    thread, beneath = trigger.thread, trigger.origin.thread_id
    calls: list[Call] = []
    for name, text in messages(status, topic, handle, LONGEST, _LONGEST_PATCH).items():
        kind = Progress if name == topic and status.state in ("queued", "running") else Say
        calls.append(kind(topic=name, thread=thread, text=text, beneath=beneath))
    if status.state == "running":
        calls.append(Move(topic=f"{topic}:start", thread=thread, when="start"))
    if status.change_url and status.state == "ended":
        calls.append(LinkChange(topic=f"{topic}:link", thread=thread, url=status.change_url))
        if status.outcome and status.outcome.ending == "finished":
            calls.append(Move(topic=f"{topic}:end", thread=thread, when="end"))
    return calls
