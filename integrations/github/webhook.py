"""GitHub's webhooks: checking the signature, and reading out of a delivery who asks for what.

Who asks is always the sender: who wrote, edited, labelled or assigned. When somebody edits another person's text so
that it mentions us, the editor is the one who asks, and the editor's rights count. What bots write or do starts
nothing.
Pure and quick: only events that have a row are decoded, and of them only the fields in payloads.py.

https://docs.github.com/webhooks/webhook-events-and-payloads
"""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import structs

from bot.core import ports
from bot.core.deliveries import ID, WORD, address, decode, event_name, moment, understood
from bot.core.errors import Rejected
from bot.core.inbound import Account, By, Delivery, Inbound, Origin, Repository, Thread, Trigger, Verified
from bot.core.marks import begins_with_mark
from bot.core.mentions import Request, find_request
from bot.core.secret import Secret
from bot.core.signatures import require_hmac
from bot.core.untrusted import clean
from integrations.github import checks
from integrations.github.payloads import Changes, Comment, Item, Maker, Payload, Person

SERVICE = "github"

AT_OPENING = 5.0
"""Seconds after an issue was opened in which labels and assignees set by its author belong to the opening."""


class Us(ports.Us, frozen=True):
    """By what onhand is called on GitHub."""

    app: str = ""
    """Number or client id of our App, where we are one."""

    def made(self, app: Maker | None) -> bool:
        """Whether an App that made something is ours."""
        return app is not None and bool(self.app) and self.app in (str(app.id), app.client_id)


_PAYLOAD = msgspec.json.Decoder(Payload)

_REPOSITORY = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")


def is_repository(name: str) -> bool:
    """Whether this has the shape `owner/repo`; whatever has not, goes into no address."""
    return _REPOSITORY.fullmatch(name) is not None


def verify(inbound: Inbound, secret: Secret) -> Verified:
    """Check `X-Hub-Signature-256` over the raw body; `X-Hub-Signature` (SHA-1) does not count. Raises Rejected (401).

    GitHub signs no time; deliveries are told apart by their ids.
    """
    require_hmac("X-Hub-Signature-256", inbound, secret, "sha256=")
    return Verified(inbound.headers, inbound.body)


def parse(verified: Verified, us: Us) -> Delivery:
    """Read a delivery. Raises Rejected (400) for one without GitHub's headers, or whose body is no such event."""
    number = _header(verified, "X-GitHub-Delivery", ID)
    event = verified.headers.get("x-github-event", "")
    if event not in _EVENTS:
        event = _header(verified, "X-GitHub-Event", WORD)
        return understood(SERVICE, number, event, IGNORED.get((event, ""), "not_used"))
    payload = decode(_json(verified), _PAYLOAD, "GitHub")
    row = (event, payload.action or "")
    read, name = TRIGGERS.get(row), event_name(*row)
    found = read(payload, us) if read else IGNORED.get(row, "not_used")
    if isinstance(found, Trigger) and not found.meaning:  # nothing in it tells one press of a button from the next
        found = structs.replace(found, meaning=f"{SERVICE}:{name}:{number}")
    return understood(SERVICE, number, name, found)


def _header(inbound: Inbound, name: str, shape: re.Pattern[str]) -> str:
    value = inbound.headers.get(name.lower(), "")
    if not shape.fullmatch(value):
        raise Rejected("headers", f"expected the header {name} as GitHub sends it")
    return value


def _json(inbound: Inbound) -> bytes:
    """Return the JSON text, out of the form if the webhook's content type is set to that."""
    if not inbound.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return inbound.body
    for field in inbound.body.split(b"&"):
        name, _, value = field.partition(b"=")
        if name == b"payload":
            return unquote_to_bytes(value.replace(b"+", b" "))
    return b""


def _opened(payload: Payload, us: Us) -> Trigger | str:
    """An issue or pull request that mentions us in its title or body."""
    changes = payload.changes
    if changes and (changes.old_issue or changes.old_repository):
        return "transferred"
    item = payload.item
    if reason := _not_from_a_person(payload, us, item.user, item.body):
        return reason
    request = _asked_in(item, us)
    return _trigger(payload, request, _opening(payload)) if request else "no_mention"


def _edited(payload: Payload, us: Us) -> Trigger | str:
    """An issue or pull request into whose title or body somebody put a mention."""
    item, changes = payload.item, payload.changes or Changes()
    if reason := _not_from_a_person(payload, us, item.user, item.body):
        return reason
    pairs = [(text, was.before) for text, was in ((item.body, changes.body), (item.title, changes.title)) if was]
    if any(find_request(before, us.handles) for _, before in pairs):
        return "mentioned_before"
    request = next((r for text, _ in pairs if (r := find_request(text, us.handles))), None)
    return _trigger(payload, request, f"edited:{_name(payload)}@{_at(item)}") if request else "no_mention"


def _comment(payload: Payload, us: Us) -> Trigger | str:
    """A comment on an issue or pull request, new or edited."""
    comment = _required(payload.comment)
    return _said(payload, us, comment, Origin("comment", str(comment.id)))


def _review_comment(payload: Payload, us: Us) -> Trigger | str:
    """A remark on a line of a pull request, new or edited."""
    comment = _required(payload.comment)
    origin = Origin(
        "review_comment",
        str(comment.id),
        thread_id=str(comment.in_reply_to_id or comment.id),
        path=clean(comment.path or "")[:4096],
        line=max(0, comment.line or comment.original_line or 0),
        hunk=clean(comment.diff_hunk or "")[-20_000:],
    )
    return _said(payload, us, comment, origin)


def _review(payload: Payload, us: Us) -> Trigger | str:
    """The text of a review, submitted or edited."""
    review = _required(payload.review)
    return _said(payload, us, review, Origin("review", str(review.id)))


def _labeled(payload: Payload, us: Us) -> Trigger | str:
    """Our label, set on an issue or pull request."""
    name = payload.label.name if payload.label else None
    if (name or "").strip().casefold() != us.label.casefold():
        return "other_label"
    return _set(payload, us, "label", Request())


def _assigned(payload: Payload, us: Us) -> Trigger | str:
    """An issue or pull request assigned to the bot."""
    if payload.assignee is None or not us.named(payload.assignee.login):
        return "not_us"
    return _set(payload, us, "assignment", Request())


def _review_requested(payload: Payload, us: Us) -> Trigger | str:
    """A review requested of the bot."""
    if payload.requested_reviewer is None or not us.named(payload.requested_reviewer.login):
        return "not_us"
    return _set(payload, us, "review_request", Request(text="Review this pull request."))


def _pressed(payload: Payload, us: Us) -> Trigger | str:
    """The button stop or retry of a check run of ours."""
    return _of_a_check(payload, us, payload.requested_action.identifier if payload.requested_action else None)


def _run_again(payload: Payload, us: Us) -> Trigger | str:
    """A check run of ours that is to be run again: retry."""
    return _of_a_check(payload, us, "retry")


def _all_run_again(payload: Payload, us: Us) -> Trigger | str:
    """All checks at a commit, ours among them, that are to be run again: retry of what made the branch."""
    suite = payload.check_suite
    if suite is None:
        raise Rejected("body", "expected a check suite in the payload")
    pull = next((str(pull.number) for pull in suite.pull_requests or ()), "")
    item = checks.item_of_branch(suite.head_branch or "") or pull
    return _button(payload, us, "retry", suite.app, "" if suite.latest_check_runs_count == 0 else item)


TRIGGERS: dict[tuple[str, str], Callable[[Payload, Us], Trigger | str]] = {
    ("issues", "opened"): _opened,
    ("issues", "edited"): _edited,
    ("issues", "labeled"): _labeled,
    ("issues", "assigned"): _assigned,
    ("issue_comment", "created"): _comment,
    ("issue_comment", "edited"): _comment,
    ("pull_request", "opened"): _opened,
    ("pull_request", "edited"): _edited,
    ("pull_request", "labeled"): _labeled,
    ("pull_request", "assigned"): _assigned,
    ("pull_request", "review_requested"): _review_requested,
    ("pull_request_review", "submitted"): _review,
    ("pull_request_review", "edited"): _review,
    ("pull_request_review_comment", "created"): _review_comment,
    ("pull_request_review_comment", "edited"): _review_comment,
    ("check_run", "requested_action"): _pressed,
    ("check_run", "rerequested"): _run_again,
    ("check_suite", "rerequested"): _all_run_again,
}
"""What may ask us for work, by event and action. A row reads it, or says in a word why it asks for nothing."""

IGNORED: dict[tuple[str, str], str] = {
    ("ping", ""): "ping",
    ("issue_comment", "deleted"): "deleted",
    ("issues", "deleted"): "deleted",
    ("issues", "transferred"): "transferred",
    ("issues", "closed"): "closed",
    ("issues", "reopened"): "reopened",
    ("issues", "unlabeled"): "label_removed",
    ("issues", "unassigned"): "unassigned",
    ("pull_request", "closed"): "closed",
    ("pull_request", "reopened"): "reopened",
    ("pull_request", "synchronize"): "pushed",
    ("pull_request", "unlabeled"): "label_removed",
    ("pull_request", "unassigned"): "unassigned",
    ("pull_request", "review_request_removed"): "unassigned",
    ("pull_request_review", "dismissed"): "dismissed",
    ("pull_request_review_comment", "deleted"): "deleted",
    ("check_run", "created"): "check",
    ("check_run", "completed"): "check",
    ("check_suite", "requested"): "check",
    ("check_suite", "completed"): "check",
}
"""What is known to ask for nothing, and why. Whatever has no row anywhere is `not_used`."""

_EVENTS = {event for event, _ in TRIGGERS}


def _said(payload: Payload, us: Us, comment: Comment, origin: Origin) -> Trigger | str:
    request = find_request(comment.body, us.handles)
    if request is None:
        return "no_mention"
    if reason := _not_from_a_person(payload, us, comment.user, comment.body):
        return reason
    meaning = f"{origin.kind}:{comment.id}"
    if payload.action == "edited":
        body = payload.changes.body if payload.changes else None
        if body is None:
            return "unchanged"
        if find_request(body.before, us.handles):
            return "mentioned_before"
        meaning += f"@{clean(comment.updated_at or '')[:40] or _at(payload.item)}"
    return _trigger(payload, request, meaning, origin=origin, url=comment.html_url)


def _set(payload: Payload, us: Us, by: By, request: Request) -> Trigger | str:
    """A label, an assignment, a request for a review.

    What an author sets while opening belongs to the opening: if the text mentions us, the `opened` delivery carries the
    wish; if not, label and assignment together are one wish.
    """
    if reason := _not_by_a_person(payload, us):
        return reason
    item = payload.item
    meaning = f"{by}:{_name(payload)}@{_at(item)}"
    if _at_opening(payload):
        if _asked_in(item, us) and not _not_from_a_person(payload, us, item.user, item.body):
            return "said_at_opening"
        meaning = _opening(payload)
    return _trigger(payload, request, meaning, by=by)


def _of_a_check(payload: Payload, us: Us, verb: str | None) -> Trigger | str:
    run = payload.check_run
    if run is None:
        raise Rejected("body", "expected a check run in the payload")
    return _button(payload, us, verb, run.app, checks.item_of(run.external_id or ""))


def _button(payload: Payload, us: Us, verb: str | None, app: Maker | None, item: str) -> Trigger | str:
    """A verb that somebody asks for in the thread for which we made a check run. What other Apps made steers nothing."""
    if not us.made(app):
        return "other_app"
    if reason := _not_by_a_person(payload, us):
        return reason
    if not item or verb not in checks.VERBS:
        return "other_button"
    place, sender = _place(payload), payload.sender or Person()
    return Trigger(
        thread=Thread(SERVICE, place, item),
        actor=Account(SERVICE, str(sender.id), clean(sender.login)),
        request=Request(verb),  # type: ignore[arg-type]  # one of ours, as was looked up above
        meaning="",
        by="button",
        origin=Origin("issue", item),
        repository=Repository(SERVICE, place),
    )


def _not_by_a_person(payload: Payload, us: Us) -> str:
    sender = payload.sender
    if sender is None or not sender.id or not sender.login:
        return "no_sender"
    if us.named(sender.login):
        return "own_act"
    return "bot" if sender.bot else ""


def _not_from_a_person(payload: Payload, us: Us, author: Person | None, text: str | None) -> str:
    if (author and us.named(author.login)) or begins_with_mark(text or ""):
        return "own_message"
    if reason := _not_by_a_person(payload, us):
        return reason
    return "bot" if author and author.bot else ""


def _asked_in(item: Item, us: Us) -> Request | None:
    return find_request(item.body, us.handles) or find_request(item.title, us.handles)


def _at_opening(payload: Payload) -> bool:
    item, sender = payload.item, payload.sender
    if item.user is None or sender is None or item.user.id != sender.id:
        return False
    opened = moment(item.created_at)
    return opened > 0 and 0 <= moment(item.updated_at) - opened <= AT_OPENING


def _opening(payload: Payload) -> str:
    return f"opened:{_name(payload)}"


def _name(payload: Payload) -> str:
    return f"{_place(payload)}#{payload.item.number}"


def _at(item: Item) -> str:
    return clean(item.updated_at or "")[:40]


def _place(payload: Payload) -> str:
    name = payload.repository.full_name if payload.repository else ""
    if not is_repository(name):
        raise Rejected("body", "expected repository.full_name in the form owner/repo")
    return name


def _required(comment: Comment | None) -> Comment:
    if comment is None:
        raise Rejected("body", "expected a comment or review in the payload")
    return comment


def _trigger(
    payload: Payload,
    request: Request,
    meaning: str,
    *,
    by: By = "mention",
    origin: Origin | None = None,
    url: str | None = None,
) -> Trigger:
    item, place, sender = payload.item, _place(payload), payload.sender or Person()
    number = str(item.number)
    return Trigger(
        thread=Thread(SERVICE, place, number),
        actor=Account(SERVICE, str(sender.id), clean(sender.login)),
        request=request,
        meaning=f"{SERVICE}:{meaning}",
        by=by,
        origin=origin or Origin("change" if payload.change else "issue", number),
        title=clean(item.title or ""),
        body=clean(item.body or ""),
        url=address(url or item.html_url),
        change=payload.change,
        repository=Repository(SERVICE, place),
    )
