"""Other people's open pull requests for an issue of ours: those that mention it and say that they close it.

What was linked by hand in the sidebar alone is not seen: the REST API does not tell it.
https://docs.github.com/rest/issues/timeline
"""

from bot.core.inbound import Account, Thread
from bot.core.markdown import closes
from bot.core.marks import carries_mark
from bot.core.platform import number_in
from bot.core.secret import Secret
from integrations.github.answers import Happened, Referrer
from integrations.github.api import Api
from integrations.github.code import path_of

_PAGES = 3
"""Pages of 100 events that are read, newest first."""


async def find(api: Api, token: Secret, thread: Thread, us: Account) -> list[str]:
    """Return their names as GitHub links them, `#12`. Raises ProviderError."""
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
