"""A conversation's state as the fold of its events. Everything that is shown or decided is read from here."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from bot.core.events import (
    Admitted,
    Asked,
    Background,
    Boxed,
    Called,
    Calling,
    Closed,
    CommandOutput,
    Event,
    FileContent,
    FileEdited,
    Landed,
    Located,
    ModelReply,
    Notice,
    RunCommand,
    RunEnded,
    RunStarted,
    TasksTracked,
    Waiting,
)
from bot.core.images import LEFT_OUT, REFUSED
from bot.core.inbound import Repository, Thread, Trigger
from bot.core.outbound import Outcome, Receipt, Task

_NAMESPACE = uuid.UUID("4f5c7c5e-0c0f-5d0e-9a0b-0e1d2c3b4a59")

RUN_VERBS = ("work", "retry", "plan", "approve")
"""Verbs that a run answers; the front desk answers the others at once."""


@lru_cache(1024)
def conversation_id(thread: Thread) -> str:
    """Return the id of the one conversation that belongs to a thread: uuid5 of its key."""
    return str(uuid.uuid5(_NAMESPACE, thread.key))


@dataclass
class RequestState:
    """One request and how far it has come."""

    seq: int
    at: float
    trigger: Trigger
    phase: Literal["asked", "waiting", "admitted", "closed"] = "asked"
    waits_for: Literal["", "account", "repository"] = ""
    user: str = ""
    admitted_seq: int = 0
    """Of its Admitted event; the agent may know of it from there on."""
    ending: str = ""

    @property
    def needs_run(self) -> bool:
        """Whether an agent has to work on it, rather than the front desk."""
        return self.trigger.request.verb in RUN_VERBS

    def says_only(self, repository: Repository | None) -> bool:
        """Whether it is the answer to our question for the repository, and asks for nothing itself."""
        asked = self.trigger.request
        if repository is None or asked.verb != "work" or asked.text not in ("", repository.name):
            return False
        return bool(asked.text) or self.trigger.by == "button" or "repo" in asked.options


@dataclass
class RunState:
    """The latest run."""

    id: str
    holder: str
    started_at: float
    requests: list[int]
    seq: int
    """Of its first RunStarted; the agent's work on it comes after."""
    outcome: Outcome | None = None
    steps: int = 0
    cost_usd: float = 0.0
    tokens: int = 0
    last_step: str = ""
    known_seq: int = 0
    """The last event that the model knew when it gave its last answer."""
    heads: tuple[str, ...] = ()
    """The heads of a change that it began from; more than one where its box was lost."""
    landed: Landed | None = None
    """What became of its commits."""
    unseen: str = ""
    """Which images were not looked at, and why, in sentences."""


@dataclass
class State:
    """Where a conversation stands after `seq`."""

    seq: int = 0
    requests: dict[int, RequestState] = field(default_factory=dict)
    run: RunState | None = None
    topics: dict[str, Receipt | None] = field(default_factory=dict)
    """Calls by topic; None where a call was begun and its receipt is not known."""
    tasks: tuple[Task, ...] = ()
    box: Boxed | None = None
    """The sandbox at work, if there is one."""
    background_for: int = 0
    """The last request for which what was said in the thread was fetched."""
    background_at: float = 0.0
    """Until when, in Unix seconds, what was said there is in the log."""
    repository: Repository | None = None
    """Where the work goes, once that was settled for a thread which does not say it by itself."""
    branch: str = ""
    """The branch that the work is on, kept for follow-ups."""
    pushed: bool = False
    """Whether any run has pushed."""
    cost_usd: float = 0.0

    @property
    def thread(self) -> Thread:
        """The thread that the conversation is about."""
        return next(iter(self.requests.values())).trigger.thread

    def open(self, *phases: str) -> list[RequestState]:
        """The requests in one of the phases (without any: all that are not closed), oldest first."""
        return [r for r in self.requests.values() if (r.phase in phases if phases else r.phase != "closed")]

    def running(self) -> bool:
        """Whether a run has begun whose requests have not all had their ending."""
        return self.run is not None and any(self.requests[seq].phase != "closed" for seq in self.run.requests)

    def stop_asked(self) -> RequestState | None:
        """The latest admitted `stop` that came after what the run has still to answer, if any."""
        ours = self.run.requests if self.run else ()
        since = min((seq for seq in ours if self.requests[seq].phase != "closed"), default=self.seq)
        return next((stop for stop in reversed(self._stops()) if stop.seq > since), None)

    def for_one_run(self) -> list[RequestState]:
        """The admitted requests that a run answers together: a `stop` between two of them parts them."""
        waiting = [r for r in self.open("admitted") if r.needs_run]
        if all(map(self.was_carried, waiting)):
            return []
        stop = self.stopped_by(waiting[0])
        return [r for r in waiting if stop is None or r.seq < stop.seq]

    def stopped_by(self, request: RequestState) -> RequestState | None:
        """The first admitted `stop` that came after a request."""
        return next((stop for stop in self._stops() if stop.seq > request.seq), None)

    def was_carried(self, request: RequestState) -> bool:
        """Whether it says only where the work goes, and what waited to know that was admitted since: one run answers both.

        In the same place: elsewhere nobody would see how it ended.
        """
        place = request.trigger.origin.thread_id
        return request.says_only(self.repository) and any(
            r.seq < request.seq < r.admitted_seq and r.trigger.origin.thread_id == place for r in self._have_waited()
        )

    def answers_too_late(self, request: RequestState, repository: Repository) -> bool:
        """Whether it says only where the work goes that somebody has stopped meanwhile. Who calls us by name asks anew."""
        last = next((r for r in reversed(self._have_waited()) if r.seq < request.seq), None)
        stopped = last is not None and last.ending == "stopped"
        return stopped and request.trigger.by in ("button", "follow_up") and request.says_only(repository)

    def _have_waited(self) -> list[RequestState]:
        return [r for r in self.requests.values() if r.waits_for == "repository"]

    def comes_behind(self, request: RequestState) -> bool:
        """Whether something that needs a run was asked before this request and has yet to be admitted."""
        return any(r.needs_run and r.seq < request.seq for r in self.open("asked"))

    def last_admitted(self, actor: str) -> int:
        """The seq at which a request of this account (by its key) was admitted last, 0 where none ever was."""
        return max((r.admitted_seq for r in self.requests.values() if r.trigger.actor.key == actor), default=0)

    def _stops(self) -> list[RequestState]:
        return [r for r in self.requests.values() if r.admitted_seq and r.trigger.request.verb == "stop"]

    def apply(self, event: Event) -> None:
        """Take one more event in. Events must come in the order of their seq."""
        self.seq = event.seq
        match event.fact:
            case Asked(trigger=trigger):
                before = next((r.trigger for r in reversed(self.requests.values())), None)
                trigger = trigger.described_by(before).again(self._last_wish(trigger))
                self.requests[event.seq] = RequestState(event.seq, event.at, trigger)
            case Admitted(request=seq, user=user, name=name) if (
                seq in self.requests and self.requests[seq].phase != "closed"
            ):
                request = self.requests[seq]
                request.phase, request.user, request.admitted_seq = "admitted", user, event.seq
                request.trigger = request.trigger.called(name)
            case Waiting(request=seq, account=account) if seq in self.requests and self.requests[seq].phase != "closed":
                request = self.requests[seq]
                request.phase, request.waits_for = "waiting", "account" if account else "repository"
            case Closed(requests=seqs, ending=ending):
                for closed in (self.requests[seq] for seq in seqs if seq in self.requests):
                    closed.phase, closed.ending = "closed", ending
            case Calling(topic=topic):
                self.topics.setdefault(topic, None)
            case Called(topic=topic, receipt=receipt):
                self.topics[topic] = receipt
            case RunStarted() as started:
                self._start(event, started)
            case _:
                self._furnish(event)
                self._follow_run(event)

    def _last_wish(self, asked: Trigger) -> Trigger | None:
        """The latest request for a run that was admitted, or is of the same person."""
        wishes = (r for r in reversed(self.requests.values()) if r.needs_run)
        return next((r.trigger for r in wishes if r.admitted_seq or r.trigger.actor.key == asked.actor.key), None)

    def _furnish(self, event: Event) -> None:
        match event.fact:
            case Boxed() as box:
                self.box = box if box.state else None
                self.branch = box.branch or self.branch
                self._note_head()
            case Background(request=seq, newest=newest):
                self.background_for, self.background_at = seq, newest
            case Located(repository=repository):
                self.repository = repository
            case Landed() as landed if self.run is not None and landed.run == self.run.id:
                self.run.landed, self.pushed = landed, self.pushed or bool(landed.branch)

    def _start(self, event: Event, started: RunStarted) -> None:
        if self.run is not None and self.run.id == started.run:
            self.run.holder = started.holder
        else:
            self.run = RunState(started.run, started.holder, event.at, list(started.requests), event.seq)
            self.tasks = ()
            self._note_head()

    def _note_head(self) -> None:
        if self.run and self.box and self.box.at_head and self.box.base not in self.run.heads:
            self.run.heads = (*self.run.heads, self.box.base)

    def _follow_run(self, event: Event) -> None:
        run = self.run
        if run is None:
            return
        match event.fact:
            case TasksTracked(task_list=tasks):
                self.tasks = tuple(_task(t) for t in tasks)
            case ModelReply() as reply:
                run.steps += 1
                run.known_seq = event.cause or event.seq
                run.cost_usd += reply.cost_usd
                run.tokens += reply.input_tokens + reply.output_tokens
                self.cost_usd += reply.cost_usd
            case RunCommand(command=command):
                run.last_step = command
            case CommandOutput(command=command, exit_code=code) if command:
                run.last_step = f"{command} (exit {code})" if code else command
            case FileContent(path=path):
                run.last_step = f"read {path}"
            case FileEdited(path=path):
                run.last_step = f"edited {path}"
            case Notice(reason=reason, content=content) if reason in (LEFT_OUT, REFUSED):
                run.unseen = f"{run.unseen} {content}".lstrip()
            case RunEnded(run=run_id, outcome=outcome) if run_id == run.id:
                run.outcome = outcome


def _task(raw: dict[str, object]) -> Task:
    status = raw.get("status")
    known: Literal["todo", "in_progress", "done"] = status if status in ("in_progress", "done") else "todo"
    return Task(str(raw.get("title", "")), known)


def fold(events: Iterable[Event], state: State | None = None) -> State:
    """Return the state after the events; `state` is carried on (and changed) where one is given."""
    state = state or State()
    for event in events:
        state.apply(event)
    return state
