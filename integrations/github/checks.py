"""The check run at the head of a pull request: how the run for it stands, and the buttons that say a verb. Pure.

It carries the number of its thread and its topic as its external id: by that it is found again, and a button's press is
brought back to the conversation. https://docs.github.com/rest/checks/runs
"""

import re
from typing import Any

from bot.core.inbound import Thread
from bot.core.markdown import cut, harmless
from bot.core.marks import BRANCH_PREFIX
from bot.core.outbound import Call, Ending, SetCheck, Status

VERBS = {"stop": "End what I am doing here", "retry": "Start the last request again"}
"""What a button can say, and what it shows below its name. GitHub takes 20 characters as the one, 40 as the other."""

_SHOWN: dict[Ending | None, tuple[str, str, str]] = {
    None: ("", "Working on it", "stop"),
    "finished": ("success", "Done", "retry"),
    "refused": ("neutral", "Not started", "retry"),
    "stopped": ("cancelled", "Stopped", "retry"),
    "limit": ("action_required", "A limit was reached before the work was done", "retry"),
    "failed": ("failure", "Not finished", "retry"),
}
"""GitHub's conclusion, the title and the button, by how a run has ended."""

_LONGEST_TEXT = 60_000
_COMMIT_SHOWN = 12


def render(thread: Thread, status: Status, topic: str, handle: str) -> list[Call]:
    """Return a check for every head of the change that was worked on."""
    outcome = status.outcome
    ending = outcome.ending if outcome else None
    _, title, verb = _SHOWN["failed" if ending == "refused" and status.steps else ending]
    said = cut(harmless(outcome.text.strip()), _LONGEST_TEXT) if outcome else ""
    return [
        SetCheck(
            topic=f"{topic}:check:{commit[:_COMMIT_SHOWN]}",
            thread=thread,
            commit=commit,
            title=title,
            text=said or f"{title}. To {verb}, press the button or write `{handle} {verb}`.",
            ending=ending,
            details_url=status.details_url or status.message_url,
        )
        for commit in status.commits
    ]


def body(call: SetCheck, handle: str) -> dict[str, Any]:
    """Return what GitHub takes as the check run of a call."""
    conclusion, _, verb = _SHOWN[call.ending]
    shown: dict[str, Any] = {
        "name": name(handle),
        "external_id": external_id(call),
        "status": "completed" if conclusion else "in_progress",
        "output": {"title": call.title, "summary": call.text},
        "actions": [{"label": verb.capitalize(), "identifier": verb, "description": VERBS[verb]}],
    }
    if conclusion:
        shown["conclusion"] = conclusion
    if call.details_url:
        shown["details_url"] = call.details_url
    return shown


def name(handle: str) -> str:
    """Return under what name the check is shown."""
    return handle.removeprefix("@")


def external_id(call: SetCheck) -> str:
    """Return the mark of a call's check: other threads and other runs have others."""
    return f"{call.thread.item}/{call.topic}"


def item_of(external_id: str) -> str:
    """Return the number of the issue or pull request in whose conversation the check was made; "" for no mark of ours."""
    item, slash, _ = external_id.partition("/")
    return item if slash and item.isascii() and item.isdecimal() and len(item) < 20 else ""


def item_of_branch(branch: str) -> str:
    """Return the number of the issue or pull request in whose conversation a branch was made; "" for one that is not ours."""
    found = re.match(rf"{BRANCH_PREFIX}([0-9]{{1,19}})(?=-|$)", branch)
    return found[1] if found else ""
