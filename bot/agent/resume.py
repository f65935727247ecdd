"""What a run that was cut off has left open, read from the log: pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.agent.replies import calls_of
from bot.agent.silence import SILENT
from bot.core.conversation import RUN_VERBS, State
from bot.core.events import Action, Admitted, Event, Finish, ModelReply, Notice, Observation, Reject
from bot.core.ports import ToolCall


@dataclass
class LeftOpen:
    """Actions without a result, and what is undone of the run's last reply."""

    interrupted: list[Event] = field(default_factory=list)
    """They may have begun, and nobody knows what came of them."""
    reply: Event | None = None
    """The run's last reply, if there is something to do about it still."""
    calls: list[ToolCall] = field(default_factory=list)
    """Its calls that have not become actions: they have certainly not begun."""
    ends: list[Event] = field(default_factory=list)
    """Its actions that ask for the end of the run, which still counts; `unended` are those without a result."""
    unended: list[Event] = field(default_factory=list)


def left_open(events: Sequence[Event], since: int) -> LeftOpen:
    """Return what is open in the log; `since` is the seq at which the present run began."""
    answered, known, acted = set[str](), set[str](), list[Event]()
    last, settled = None, False
    for event in events:
        match event.fact:
            case ModelReply() if event.seq > since:
                last, settled = event, False
            case Action() if event.call_id:
                acted.append(event)
                known.add(event.call_id)
            case Observation() if event.call_id:
                answered.add(event.call_id)
            case Notice(reason=reason) if reason == SILENT:
                settled = True
    unanswered = [e for e in acted if e.call_id not in answered]
    if last is None or not isinstance(last.fact, ModelReply) or settled:
        return LeftOpen(unanswered)
    ids = {c["id"] for c in last.fact.calls}
    ends = [e for e in acted if e.call_id in ids and isinstance(e.fact, Finish | Reject)]
    return LeftOpen(
        interrupted=[e for e in unanswered if e not in ends],
        reply=last,
        calls=[c for c in calls_of(last.fact) if c.id not in known | answered],
        ends=ends,
        unended=[e for e in ends if e in unanswered],
    )


def unseen_requests(events: Sequence[Event], state: State, reply: Event) -> bool:
    """Whether somebody wrote while the reply was being made. The reply's cause is the last event it knew."""
    for event in reversed(events):
        if event.seq <= (reply.cause or reply.seq):
            return False
        match event.fact:
            case Admitted(request=seq) if event.seq < reply.seq and seq in state.requests:
                if state.requests[seq].trigger.request.verb in RUN_VERBS:
                    return True
    return False
