"""What onhand says on GitLab: the note that shows how a request stands, and the merge request. Pure.

The words are those of `bot.core.wording`. The client posts them `marked`, and with nothing that GitLab would carry out.
"""

import re

from bot.core import marks
from bot.core.inbound import Origin, Trigger
from bot.core.outbound import Call, Say, Status
from bot.core.ports import Proposal
from bot.core.untrusted import clean
from bot.core.wording import asked_here, change_of, messages

LONGEST = 1_000_000
"""Characters that GitLab takes as a note or a description."""

_QUICK_ACTION = re.compile(r"^/(?=[A-Za-z_]+(?:\s|\Z))", re.MULTILINE)


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


def marked(text: str, topic: str) -> str:
    """Return the text under its mark, cut to what GitLab takes, without quick actions."""
    return marks.marked(without_quick_actions(clean(text)), topic, LONGEST)


def noted(title: str, text: str, topic: str) -> str:
    """Return a merge request's description, likewise, with the note of how it and the title read."""
    return marks.noted(title, without_quick_actions(clean(text)), topic, LONGEST)


def without_quick_actions(text: str) -> str:
    """Return the text so that a line such as `/close` reads the same and closes nothing.

    https://docs.gitlab.com/user/project/quick_actions/
    """
    return _QUICK_ACTION.sub(r"\\/", text)
