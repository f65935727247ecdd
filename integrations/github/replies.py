"""What onhand says on GitHub: the status comment of a request, and the pull request. Pure.

The words are those of `bot.core.wording`. The hidden mark is put on by the client, on everything that it posts.
"""

from bot.core.inbound import Trigger
from bot.core.outbound import Call, Say, Status
from bot.core.ports import Proposal
from bot.core.wording import asked_here, change_of, messages


def render(trigger: Trigger, status: Status, topic: str, handle: str) -> list[Call]:
    """Return the one comment that shows how a request stands, and one with the patch where the work is one."""
    thread, beneath = trigger.thread, trigger.origin.thread_id
    texts = messages(status, topic, handle)
    return [Say(topic=name, thread=thread, text=text, beneath=beneath) for name, text in texts.items()]


def propose(proposal: Proposal) -> list[Call]:
    """Return the pull request for a pushed branch. It closes the issue, where it was asked in one of the same repository."""
    item = proposal.thread.item
    closes = asked_here(proposal) and item.isdigit() and not proposal.asked_in_change
    return [change_of(proposal, f"Fixes #{item}" if closes else "")]
