"""What a person asked for, as a message to the model: pure.

What the person wrote is the task. Title, description and diff around it may be anybody's, so they are
wrapped as untrusted.
"""

from bot.core.inbound import Trigger
from bot.core.untrusted import clean, wrap

_LONGEST = 40_000

_BY = {
    "mention": "mentions you: do what is asked for below",
    "label": "put your label on what is described below: do what it asks for",
    "assignment": "assigned to you what is described below: do what it asks for",
    "follow_up": "goes on with what is described below",
    "button": "chose where the work goes, for what is described below",
    "review_request": "asks you for a review of the change: read it, say what you find, and change nothing",
}

_VERBS = {
    "plan": "Make a plan for this and finish with it. Change nothing yet.",
    "approve": "The plan is approved. Carry it out.",
    "retry": "Try again.",
}


def as_message(trigger: Trigger, before: Trigger | None) -> str:
    """Return the message for a request. What the one shown `before` it said about the thread is not said again."""
    parts = [f"{trigger.actor.shown} {_asks(trigger)}"]
    described = trigger.title or trigger.body
    if described and (before is None or (before.title, before.body) != (trigger.title, trigger.body)):
        kind = "change" if trigger.change else "issue"
        parts.append(wrap(f"{kind} {trigger.thread.key}", _cut(f"# {trigger.title}\n\n{trigger.body}")))
    if trigger.guidance and (before is None or before.guidance != trigger.guidance):
        parts.append(
            f"Those who administer {trigger.thread.place} tell agents there:\n\n{_cut(clean(trigger.guidance))}"
        )
    if trigger.origin.hunk:
        where = f"{trigger.origin.path}:{trigger.origin.line}" if trigger.origin.line else trigger.origin.path
        parts.append(
            f"It is about this place in the change, {clean(where)}:\n{wrap('diff', _cut(trigger.origin.hunk))}"
        )
    return "\n\n".join(parts)


def _asks(trigger: Trigger) -> str:
    request = trigger.request
    where = f"in {trigger.thread.key}"
    wish = _cut(clean(request.text))
    if sentence := _VERBS.get(request.verb):
        return f"writes {where}: {sentence}" + (f"\n\n{wish}" if wish else "")
    if wish:
        return f"writes {where}:\n\n{wish}"
    return f"{_BY[trigger.by]} ({where})."


def _cut(text: str) -> str:
    return (
        text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n[{len(text) - _LONGEST} more characters are left out]"
    )
