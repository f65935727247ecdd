"""What onhand says at Linear: activities, plan and links of a session; one comment where it was asked in a comment or by label.

Everything created gets an id of our own, made of what it is about, so that a second try meets the first one. Pure.

https://linear.app/developers/agent-interaction, https://linear.app/developers/agent-signals
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import structs

from bot.core.inbound import Thread, Trigger
from bot.core.markdown import line
from bot.core.outbound import Call, Say, Status, Task
from bot.core.wording import lasting, messages, patch_markdown, status_markdown
from integrations.linear.webhook import NO_ISSUE, OWN_IDS, SESSION

_NAMESPACE = uuid.UUID("2f0b0f0e-7c55-5d0e-8a7c-6f6e68616e64")
_PLAN = {"todo": "pending", "in_progress": "inProgress", "done": "completed"}
_PROFILE = re.compile(r"https?://(linear\.app/[^\s/]{1,100}/profiles/)", re.IGNORECASE)
_LINK = re.compile(r"https?://[^\s<>()\[\]\"'`\\]{1,2000}")
_DETAILS = re.compile(r"<details><summary>([^<\n]*)</summary>(.*)</details>\Z", re.DOTALL)
_NOT_LINKED = (
    "Addresses of people's pages in it are shortened, so that it pings nobody, so it cannot be applied as it is."
)
_AS_ERROR = ("refused", "limit", "failed")

Form = Literal["thought", "action", "elicitation", "response", "error"]


class Activity(Call, frozen=True, kw_only=True):
    """The next thing to say in a session."""

    session: str
    form: Form
    body: str
    """Of an action: what it is done with."""
    ephemeral: bool = False
    """Whether the next activity takes its place; thoughts and actions only."""
    choices: tuple[str, ...] = ()
    """Of an elicitation: answers to choose from."""
    link: str = ""
    """Of an elicitation: where an account is connected."""
    account: str = ""
    """Whose account, by the id of the user."""
    steps: int = 0
    """How far the run is: the same words later are said once more."""

    @property
    def id(self) -> str:
        """The same for the same words under the same topic."""
        return own_id(self.topic, self.session, self.form, self.body, str(self.steps))

    @property
    def input(self) -> dict[str, Any]:
        """The AgentActivityCreateInput."""
        said = {"action": "Working", "parameter": self.body} if self.form == "action" else {"body": self.body}
        content, given = {"type": self.form, **said}, {"id": self.id, "agentSessionId": self.session}
        return {**given, "content": content, "ephemeral": self.ephemeral, **self._signal()}

    def _signal(self) -> Mapping[str, Any]:
        if self.link:
            return {"signal": "auth", "signalMetadata": {"url": self.link, "userId": self.account}}
        if self.choices:
            options = [{"label": choice.partition(":")[2] or choice, "value": choice} for choice in self.choices]
            return {"signal": "select", "signalMetadata": {"options": options}}
        return {}


class Board(Call, frozen=True, kw_only=True):
    """The plan of a session, and the addresses that belong to it."""

    session: str
    tasks: tuple[Task, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """Label and address."""

    @property
    def id(self) -> str:
        """The same for the same plan and addresses."""
        return own_id(self.topic, self.session, str(self.input))

    @property
    def input(self) -> dict[str, Any]:
        """The AgentSessionUpdateInput. A plan is replaced as a whole; where there is none yet, none is sent."""
        plan = [{"content": line(task.title), "status": _PLAN[task.status]} for task in self.tasks]
        links = [{"label": label, "url": url} for label, url in self.links]
        return {**({"plan": plan} if plan else {}), **({"externalUrls": links} if links else {})}

    @property
    def update(self) -> dict[str, Any]:
        """The variables of the mutation."""
        return {"id": self.session, "input": self.input}


class Begin(Call, frozen=True, kw_only=True):
    """Take the issue into its team's first started state, and as ours where it was asked in a session."""

    delegate: bool


def own_id(*parts: str) -> str:
    """Return a UUID that is always the same for the same parts, in the form of version 4 that Linear asks for."""
    made = uuid.uuid5(_NAMESPACE, "\x1f".join(parts))
    return str(uuid.UUID(bytes=made.bytes[:10] + bytes.fromhex(OWN_IDS), version=4))


def render(trigger: Trigger, status: Status, topic: str, handle: str) -> list[Call]:
    """Return the calls that show how a request stands, where it was asked."""
    status, beneath = _with_quiet_patch(status), trigger.origin.thread_id
    asked_in_session = beneath.startswith(SESSION)
    thread, begin = trigger.thread, list[Call]()
    if status.state == "running" and thread.place != NO_ISSUE:
        begin.append(Begin(topic=f"{topic}:begin", thread=thread, delegate=asked_in_session))
    if asked_in_session:
        return _in_session(thread, beneath.removeprefix(SESSION), status, topic, handle) + begin
    texts = messages(status, topic, handle)
    said = [(name, _folded(_pings_nobody(text))) for name, text in texts.items()]
    return [Say(topic=name, thread=thread, text=text, beneath=beneath) for name, text in said] + begin


def said(call: Say) -> Activity:
    """Return what the front desk says in a session: an answer, a link to connect an account, or why not."""
    session, link = call.beneath.removeprefix(SESSION), ""
    kind: Form = "response" if call.topic.startswith("reply:") else "error"
    if call.topic.startswith("account:") and (found := _LINK.search(call.text)):
        kind, link = "elicitation", found[0]
    said = Activity(
        topic=call.topic, thread=call.thread, session=session, form=kind, body=_pings_nobody(call.text), link=link
    )
    return structs.replace(said, account=call.topic.split(":")[2] if link else "")


def seen(topic: str, thread: Thread, session: str) -> Activity:
    """Return the first sign of life in a session, where others put a reaction on a message."""
    return Activity(
        topic=topic, thread=thread, session=session, form="thought", body="I am looking at it.", ephemeral=True
    )


def _in_session(thread: Thread, session: str, status: Status, topic: str, handle: str) -> list[Call]:
    calls: list[Call] = [_activity(thread, session, status, topic, handle)]
    if status.patch:  # before the ending, which is the last word
        text, name = _folded(patch_markdown(status)), f"{topic}:patch"
        calls.insert(0, Activity(topic=name, thread=thread, session=session, form="thought", body=text))
    links = tuple(pair for pair in (("Details", status.details_url), ("Pull request", status.change_url)) if pair[1])
    board = Board(topic=f"{topic}:session", thread=thread, session=session, tasks=status.tasks, links=links)
    return [*calls, board] if board.input else calls


def _activity(thread: Thread, session: str, status: Status, topic: str, handle: str) -> Activity:
    kind: Form = "thought"
    text, ephemeral = _pings_nobody(status_markdown(status, handle)), True
    if topic.startswith("reply:"):  # somebody asked for the status, and the work goes on
        ephemeral = False
    elif status.state == "running" and status.step:
        kind, text = "action", line(status.step) + lasting(status)
    elif status.state == "running":
        text = f"Working on it{lasting(status)}."
    elif status.state == "asking":
        kind, text, ephemeral = "elicitation", line(status.question), False
    elif status.state == "ended":
        kind, ephemeral = "error" if status.outcome and status.outcome.ending in _AS_ERROR else "response", False
    said = Activity(topic=topic, thread=thread, session=session, form=kind, body=text, ephemeral=ephemeral)
    return structs.replace(said, choices=status.choices, steps=status.steps)


def _folded(text: str) -> str:
    """Return the text with what is folded away in it written as Linear does it."""
    return _DETAILS.sub(r"+++ \1\2+++", text)


def _with_quiet_patch(status: Status) -> Status:
    """Return the status with a patch that pings nobody; if it is another one for that, it says so."""
    quiet = _pings_nobody(status.patch)
    return status if quiet == status.patch else structs.replace(status, patch=quiet, patch_flaw=_NOT_LINKED)


def _pings_nobody(text: str) -> str:
    """Return the text with addresses of people's pages that Linear does not turn into mentions."""
    return _PROFILE.sub(r"\1", text)
