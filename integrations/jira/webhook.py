"""Jira's webhooks: checking the signature, and reading out of a delivery who asks for what.

Who asks is who wrote, edited, labelled or assigned. A comment asks once, however often it is edited and by however many
events it is told: Jira does not say what stood there before. Automation's "Send web request" sends bodies of the same
form (README.md here) under a secret header; it is taken only where that secret is set.
Pure and quick: only the fields in payloads.py are decoded.

https://developer.atlassian.com/cloud/jira/platform/webhooks/
https://developer.atlassian.com/server/jira/platform/webhooks/
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bot.core import ports
from bot.core.deliveries import decode, delivery_id, event_name, understood
from bot.core.errors import Rejected
from bot.core.inbound import Account, By, Delivery, Inbound, Origin, Thread, Trigger, Verified
from bot.core.mentions import Request, find_request
from bot.core.secret import Secret
from bot.core.signatures import require_hmac, same
from integrations.jira import adf, wiki
from integrations.jira.payloads import Change, Comment, Fields, Issue, Payload, Person, text

SERVICE = "jira"
AUTOMATION_HEADER = "X-Onhand-Secret"

_LONGEST = 100_000
"""Characters of a text that are read; Jira takes 32,767 unless told otherwise."""

_PAYLOAD = msgspec.json.Decoder(Payload)


class Us(ports.Us, frozen=True):
    """By what onhand is called on Jira. `login` is the bot's account id; on Data Center its username."""

    web: str = ""
    """Address of Jira's pages."""

    def is_us(self, person: Person | None) -> bool:
        """Whether this is the bot."""
        return person is not None and any(map(self.named, person.ids))

    def said(self, value: Any) -> str:
        """Return a text, wiki markup or ADF, as Markdown with our handle where it mentions the bot."""
        if isinstance(value, dict):
            return adf.markdown(value, self._mention)[:_LONGEST]
        return wiki.markdown(text(value)[:_LONGEST], self._mention)

    def may_be_in(self, value: Any) -> bool:
        """Whether a text may mention the bot, seen quickly: escapes and hidden characters may stand anywhere in it."""
        if not isinstance(value, str) or not value.isascii():
            return True
        lower = value.replace("\\", "").lower()
        return self._bare in lower or (bool(self.login) and self.login.lower() in lower)

    @property
    def _bare(self) -> str:
        return self.handle.removeprefix("@").lower()

    def _mention(self, name: str) -> str:
        ours = self.named(name) or name.lower() == self._bare
        return self.handle if ours else ""


def verify(inbound: Inbound, secret: Secret | None, automation: Secret | None) -> Verified:
    """Check `X-Hub-Signature` over the raw body, or the secret header of an Automation rule. Raises Rejected (401).

    Jira signs no time; deliveries are told apart by their ids.
    """
    signature, shared = inbound.headers.get("x-hub-signature"), inbound.headers.get(AUTOMATION_HEADER.lower())
    if signature is None and shared is not None and automation:
        if not same(automation.reveal(), shared):
            raise Rejected("signature", f"{AUTOMATION_HEADER} is not the secret of jira.automation_secret", 401)
    elif secret:
        require_hmac("X-Hub-Signature", inbound, secret, "sha256=")
    else:
        raise Rejected("signature", f"expected the header {AUTOMATION_HEADER}; signed webhooks are not set up", 401)
    return Verified(inbound.headers, inbound.body)


def parse(verified: Verified, us: Us) -> Delivery:
    """Read a delivery. Raises Rejected (400) for a body that is no event of Jira's."""
    payload = decode(verified.body, _PAYLOAD, "Jira")
    number = delivery_id(verified, "x-atlassian-webhook-identifier")  # Data Center and Automation send none
    event = event_name(text(payload.event).removeprefix("jira:"))
    if event == "unknown":
        return understood(SERVICE, number, event, "no_event")
    if verified.headers.get("x-atlassian-webhook-flow", "").strip().lower() == "secondary":
        return understood(SERVICE, number, event, "secondary")
    return read(payload, event, number, us)


def read(payload: Payload, event: str, number: str, us: Us) -> Delivery:
    """Return the delivery of a payload: of all that it tells, the first that asks for work."""
    reason = ""
    for part in dict.fromkeys(_parts(event, payload)):
        row = TRIGGERS.get((event, part))
        found = row(payload, us) if row else ""
        if isinstance(found, Trigger):
            return understood(SERVICE, number, event_name(event, part), found)
        reason = reason or found
    return understood(SERVICE, number, event, reason or IGNORED.get((event, text(payload.kind)), "not_used"))


def _parts(event: str, payload: Payload) -> Iterator[str]:
    """Yield what an event tells about, in the words of the table."""
    if event != "issue_updated":
        yield ""
        return
    kind = text(payload.kind)
    if payload.comment is not None and kind != "issue_comment_deleted":
        yield "comment"
    yield from (name for name, _ in payload.changes)
    if kind == "issue_assigned":  # its list of changes may be empty
        yield "assignee"


def _created(payload: Payload, us: Us) -> Trigger | str:
    """An issue that mentions us in its summary or description, has our label, or is assigned to the bot."""
    issue, fields = _issue(payload)
    author = payload.user or fields.creator or fields.reporter
    if reason := _not_by_a_person(author, us):
        return reason
    meaning = f"created:{issue.name}"
    if request := _asked(fields.description, us) or _asked(fields.summary, us):
        return _trigger(payload, us, author, request, meaning)
    if isinstance(fields.labels, list) and us.label.casefold() in (text(name).casefold() for name in fields.labels):
        return _trigger(payload, us, author, Request(), meaning, "label")
    if us.is_us(fields.assignee):
        return _trigger(payload, us, author, Request(), meaning, "assignment")
    return "no_mention"


def _text_edited(field: str, payload: Payload, us: Us) -> Trigger | str:
    if reason := _not_by_a_person(payload.user, us):
        return reason
    change = payload.change(field) or Change()
    if _asked(change.before, us):
        return "mentioned_before"
    request = _asked(change.after, us)
    return _trigger(payload, us, payload.user, request, _update("edited", payload)) if request else "no_mention"


def _summary(payload: Payload, us: Us) -> Trigger | str:
    """A summary into which somebody put a mention."""
    return _text_edited("summary", payload, us)


def _description(payload: Payload, us: Us) -> Trigger | str:
    """A description into which somebody put a mention."""
    return _text_edited("description", payload, us)


def _labels(payload: Payload, us: Us) -> Trigger | str:
    """Our label, added alone or next to others."""
    change = payload.change("labels") or Change()
    before, after = text(change.before).casefold().split(), text(change.after).casefold().split()
    if us.label.casefold() not in set(after) - set(before):
        return "other_label"
    return _set(payload, us, "label")


def _assignee(payload: Payload, us: Us) -> Trigger | str:
    """An issue assigned to the bot."""
    change, (_, fields) = payload.change("assignee"), _issue(payload)
    if change is None:
        return _set(payload, us, "assignment") if us.is_us(fields.assignee) else "not_us"
    names = {text(change.to), text(change.to_account)} - {""}
    if fields.assignee and names & fields.assignee.ids:
        names |= fields.assignee.ids  # Data Center writes the key where people know the name
    return _set(payload, us, "assignment") if any(map(us.named, names)) else "not_us"


def _comment(payload: Payload, us: Us) -> Trigger | str:
    """A comment that mentions us, new or edited; each asks once."""
    comment = payload.comment
    if comment is None or not text(comment.id):
        raise Rejected("body", "expected a comment with an id in the payload")
    if payload.issue is None:
        return "no_issue"  # Data Center tells the same comment by issue_updated, with its issue
    if us.is_us(comment.author):
        return "own_message"
    writer = comment.update_author or comment.author
    if reason := _not_by_a_person(writer, us) or _not_by_a_person(comment.author, us):
        return reason
    edit = payload.change("comment")
    if edit and _asked(edit.before, us):
        return "mentioned_before"
    request = _asked(comment.body, us)
    if request is None:
        return "no_mention"
    return _trigger(payload, us, writer, request, f"comment:{text(comment.id)}", comment=comment)


TRIGGERS: dict[tuple[str, str], Callable[[Payload, Us], Trigger | str]] = {
    ("issue_created", ""): _created,
    ("comment_created", ""): _comment,
    ("comment_updated", ""): _comment,
    ("issue_updated", "comment"): _comment,
    ("issue_updated", "description"): _description,
    ("issue_updated", "summary"): _summary,
    ("issue_updated", "labels"): _labels,
    ("issue_updated", "assignee"): _assignee,
}
"""What may ask us for work, by event (without `jira:`) and the part of an update that it tells about. A row reads it, or says
in a word why it asks for nothing."""

IGNORED: dict[tuple[str, str], str] = {
    ("comment_deleted", ""): "deleted",
    ("issue_deleted", ""): "deleted",
    ("issue_updated", "issue_comment_deleted"): "deleted",
    ("issue_updated", "issue_moved"): "moved",
    ("issue_updated", "issue_work_started"): "transition",
    ("issue_updated", "issue_resolved"): "transition",
    ("issue_updated", "issue_closed"): "transition",
    ("issue_updated", "issue_reopened"): "transition",
}
"""What is known to ask for nothing, and why, by event and kind of update. Whatever has no row anywhere is `not_used`."""


def _issue(payload: Payload) -> tuple[Issue, Fields]:
    if payload.issue is None:
        raise Rejected("body", "expected an issue in the payload")
    return payload.issue, payload.issue.fields or Fields()


def _set(payload: Payload, us: Us, by: By) -> Trigger | str:
    """A label or an assignment: one wish each time."""
    reason = _not_by_a_person(payload.user, us)
    return reason or _trigger(payload, us, payload.user, Request(), _update(by, payload), by)


def _update(kind: str, payload: Payload) -> str:
    log = text(payload.changelog.id) if payload.changelog else ""
    return f"{kind}:{_issue(payload)[0].name}@{log or text(payload.timestamp)}"


def _not_by_a_person(person: Person | None, us: Us) -> str:
    if person is None or not person.id:
        return "no_sender"
    if us.is_us(person):
        return "own_act"
    return "bot" if text(person.account_type) == "app" else ""


def _asked(value: Any, us: Us) -> Request | None:
    if not value or not us.may_be_in(value):  # nearly every text ends here
        return None
    return find_request(us.said(value), (us.handle,))


def _trigger(
    payload: Payload,
    us: Us,
    person: Person | None,
    request: Request,
    meaning: str,
    by: By = "mention",
    comment: Comment | None = None,
) -> Trigger:
    issue, fields = _issue(payload)
    assert person is not None  # `_not_by_a_person` was asked
    key = text(issue.key)
    origin, place = Origin("issue", key), ""
    if comment is not None:
        origin = Origin("comment", text(comment.id), thread_id=comment.circle)
        place = f"?focusedCommentId={origin.id}" if origin.id.isdigit() else ""
    return Trigger(
        thread=Thread(SERVICE, issue.project, key),
        actor=Account(SERVICE, person.id, person.login),
        request=request,
        meaning=f"{SERVICE}:{meaning[:300]}",
        by=by,
        origin=origin,
        title=text(fields.summary),
        body=us.said(fields.description),
        url=f"{us.web}/browse/{key}{place}" if us.web else "",
    )
