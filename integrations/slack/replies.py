"""What onhand shows on Slack: how a request stands as one message, with its buttons. Pure.

One value, `Progress`, holds all that the two native forms need: a stream with task cards, or a message with blocks.

https://docs.slack.dev/reference/block-kit/blocks
"""

import hashlib
from typing import Any

import msgspec

from bot.core.inbound import Trigger
from bot.core.markdown import cut, line
from bot.core.outbound import Call, Say, Status, Task
from bot.core.wording import fenced, status_markdown
from integrations.slack.mrkdwn import mrkdwn, sections, shown_as_it_is
from integrations.slack.webhook import ACTION, PICKER

LONGEST_SAID = 11_000
"""Characters of Markdown that one message shows."""

NOT_HERE = msgspec.json.encode(
    {"response_type": "ephemeral", "text": "I cannot write here. Invite me to this channel, then ask again."}
)
"""What a person gets to see whose slash command cannot be said in the channel."""
NOT_NOW = msgspec.json.encode(
    {
        "response_type": "ephemeral",
        "text": "Slack did not take my message just now, so I have begun nothing. Please ask again in a moment.",
    }
)
"""The same where it may be said later."""

_BLOCKS, _TITLE, _TASKS = 45, 250, 40
_STATES = {"todo": "pending", "in_progress": "in_progress", "done": "complete"}
_LABELS = {"stop": ("Stop", "danger"), "approve": ("Approve", "primary"), "retry": ("Retry", None)}


class Progress(Call, frozen=True, kw_only=True):
    """Make sure that the message of this topic shows how a request stands."""

    text: str
    """All of it, in Markdown."""
    live: bool
    """Whether the work goes on: then it may be a stream."""
    person: str
    """The id of who asked."""
    tasks: tuple[Task, ...] = ()
    step: str = ""
    ending: str = ""
    buttons: tuple[str, ...] = ()
    picker: bool = False
    """Whether a menu of repositories stands below."""


def render(trigger: Trigger, status: Status, topic: str, handle: str) -> list[Call]:
    """Return the one message that shows how a request stands, and one with the patch where the work is one."""
    if topic.startswith("reply:"):  # somebody asked for the status: nothing would ever end a stream of it
        return [Say(topic=topic, thread=trigger.thread, text=status_markdown(status, handle, LONGEST_SAID))]
    calls: list[Call] = [
        Progress(
            topic=topic,
            thread=trigger.thread,
            text=status_markdown(status, handle, LONGEST_SAID),
            live=status.state in ("queued", "running"),
            person=trigger.actor.id.rpartition(":")[2],
            tasks=status.tasks[:_TASKS],
            step=status.step,
            ending=status.outcome.ending if status.outcome else "",
            buttons=_buttons(trigger, status),
            picker=status.state == "asking",
        )
    ]
    if status.patch:
        calls.append(Say(topic=f"{topic}:patch", thread=trigger.thread, text=_patch(status)))
    return calls


def _buttons(trigger: Trigger, status: Status) -> tuple[str, ...]:
    if status.state == "asking":
        return ()
    if status.outcome is None:
        return ("stop",)
    if status.outcome.ending in ("stopped", "limit", "failed"):
        return ("retry",)
    return ("approve",) if trigger.request.verb == "plan" and status.outcome.ending == "finished" else ()


def _patch(status: Status) -> str:
    patch = status.patch
    how = status.patch_flaw or "Save its blocks, one below the other, as `onhand.patch`: `git am onhand.patch`."
    if len(patch) > LONGEST_SAID:
        how = "It is too long for a message: it is cut here, so it cannot be applied as it is."
    elif not shown_as_it_is(patch):
        how = "Slack cannot show all of its lines as they are, so it is for reading only."
    return f"**The work as a patch.** {how}\n\n{fenced(patch[:LONGEST_SAID])}"


# --- as a message with blocks ---------------------------------------------------------------------------------------


def mark(topic: str) -> str:
    """Return the hidden id by which a message of this topic is found again: of its first block, or in those of its tasks."""
    return f"onhand-{hashlib.sha256(topic.encode()).hexdigest()[:20]}"


def message(topic: str, text: str, more: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return text and blocks of a message. The text is what notifications and screen readers show."""
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": part}} for part in sections(text)][:_BLOCKS]
    blocks = blocks or [{"type": "section", "text": {"type": "mrkdwn", "text": "…"}}]
    blocks[0]["block_id"] = mark(topic)
    return {"text": mrkdwn(text)[:3000] or "…", "blocks": blocks + (more or [])}


def asked(trigger: Trigger) -> tuple[str, list[dict[str, Any]]]:
    """Return what the slash command asked, as the first message of its thread: the words, and whose they are."""
    person, verb = trigger.actor.id.rpartition(":")[2], trigger.request.verb
    words = trigger.request.text if verb == "work" else f"{verb} {trigger.request.text}"
    who = {"type": "mrkdwn", "text": f"asked by <@{person}>"}
    return cut(words.strip() or "Have a look here.", LONGEST_SAID), [{"type": "context", "elements": [who]}]


def controls(call: Progress) -> list[dict[str, Any]]:
    """Return the block with the buttons or the menu, if there are any."""
    elements = [_button(verb) for verb in call.buttons]
    if call.picker:
        placeholder = {"type": "plain_text", "text": "Choose a repository"}
        elements.append(
            {"type": "external_select", "action_id": PICKER, "placeholder": placeholder, "min_query_length": 0}
        )
    return [{"type": "actions", "elements": elements}] if elements else []


def _button(verb: str) -> dict[str, Any]:
    label, style = _LABELS[verb]
    text = {"type": "plain_text", "text": label}
    button = {"type": "button", "action_id": f"{ACTION}{verb}", "text": text, "value": verb}
    return {**button, "style": style} if style else button


# --- as a stream ----------------------------------------------------------------------------------------------------


def chunks(call: Progress) -> list[dict[str, Any]]:
    """Return the task cards: the step at hand first, then the agent's list. Sent again, they renew what stands there."""
    state = "in_progress" if call.live else "error" if call.ending in ("failed", "limit") else "complete"
    title = line(call.step, _TITLE) or ("Getting ready" if call.live else "Ended")
    headline = "Working on it" if call.live else "Done" if call.ending == "finished" else "Ended"
    cards = [_card(call, 0, title, state)]
    cards += [_card(call, n, line(t.title, _TITLE), _STATES[t.status]) for n, t in enumerate(call.tasks, 1)]
    return [{"type": "plan_update", "title": headline}, *cards]


def _card(call: Progress, number: int, title: str, status: str) -> dict[str, Any]:
    return {"type": "task_update", "id": f"{mark(call.topic)}-{number}", "title": title, "status": status}
