"""Other people's open pull requests for an issue of ours: those that mention it and say that they close it.

What was linked by hand in the sidebar alone is not seen: the REST API does not tell it.
https://docs.github.com/rest/issues/timeline
"""

from collections.abc import Awaitable, Callable
from typing import Any

from bot.core.inbound import Account, Thread
from bot.core.markdown import closes
from bot.core.marks import carries_mark
from integrations.github.answers import Answer, Happened, Referrer
from integrations.github.code import number_in, path_of

_PAGES = 3
"""Pages of 100 events that are read, newest first."""

Read = Callable[[str, dict[str, Any]], Awaitable[Answer]]
"""Reads a path of the API with a query. Raises ProviderError."""


async def find(read: Read, thread: Thread, us: Account) -> list[str]:
    """Return their names as GitHub links them, `#12`. Raises ProviderError."""
    path = f"{path_of(thread.place)}/issues/{number_in(thread.item)}/timeline"
    first = await read(path, {"per_page": 100})
    found: set[int] = set()
    for page in range(first.last_page, max(0, first.last_page - _PAGES), -1):
        answer = first if page == 1 else await read(path, {"per_page": 100, "page": page})
        mentions = (happened.source.issue for happened in answer.read(list[Happened]) if happened.source)
        found |= {mention.number for mention in mentions if mention and _is_rival(mention, thread, us)}
    return [f"#{number}" for number in sorted(found)]


def _is_rival(mention: Referrer, thread: Thread, us: Account) -> bool:
    """Whether it is an open pull request here that closes the issue, and none of ours."""
    body = mention.body or ""
    here = mention.repository is not None and mention.repository.full_name.casefold() == thread.place.casefold()
    ours = mention.user is not None and str(mention.user.id) == us.id and carries_mark(body)
    open_pull = mention.pull_request is not None and mention.state == "open"
    return here and open_pull and not ours and closes(body, thread.place, thread.item)
