"""Linear's webhooks: checking signature and time, and reading out of a delivery who asks for what.

In a workspace with agents people mention our app's user or delegate an issue to it: that makes a session, and everything said
in it comes as an event of the session. In one without, a comment with our handle or our label on an issue asks. Who asks is
who created the session, wrote in it, commented, edited or labelled. What apps and integrations do starts nothing.
Pure and quick: only events that have a row are decoded, and of them only the fields in payloads.py.

https://linear.app/developers/webhooks, https://linear.app/developers/agent-interaction
"""

import math
import re
from collections.abc import Callable

import msgspec

from bot.core import ports
from bot.core.deliveries import address, decode, delivery_id, event_name, understood
from bot.core.errors import Rejected
from bot.core.inbound import Account, By, Delivery, Inbound, Origin, Repository, Thread, Trigger, Verified
from bot.core.mentions import Request, find_request, read_request
from bot.core.secret import Secret
from bot.core.signatures import require_hmac
from bot.core.untrusted import clean
from integrations.linear.payloads import Activity, Comment, Data, Head, Issue, Payload, Person, Session, Team

SERVICE = "linear"

SKEW = 60.0
"""Seconds by which a delivery may be ahead of this clock, or behind it while it is sent for the first time."""
LATEST_RETRY = 7.2 * 3600
"""Seconds after which Linear sends nothing again: it tries after a minute, an hour and six hours. Whether a late one carries
a new time is not documented, so an old one is taken for so long; what it asks for is known by its meaning, which is signed.
"""
OWN_IDS = "6f6e68616e64"
"""How the ids of what we create end, so that our own words are known wherever they come back."""
NO_ISSUE = "session"
"""The place of a session that has no issue."""
SESSION = "session:"
"""Before the id of a session, in the id to answer beneath: the others are comments."""

_LONGEST_GUIDANCE = 10_000
_ARTIFICIAL = "this thread is for an agent session"
"""How the comment begins that Linear itself puts where an issue was delegated. https://github.com/linear/linear/issues/1076"""
_ADDRESSED = re.compile(
    r"\s*(?:\[@[^\]\n]{0,200}\]\([^)\s]{0,500}\)|https?://linear\.app/[^\s/]{1,100}/profiles/\S{1,200}|@[\w.-]{1,100})[\s,:]*"
)
"""A mention at the start of what is said to us: of the app's user, whatever it is called."""
_CHOICE = re.compile(r"([a-z]{2,20}):([\w.-]{1,100}(?:/[\w.-]{1,100}){1,8})", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Us(ports.Us, frozen=True):
    """By what onhand is called at Linear."""

    app_user_id: str = ""
    """Of our app's user, where agents are used."""


def verify(inbound: Inbound, secret: Secret, now: float) -> Verified:
    """Check `Linear-Signature` over the raw body and `webhookTimestamp` in it. Raises Rejected (401; 400 for no JSON)."""
    require_hmac("Linear-Signature", inbound, secret)
    sent_at = decode(inbound.body, _HEAD, "Linear").webhookTimestamp
    if sent_at is None or not math.isfinite(sent_at):
        raise Rejected(
            "timestamp", "expected webhookTimestamp in the body; without it nothing tells how old it is", 401
        )
    if not -SKEW <= now - sent_at / 1000 <= LATEST_RETRY:
        raise Rejected("stale", "webhookTimestamp is too far away from this clock; check the clock here", 401)
    return Verified(inbound.headers, inbound.body)


def dated(body: bytes, now: float) -> bytes:
    """Return a body as if it were sent now; one that is no JSON object comes back as it is."""
    try:
        fields = decode(body, _OBJECT, "Linear")
    except Rejected:
        return body
    return msgspec.json.encode({**fields, "webhookTimestamp": msgspec.Raw(str(int(now * 1000)).encode())})


def parse(verified: Verified, us: Us) -> Delivery:
    """Read a delivery. Raises Rejected (400) for one whose body is no such event."""
    head = decode(verified.body, _HEAD, "Linear")
    kind, action = head.type or "", head.action or ""
    number = delivery_id(verified, "linear-delivery", "linear-signature")
    if (kind, action) in TRIGGERS:
        return read(decode(verified.body, _PAYLOAD, "Linear"), number, us)
    reason = IGNORED.get((kind, action)) or IGNORED.get((kind, "")) or "not_used"
    return understood(SERVICE, number, event_name(kind, action), reason)


def read(payload: Payload, number: str, us: Us) -> Delivery:
    """Return the delivery of an event that has a row. Raises Rejected (400)."""
    row = (payload.type or "", payload.action or "")
    return understood(SERVICE, number, event_name(*row), TRIGGERS[row](payload, us))


_HEAD = msgspec.json.Decoder(Head)
_PAYLOAD = msgspec.json.Decoder(Payload)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _created(payload: Payload, us: Us) -> Trigger | str:
    """A session: somebody mentioned our app's user, or delegated an issue to it."""
    session = _session(payload)
    if session.creator is None or not session.creator.id:
        return "no_creator"  # an automation, or another agent: nobody whose rights could be asked for
    comment = _root(session, payload)
    delegated = comment is None and not session.sourceCommentId
    said = comment if comment and comment.is_by(session.creator) else None  # nobody's words become another one's wish
    request = _said_to_us(said.body if said else "", us)
    source = session.sourceCommentId or (said.id if said else "")
    meaning = f"comment:{_id(source)}" if source else f"session:{session.id}"
    trigger = _in_session(session, session.creator, request, meaning, "assignment" if delegated else "mention")
    body = clean(payload.promptContext or "") or trigger.body
    return msgspec.structs.replace(trigger, body=body, guidance=_guidance(payload))


def _prompted(payload: Payload, us: Us) -> Trigger | str:
    """Something said in a session, a repository chosen there, or its stop button."""
    session, activity = _session(payload), payload.agentActivity or Activity()
    if activity.user is None or not activity.user.id:
        return "no_sender"
    if activity.user.id == us.app_user_id or activity.id.endswith(OWN_IDS):
        return "own_message"
    said = (activity.content.body if activity.content else None) or activity.body or ""
    meaning = f"comment:{_id(activity.sourceCommentId)}" if activity.sourceCommentId else f"activity:{_id(activity.id)}"
    if activity.signal == "stop":
        return _in_session(session, activity.user, Request("stop"), meaning)
    if chosen := _CHOICE.fullmatch(said.strip()):
        trigger = _in_session(session, activity.user, Request(), meaning, "button")
        return msgspec.structs.replace(trigger, repository=Repository(chosen[1], chosen[2]))
    request = _said_to_us(said, us)
    if request.verb == "work" and not request.text and not request.options:
        return "nothing_said"
    return _in_session(session, activity.user, request, meaning)


def _comment(payload: Payload, us: Us) -> Trigger | str:
    """A comment on an issue with our handle, new or added by an edit."""
    comment = payload.data or Data()
    actor = _commenter(payload, us, comment)
    if isinstance(actor, str):
        return actor
    request, meaning = find_request(comment.body, (us.handle,)), f"comment:{_id(comment.id)}"
    if request is None or comment.issue is None:
        return "no_mention" if request is None else "no_issue"
    if payload.action == "update":
        before = payload.updatedFrom.body if payload.updatedFrom else None
        if before is None or find_request(before, (us.handle,)):
            return "unchanged" if before is None else "mentioned_before"
        meaning += f"@{clean(comment.updatedAt or '')[:40]}"
    origin = Origin("comment", comment.id, thread_id=_id(comment.parentId or comment.id))
    return _trigger(comment.issue, actor, request, meaning, origin, "mention", payload.url)


def _labelled(payload: Payload, us: Us) -> Trigger | str:
    """Our label, set on an issue, new or old, alone or next to others."""
    issue = payload.data or Data()
    ours = {label.id for label in issue.labels or () if (label.name or "").strip().casefold() == us.label.casefold()}
    meaning = f"opened:{_id(issue.id)}"
    if payload.action == "update":
        before = payload.updatedFrom.labelIds if payload.updatedFrom else None
        if before is None:
            return "unchanged"
        ours -= set(before)
        meaning = f"label:{_id(issue.id)}@{clean(issue.updatedAt or '')[:40]}"
    if not ours:
        return "other_label" if issue.labels else "no_label"
    actor = _actor(payload, us, Person(issue.creatorId or ""))
    if isinstance(actor, str):
        return actor
    return _trigger(issue, actor, Request(), meaning, Origin("issue", issue.id), "label", payload.url)


TRIGGERS: dict[tuple[str, str], Callable[[Payload, Us], Trigger | str]] = {
    ("AgentSessionEvent", "created"): _created,
    ("AgentSessionEvent", "prompted"): _prompted,
    ("Comment", "create"): _comment,
    ("Comment", "update"): _comment,
    ("Issue", "create"): _labelled,
    ("Issue", "update"): _labelled,
}
"""What may ask us for work, by type and action. A row reads it, or says in a word why it asks for nothing."""

IGNORED: dict[tuple[str, str], str] = {
    ("AppUserNotification", ""): "notification",  # what matters of it comes as a session
    ("PermissionChange", ""): "permission_change",
    ("OAuthApp", ""): "app",
    ("Comment", "remove"): "deleted",
    ("Issue", "remove"): "deleted",
    ("IssueLabel", ""): "label_changed",
    ("Reaction", ""): "reaction",
}
"""What is known to ask for nothing, and why; without an action, whatever it is. What has no row anywhere is `not_used`."""


def _session(payload: Payload) -> Session:
    session = payload.agentSession or Session()
    _id(session.id)
    return session


def _root(session: Session, payload: Payload) -> Comment | None:
    """Return the comment that the session began with; None where an issue was delegated, or where only its id is known."""
    near = {comment.id: comment for comment in payload.previousComments or ()}
    if session.sourceCommentId and session.sourceCommentId in near:
        return near[session.sourceCommentId]
    comment = session.comment
    if comment is None or (comment.body or "").strip().lower().startswith(_ARTIFICIAL):
        return None
    return comment


def _said_to_us(text: str | None, us: Us) -> Request:
    """Read what was said in a session, where it need not name us."""
    said = clean(text or "")
    return find_request(said, (us.handle,)) or read_request(
        "", _ADDRESSED.sub("", said, count=1) if _ADDRESSED.match(said) else said
    )


def _guidance(payload: Payload) -> str:
    """Return what the workspace's and the team's settings tell agents."""
    rules = (clean(rule.body or "").strip() for rule in payload.guidance or ())
    return "\n\n".join(rule for rule in rules if rule)[:_LONGEST_GUIDANCE]


def _actor(payload: Payload, us: Us, author: Person) -> Person | str:
    """Return who did it, or why it does not count. Old payloads name no actor: then a new thing is its author's."""
    actor = payload.actor
    if actor is None and payload.action == "create":
        actor = Person(author.id, author.name, "user")
    if actor is None or not actor.id:
        return "no_actor"
    if us.app_user_id and actor.id == us.app_user_id:
        return "own_act"
    return actor if (actor.type or "").casefold() == "user" else "bot"


def _commenter(payload: Payload, us: Us, comment: Data) -> Person | str:
    if comment.botActor or comment.externalUser:
        return "bot"
    if comment.id.endswith(OWN_IDS):
        return "own_message"
    return _actor(payload, us, comment.user or Person(comment.userId or ""))


def _in_session(session: Session, actor: Person, request: Request, meaning: str, by: By = "mention") -> Trigger:
    issue = session.issue
    origin = Origin("session", session.id, thread_id=f"{SESSION}{session.id}")
    if issue is None:  # asked in a document or a project, which have no number: the session is the thread
        issue = Issue(session.id, session.id, title="", url=session.url, team=Team(NO_ISSUE))
    return _trigger(issue, actor, request, meaning, origin, by, session.url or issue.url)


def _trigger(
    issue: Issue,
    actor: Person,
    request: Request,
    meaning: str,
    origin: Origin,
    by: By,
    url: str | None,
) -> Trigger:
    return Trigger(
        thread=_thread(issue),
        actor=Account(SERVICE, _id(actor.id), clean(actor.name or "") or actor.id),
        request=request,
        meaning=f"{SERVICE}:{meaning}",
        by=by,
        origin=origin,
        title=clean(issue.title or ""),
        body=clean(issue.description or ""),
        url=address(url or issue.url),
    )


def _thread(issue: Issue) -> Thread:
    team = clean(issue.team.key if issue.team else "")[:100].strip()
    identifier = clean(issue.identifier or "")[:100].strip()
    if not identifier and team and 0 < (issue.number or 0) < 1e9:
        identifier = f"{team}-{int(issue.number or 0)}"
    if not identifier:
        raise Rejected("body", "expected an issue with its identifier")
    return Thread(SERVICE, team or identifier.partition("-")[0], identifier)


def _id(text: str | None) -> str:
    if not text or not _ID.fullmatch(text):
        raise Rejected("body", "expected an id of Linear's")
    return text
