"""What onhand says on GitLab: the note that shows how a request stands, and the merge request. Pure.

The words are those of `bot.core.wording`. The hidden mark is put on by the client, on everything that it posts.
"""

from bot.core.inbound import Origin, Trigger
from bot.core.outbound import Call, Say, Status
from bot.core.ports import Proposal
from bot.core.wording import asked_here, change_of, messages


class SayInDiff(Say, frozen=True, kw_only=True):
    """A Say that answers a remark on code, so that it can be put on the same line again where that remark is gone."""

    origin: Origin


def render(trigger: Trigger, status: Status, topic: str, handle: str) -> list[Call]:
    """Return the one note that shows how a request stands, and one with the patch where the work is one."""
    return [_say(trigger, name, text) for name, text in messages(status, topic, handle).items()]


def propose(proposal: Proposal) -> list[Call]:
    """Return the merge request for a pushed branch. It closes the issue, where it was asked in one of the same project."""
    item = proposal.thread.item
    return [change_of(proposal, f"Closes #{item}" if asked_here(proposal) and item.isdigit() else "")]


def _say(trigger: Trigger, topic: str, text: str) -> Say:
    thread, origin = trigger.thread, trigger.origin
    if origin.kind == "review_comment":
        return SayInDiff(topic=topic, thread=thread, text=text, beneath=origin.thread_id, origin=origin)
    return Say(topic=topic, thread=thread, text=text, beneath=origin.thread_id)
