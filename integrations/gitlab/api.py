"""The REST API, request by request: sign in, send, keep connections. Refusals become ProviderError.

The only file that reaches the network or knows python-gitlab. That signs in and builds the requests; its retries, pauses
and lazy objects are left out: the caller retries, and no request goes out unasked.

https://docs.gitlab.com/api/rest/
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from bot.core.errors import ProviderError
from bot.core.lines import Lines
from bot.core.refusals import read, refusal, wait_of, word_of
from bot.core.secret import Secret

if TYPE_CHECKING:
    import requests
    from gitlab.exceptions import GitlabError

T = TypeVar("T")

_MOVED = "not allowed for moved projects"
"""So GitLab refuses (405) to write in a project under the name that it had before. https://docs.gitlab.com/api/rest/#redirects"""


class Api:
    """One GitLab. `timeout` is in seconds: of each read from the connection, and a little more of the whole request."""

    def __init__(self, url: str, timeout: int) -> None:
        self._lines = Lines("GitLab", timeout, lambda token: _Line(url, token, timeout))
        self.close = self._lines.close

    async def get(
        self, token: Secret, path: str, kind: type[T], query: Mapping[str, Any] | None = None, at: Sequence[str] = ()
    ) -> T:
        """Read, what stands under the names of `at` alone. Raises ProviderError."""
        return await self.request(token, "get", path, kind, query=query, at=at)

    async def request(
        self,
        token: Secret,
        verb: str,
        path: str,
        kind: type[T],
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        at: Sequence[str] = (),
    ) -> T:
        """Make one request and read the answer as a value of this type. Raises ProviderError for all but 2xx."""
        asked, given = dict(query or {}), None if body is None else dict(body)
        answer = await self._lines.do(token, f"{verb} {path}", lambda line: line.follow(verb, path, asked, given))
        return read(answer, kind, "GitLab", *at)


class _Line:
    """One connection with one token, and the last answer on it: python-gitlab's errors leave the headers out."""

    def __init__(self, url: str, token: Secret, timeout: int) -> None:
        import requests
        from gitlab import Gitlab

        session = requests.Session()
        session.hooks["response"].append(self._note)
        self.close, self._answer = session.close, requests.Response()
        # As "Bearer" GitLab takes tokens of every kind: personal, of projects and groups, and of OAuth.
        self._gitlab = Gitlab(url, oauth_token=token.reveal(), timeout=timeout, session=session, user_agent="onhand")

    def follow(self, verb: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> bytes:
        """Make a request, and once more by the project's number where it has moved: GitLab sends only readers on."""
        try:
            return self._send(verb, path, query, body)
        except ProviderError as error:
            if _MOVED not in error.detail:
                raise
        _, kind, name, rest = path.split("/", 3)
        number = read(self._send("get", f"/{kind}/{name}", {}, None), int, "GitLab", "id")
        return self._send(verb, f"/{kind}/{number}/{rest}", query, body)

    def _send(self, verb: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> bytes:
        from gitlab.exceptions import GitlabError

        try:
            answer = self._gitlab.http_request(
                verb, path, query_data=query, post_data=body, obey_rate_limit=False, retry_transient_errors=False
            )
        except GitlabError as error:
            raise _refused(self._answer, f"{verb} {path}", error) from None
        return answer.content or b"null"

    def _note(self, answer: "requests.Response", *args: Any, **kwargs: Any) -> None:
        self._answer = answer


def _refused(answer: "requests.Response", what: str, error: "GitlabError") -> ProviderError:
    """https://docs.gitlab.com/security/rate_limits/"""
    status = answer.status_code
    word = word_of(status) if status >= 400 else "unavailable"  # sent on to a page on which people sign in, perhaps
    wait = wait_of(answer.headers, time.time(), "ratelimit") if word in ("limited", "unavailable") else None
    return refusal("GitLab", status, what, str(error.error_message), word, wait)
