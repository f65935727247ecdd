"""What the API tells of an issue, read as the webhooks would have told it: for deliveries that did not reach us. Pure.

The meanings come out the same, so what did reach us asks nothing a second time.
"""

from collections.abc import Iterator, Sequence

from msgspec import structs

from bot.core.deliveries import missed, moment
from bot.core.inbound import Delivery
from integrations.jira.answers import Found, History
from integrations.jira.payloads import Changelog, Comment, Fields, Issue, Payload, text
from integrations.jira.webhook import Us, read


def deliveries(found: Found, comments: Sequence[Comment], since: float, us: Us, labels: bool) -> tuple[Delivery, ...]:
    """Return what asks for work of all that happened to an issue since then (Unix seconds).

    Without `labels` those that were set later are left out: of a rule that told of one we know the time alone, of the history
    its number, so that both would be done.
    """
    return missed(_told(found, comments, since, labels), lambda told: read(told[1], told[0], "", us))


def _told(found: Found, comments: Sequence[Comment], since: float, labels: bool) -> Iterator[tuple[str, Payload]]:
    histories = sorted(found.changelog.histories, key=lambda h: moment(h.created))
    if moment(found.fields.created) >= since:
        yield "issue_created", Payload(user=found.fields.creator, issue=_as_created(found, histories))
    now = Issue(found.id, found.key, found.fields)
    for history in histories:
        if moment(history.created) >= since:
            items = [item for item in history.items if labels or text(item.field).lower() != "labels"]
            yield "issue_updated", Payload(user=history.author, issue=now, changelog=Changelog(history.id, items))
    for comment in comments:
        if max(moment(comment.created), moment(comment.updated)) >= since:
            yield "comment_created", Payload(issue=now, comment=comment)


def _as_created(found: Found, histories: Sequence[History]) -> Issue:
    """Return the issue as it was at first: what was changed since then has deliveries of its own."""
    before: dict[str, object] = {}
    for history in histories:
        for item in history.items:
            before.setdefault(text(item.field).lower(), item.before)
    fields = Fields(*(getattr(found.fields, name) for name in Fields.__struct_fields__))
    kept: dict[str, object] = {name: before[name] for name in ("summary", "description") if name in before}
    if "labels" in before:
        kept["labels"] = text(before["labels"]).split()
    if "assignee" in before:
        kept["assignee"] = None
    return Issue(found.id, found.key, structs.replace(fields, **kept))
