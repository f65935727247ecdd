"""What was said on GitHub before somebody asked: the comments of an issue or pull request, and the review thread whole."""

from bot.core.deliveries import moment
from bot.core.inbound import Message, Trigger
from bot.core.marks import carries_mark
from bot.core.platform import number_in
from bot.core.secret import Secret
from integrations.github.api import Api
from integrations.github.code import path_of
from integrations.github.payloads import Comment

_MOST = 100


async def before(api: Api, token: Secret, trigger: Trigger) -> list[Message]:
    """Return the messages before the trigger's own, newest first. Raises ProviderError."""
    place, number = path_of(trigger.thread.place), number_in(trigger.thread.item)
    said = await _newest(api, token, f"{place}/issues/{number}/comments")
    if trigger.origin.kind == "review_comment":
        thread = {trigger.origin.id, trigger.origin.thread_id}
        remarks = await _newest(api, token, f"{place}/pulls/{number}/comments")
        said = [r for r in remarks if {str(r.id), str(r.in_reply_to_id)} & thread] + said
    asked = trigger.origin.id if trigger.origin.kind in ("comment", "review_comment") else ""
    return [_message(comment) for comment in said if str(comment.id) != asked and not carries_mark(comment.body or "")]


async def _newest(api: Api, token: Secret, path: str) -> list[Comment]:
    return [comment async for comment in api.newest(token, path, Comment, pages=2)][:_MOST]


def _message(comment: Comment) -> Message:
    author = comment.user.login if comment.user else "somebody"
    return Message(author, comment.body or "", moment(comment.created_at), comment.html_url or "")
