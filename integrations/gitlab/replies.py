"""What onhand says on GitLab: the note that shows how a request stands, and the merge request. Pure.

The words are those of `bot.core.wording`. The hidden mark is put on by the client, on everything that it posts.
"""

from bot.core.inbound import Origin, Trigger
from bot.core.outbound import Call, Say, Status
from bot.core.ports import Proposal
from bot.core.wording import asked_here, change_of, patch_markdown, status_markdown


class SayInDiff(Say, frozen=True, kw_only=True):
    """A Say that answers a remark on code, so that it can be put on the same line again where that remark is gone."""

    origin: Origin


def render(trigger: Trigger, status: Status, topic: str, handle: str) -> list[Call]:
    """Return the one note that shows how a request stands, and one with the patch where the work is one."""
    calls: list[Call] = [_say(trigger, topic, status_markdown(status, handle))]
    if status.patch:
        calls.append(_say(trigger, f"{topic}:patch", patch_markdown(status.patch)))
    return calls


def propose(proposal: Proposal) -> list[Call]:
    """Return the merge request for a pushed branch. It closes the issue, where it was asked in one of the same project."""
    item = proposal.thread.item
    return [change_of(proposal, f"Closes #{item}" if asked_here(proposal) and item.isdigit() else "")]


def _say(trigger: Trigger, topic: str, text: str) -> Say:
    thread, origin = trigger.thread, trigger.origin
    if origin.kind == "review_comment":
        return SayInDiff(topic=topic, thread=thread, text=text, beneath=origin.thread_id, origin=origin)
    return Say(topic=topic, thread=thread, text=text, beneath=origin.thread_id)
