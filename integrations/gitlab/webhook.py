"""GitLab's webhooks: checking who sent them, and reading out of a delivery who asks for what.

Who asks is always the `user` of the event: who wrote, edited, labelled, assigned. What bots write or do starts nothing.
GitLab disables a hook that fails, so whatever is validly sent is taken: what cannot be read is ignored with that reason.
Pure and quick: only events that have a row are decoded, and of them only the fields in payloads.py. What a delivery is
about its signed body says, whatever the header X-Gitlab-Event calls it.

https://docs.gitlab.com/user/project/integrations/webhooks/
"""

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bot.core import deliveries, ports, standard_webhooks
from bot.core.deliveries import ID, WORD, address, decode, event_name, moment, understood
from bot.core.errors import Rejected
from bot.core.inbound import Account, By, Delivery, Inbound, Origin, Repository, Thread, Trigger, Verified
from bot.core.marks import begins_with_mark
from bot.core.mentions import Request, find_request
from bot.core.secret import Secret
from bot.core.signatures import require
from bot.core.untrusted import clean
from integrations.gitlab.payloads import Attributes, Changed, Diff, Item, Kind, Label, Payload, Person, changed

SERVICE = "gitlab"

LONG_AGO = 60.0
"""Seconds after which an item that somebody else `opens` was moved here or sent by the hook's test button."""


class Us(ports.Us, frozen=True):
    """By what onhand is called on GitLab, and where it works."""

    allow: tuple[str, ...] = ()
    """Paths of the projects and groups it works in; none means all that know the secret."""

    def works_in(self, place: str) -> bool:
        """Whether a project is on the list, or in a group that is."""
        path = f"{place}/".casefold()
        return not self.allow or any(path.startswith(f"{name.strip('/')}/".casefold()) for name in self.allow)


_PAYLOAD, _KIND = msgspec.json.Decoder(Payload), msgspec.json.Decoder(Kind)

_PROJECT = re.compile(
    r"(?=.{3,500}\Z)(?:(?!\.{1,2}/)[A-Za-z0-9_.][A-Za-z0-9_.-]*/){1,20}(?!\.{1,2}\Z)[A-Za-z0-9_.][A-Za-z0-9_.-]*"
)
_DISCUSSION = re.compile(r"[0-9a-f]{8,64}")
_QUOTE = re.compile(r"^>>>[ \t]*\r?\n(.*?)\n>>>[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_BOT = re.compile(
    r"(?:project|group)_\d+_bot\w*|service_account_\w+|ghost\d*|gitlab-?duo\w*"
    r"|(?:alert|support|security|automation|admin|migration|suggested-reviewers|visual-review|llm|duo-code-review)-?bot\d*",
    re.IGNORECASE,
)
"""The names that GitLab gives to users that are no persons; an event does not say it otherwise."""


def is_project(path: str) -> bool:
    """Whether this has the shape `group/project`, with subgroups or without; whatever has not, goes into no address."""
    return _PROJECT.fullmatch(path) is not None


def verify(inbound: Inbound, signing: Sequence[Secret], token: Secret | None, now: float) -> Verified:
    """Check the signature where one came and signing tokens are set, else the secret token. Raises Rejected (401).

    A delivery that is signed has to be signed well, whatever secret token it carries. So both work side by side while
    hooks are moved from one to the other.
    """
    if signing and ("webhook-signature" in inbound.headers or not token):
        standard_webhooks.require_signed(inbound, signing, now)
    elif token:
        require("X-Gitlab-Token", token.reveal(), inbound.headers.get("x-gitlab-token"))
    else:
        raise Rejected("no_endpoint", "there is no webhook secret for GitLab", 404)
    return Verified(inbound.headers, inbound.body)


def parse(verified: Verified, us: Us) -> Delivery:
    """Read a delivery. Nothing is raised: a body that is no event of GitLab is ignored as `unreadable`."""
    number = _delivery_id(verified)
    try:
        of = decode(verified.body, _KIND, "GitLab")
        if (kind := of.object_kind or "") not in _KINDS:
            return understood(SERVICE, number, event_name(kind or of.event_name), "not_used")
        return understand(number, kind, decode(verified.body, _PAYLOAD, "GitLab"), us)
    except Rejected:
        return understood(SERVICE, number, "unknown", "unreadable")


def understand(number: str, kind: str, payload: Payload, us: Us) -> Delivery:
    """Read an event of this `object_kind`, as a hook sent it or as `missed.py` has put it together."""
    row = (kind, _attributes(payload).action or ("create" if kind == "note" else "update"))  # older versions name none
    read = TRIGGERS.get(row)
    found = (_where_not_ours(payload, us) or read(payload, us)) if read else IGNORED.get(row, "not_used")
    return understood(SERVICE, number, event_name(*row), found)


def _delivery_id(inbound: Inbound) -> str:
    """Return the id under which GitLab repeats a delivery. Older versions have only one that related events share."""
    number = deliveries.delivery_id(inbound, "webhook-id", "idempotency-key")
    shared = inbound.headers.get("x-gitlab-event-uuid", "")
    return f"{shared}:{number}" if number.startswith("body:") and ID.fullmatch(shared) else number


def _opened(payload: Payload, us: Us) -> Trigger | str:
    """An issue, task, incident or merge request opened with a mention, our label, or us as assignee or reviewer."""
    item = _attributes(payload)
    if reason := _no_item(payload, item) or _not_new(payload, item):
        return reason
    meaning = f"opened:{_name(payload, item)}"
    if request := _mentions(item.description, us) or _mentions(item.title, us):
        return _trigger(payload, item, request, meaning)
    if us.label.casefold() in _titles(payload.labels):
        return _trigger(payload, item, Request(), meaning, by="label")
    for people, (by, request) in zip((payload.assignees, payload.reviewers), _ROLES, strict=True):
        if _is_among(us, people):
            return _trigger(payload, item, request, meaning, by=by)
    return "no_mention"


def _updated(payload: Payload, us: Us) -> Trigger | str:
    """An issue, task, incident or merge request that an edit makes mention us, or that gets our label or us on it."""
    item = _attributes(payload)
    if reason := _no_item(payload, item):
        return reason
    at = f"{_name(payload, item)}@{clean(item.updated_at or '')[:40]}"
    edited = _edited(payload, item, us)
    if isinstance(edited, Request):
        return _trigger(payload, item, edited, f"edited:{at}")
    labels = changed(payload, "labels", list[Label])
    if labels and us.label.casefold() in _titles(labels.current) - _titles(labels.previous):
        return _trigger(payload, item, Request(), f"label:{at}", by="label")
    for role, (by, request) in zip(("assignees", "reviewers"), _ROLES, strict=True):
        if _is_set_on(us, changed(payload, role, list[Person])):
            return _trigger(payload, item, request, f"{by}:{at}", by=by)
    return edited


def _noted(payload: Payload, us: Us) -> Trigger | str:
    """A comment that mentions us, new or edited: in the overview, in a thread, or on a line of the diff.

    It counts once, by its id: an edit tells no previous text, so one that mentioned us before is known already.
    """
    note = _attributes(payload)
    if note.system:
        return "system_note"
    item = {"Issue": payload.issue, "MergeRequest": payload.merge_request}.get(note.noteable_type or "")
    if item is None or not note.id:
        return "not_used"  # on a commit, a snippet, an epic
    if reason := _no_item(payload, item):
        return reason
    if begins_with_mark(note.note or ""):
        return "own_message"
    request = _mentions(note.note, us)
    if request is None:
        return "no_mention"
    return _trigger(payload, item, request, f"note:{note.id}", origin=_origin(note), url=note.url)


TRIGGERS: dict[tuple[str, str], Callable[[Payload, Us], Trigger | str]] = {
    ("issue", "open"): _opened,
    ("issue", "update"): _updated,
    ("work_item", "open"): _opened,
    ("work_item", "update"): _updated,
    ("merge_request", "open"): _opened,
    ("merge_request", "update"): _updated,
    ("note", "create"): _noted,
    ("note", "update"): _noted,
}
"""What may ask us for work, by `object_kind` and action. A row reads it, or says in a word why it asks for nothing."""

IGNORED: dict[tuple[str, str], str] = {
    ("issue", "close"): "closed",
    ("issue", "reopen"): "reopened",
    ("work_item", "close"): "closed",
    ("work_item", "reopen"): "reopened",
    ("merge_request", "close"): "closed",
    ("merge_request", "merge"): "merged",
    ("merge_request", "reopen"): "reopened",
    ("merge_request", "approved"): "reviewed",
    ("merge_request", "approval"): "reviewed",
    ("merge_request", "unapproved"): "reviewed",
    ("merge_request", "unapproval"): "reviewed",
}
"""What is known to ask for nothing, and why. Whatever has no row anywhere is `not_used`."""

_KINDS = {kind for kind, _ in TRIGGERS}
_WORK_ITEMS = ("issue", "incident", "task")
"""The types of work items that the API has comments for as for issues."""


def _where_not_ours(payload: Payload, us: Us) -> str:
    """Say why an event is none of ours whatever it says, by where it is and who did it."""
    place = payload.project.path_with_namespace if payload.project else None
    if not is_project(place or ""):
        return "no_project"
    if not us.works_in(place or ""):
        return "not_allowed"
    user = _actor(payload)
    if user is None:
        return "no_sender"
    if us.named(user.login):
        return "own_act"
    return "bot" if _BOT.fullmatch(user.login) else ""


def _edited(payload: Payload, item: Item, us: Us) -> Request | str:
    """Return what an edit of the title or description asks for, or why it asks for nothing."""
    texts = [text for name in ("description", "title") if (text := changed(payload, name, str))]
    if not texts:
        return "other_change"
    if begins_with_mark(item.description or ""):
        return "own_message"
    if any(_mentions(text.previous, us) for text in texts):
        return "mentioned_before"
    return next((r for text in texts if (r := _mentions(text.current, us))), "no_mention")


def _origin(note: Attributes) -> Origin:
    """Return where to answer: beneath a note that is in a thread of notes, and beneath an internal one, which stays so."""
    threaded = note.type in ("DiscussionNote", "DiffNote") or note.internal
    discussion = note.discussion_id or ""
    thread_id = discussion if threaded and _DISCUSSION.fullmatch(discussion) else ""
    position = note.position
    if note.type != "DiffNote" or position is None or isinstance(position, int):
        return Origin("comment", str(note.id), thread_id=thread_id)
    return Origin(
        "review_comment",
        str(note.id),
        thread_id=thread_id,
        path=clean(position.new_path or position.old_path or "")[:4096],
        line=max(0, position.new_line or position.old_line or 0),
        hunk=clean(note.st_diff.diff or "")[-20_000:] if isinstance(note.st_diff, Diff) else "",
    )


_ROLES: tuple[tuple[By, Request], ...] = (
    ("assignment", Request()),
    ("review_request", Request(text="Review this merge request.")),
)


def _no_item(payload: Payload, item: Item) -> str:
    if not item.iid:
        return "unreadable"
    kind = (_attributes(payload).type or "issue").casefold()
    return "not_used" if payload.object_kind == "work_item" and kind not in _WORK_ITEMS else ""


def _not_new(payload: Payload, item: Item) -> str:
    """Say why an opening is none: ours, an item that somebody moves here, or one that the hook's test button shows."""
    if begins_with_mark(item.description or ""):
        return "own_message"
    if item.author_id in (None, payload.user.id if payload.user else None):
        return ""
    made = moment(item.created_at)
    return "not_new" if made and moment(item.updated_at) - made > LONG_AGO else ""


def _mentions(text: str | None, us: Us) -> Request | None:
    return find_request(with_plain_quotes(text), us.handles) if text else None


def with_plain_quotes(text: str) -> str:
    """Return the text with GitLab's quotes between two lines of `>>>` in the form that everybody knows."""
    return _QUOTE.sub(lambda m: "\n".join(f"> {line}" for line in m[1].split("\n")), text)


def _titles(labels: Sequence[Label] | None) -> set[str]:
    return {label.title.strip().casefold() for label in labels or () if label.title}


def _is_among(us: Us, people: Iterable[Person] | None) -> bool:
    return any(us.named(person.username) for person in people or ())


def _is_set_on(us: Us, changed: Changed[list[Person]] | None) -> bool:
    """Whether we were added, or asked anew for a review."""
    changed = changed or Changed()
    before, now = ([p for p in people or () if us.named(p.username)] for people in (changed.previous, changed.current))
    return bool(now) and (not before or (bool(now[0].re_requested) and not before[0].re_requested))


def _attributes(payload: Payload) -> Attributes:
    return payload.object_attributes or Attributes()


def _actor(payload: Payload) -> Account | None:
    """Return who did it. Older versions name no id, but of something new the author's."""
    user, attributes = payload.user or Person(), _attributes(payload)
    new = attributes.action in (None, "create", "open")
    number = user.id or (attributes.author_id if new else None)
    name = clean(user.username or "")
    return Account(SERVICE, str(number), name) if number and WORD.fullmatch(name) else None


def _name(payload: Payload, item: Item) -> str:
    return f"{_place(payload)}#{_item(payload, item)}"


def _place(payload: Payload) -> str:
    return (payload.project.path_with_namespace if payload.project else None) or ""


def _item(payload: Payload, item: Item) -> str:
    """Return the item in its thread: issues and merge requests are numbered apart, so these have a `!`."""
    return f"!{item.iid}" if _is_change(payload) else str(item.iid)


def _is_change(payload: Payload) -> bool:
    if payload.object_kind == "note":
        return _attributes(payload).noteable_type == "MergeRequest"
    return payload.object_kind == "merge_request"


def _trigger(
    payload: Payload,
    item: Item,
    request: Request,
    meaning: str,
    *,
    by: By = "mention",
    origin: Origin | None = None,
    url: str | None = None,
) -> Trigger | str:
    actor, place, change = _actor(payload), _place(payload), _is_change(payload)
    if actor is None:
        return "no_sender"
    return Trigger(
        thread=Thread(SERVICE, place, _item(payload, item)),
        actor=actor,
        request=request,
        meaning=f"{SERVICE}:{meaning}",
        by=by,
        origin=origin or Origin("change" if change else "issue", str(item.iid)),
        title=clean(item.title or ""),
        body=clean(item.description or ""),
        url=address(url or item.url),
        change=change,
        repository=Repository(SERVICE, place),
    )
