"""What GitHub tells about a thread: what was said in it before, and which pull requests of others say that they close it.

Those that were linked by hand in the sidebar alone are not seen: the REST API does not tell it.
https://docs.github.com/rest/issues/timeline
"""

from bot.core.deliveries import moment
from bot.core.inbound import Account, Message, Thread, Trigger
from bot.core.markdown import closes
from bot.core.marks import begins_with_mark, carries_mark
from bot.core.platform import number_in
from bot.core.secret import Secret
from integrations.github.answers import Happened, Referrer
from integrations.github.api import Api
from integrations.github.code import path_of
from integrations.github.payloads import Comment

_MOST = 100
_PAGES = 3
"""Pages of 100 events that are read, newest first."""


async def before(api: Api, token: Secret, trigger: Trigger) -> list[Message]:
    """Return the messages before the trigger's own, newest first. Raises ProviderError."""
    place, number = path_of(trigger.thread.place), number_in(trigger.thread.item)
    said = await _newest(api, token, f"{place}/issues/{number}/comments")
    if trigger.origin.kind == "review_comment":
        thread = {trigger.origin.id, trigger.origin.thread_id}
        remarks = await _newest(api, token, f"{place}/pulls/{number}/comments")
        said = [r for r in remarks if {str(r.id), str(r.in_reply_to_id)} & thread] + said
    asked = trigger.origin.id if trigger.origin.kind in ("comment", "review_comment") else ""
    return [
        _message(comment) for comment in said if str(comment.id) != asked and not begins_with_mark(comment.body or "")
    ]


async def _newest(api: Api, token: Secret, path: str) -> list[Comment]:
    return [comment async for comment in api.newest(token, path, Comment, pages=2)][:_MOST]


def _message(comment: Comment) -> Message:
    author = comment.user.login if comment.user else "somebody"
    return Message(author, comment.body or "", moment(comment.created_at), comment.html_url or "")


async def rivals(api: Api, token: Secret, thread: Thread, us: Account) -> list[str]:
    """Return the open pull requests of others for an issue, as GitHub links them: `#12`. Raises ProviderError."""
    path = f"{path_of(thread.place)}/issues/{number_in(thread.item)}/timeline"
    events = [happened async for happened in api.newest(token, path, Happened, _PAGES)]
    mentions = (happened.source.issue for happened in events if happened.source)
    found = {mention.number for mention in mentions if mention and _is_rival(mention, thread, us)}
    return [f"#{number}" for number in sorted(found)]


def _is_rival(mention: Referrer, thread: Thread, us: Account) -> bool:
    """Whether it is an open pull request here that closes the issue, and none of ours."""
    body = mention.body or ""
    here = mention.repository is not None and mention.repository.full_name.casefold() == thread.place.casefold()
    ours = mention.user is not None and str(mention.user.id) == us.id and carries_mark(body)
    open_pull = mention.pull_request is not None and mention.state == "open"
    return here and open_pull and not ours and closes(body, thread.place, thread.item)
