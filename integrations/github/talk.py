"""What was said on GitHub before somebody asked: the comments of an issue or pull request, and the review thread whole."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from bot.core.inbound import Message, Trigger
from bot.core.marks import carries_mark
from integrations.github.answers import Answer, Remark
from integrations.github.code import number_in, path_of

Read = Callable[[str, dict[str, object]], Awaitable[Answer]]

_MOST = 100


async def before(read: Read, trigger: Trigger) -> list[Message]:
    """Return the messages before the trigger's own, newest first. Raises ProviderError."""
    place, number = path_of(trigger.thread.place), number_in(trigger.thread.item)
    said = await _newest(read, f"{place}/issues/{number}/comments")
    if trigger.origin.kind == "review_comment":
        thread = {trigger.origin.id, trigger.origin.thread_id}
        remarks = await _newest(read, f"{place}/pulls/{number}/comments")
        said = [r for r in remarks if {str(r.id), str(r.in_reply_to_id)} & thread] + said
    asked = trigger.origin.id if trigger.origin.kind in ("comment", "review_comment") else ""
    return [_message(remark) for remark in said if str(remark.id) != asked and not carries_mark(remark.body or "")]


async def _newest(read: Read, path: str) -> list[Remark]:
    first = await read(path, {"per_page": _MOST})
    if first.last_page == 1:
        return first.read(list[Remark])[::-1]
    last = (await read(path, {"per_page": _MOST, "page": first.last_page})).read(list[Remark])
    before_it = first if first.last_page == 2 else await read(path, {"per_page": _MOST, "page": first.last_page - 1})
    return (before_it.read(list[Remark]) + last)[: -_MOST - 1 : -1]


def _message(remark: Remark) -> Message:
    at = 0.0
    with suppress(ValueError):
        at = datetime.fromisoformat(remark.created_at or "").timestamp()
    return Message(remark.user.login if remark.user else "somebody", remark.body or "", at, remark.html_url or "")
