"""The REST API, request by request: sign in, send, keep connections. Refusals become ProviderError.

The only file that reaches the network or knows PyGithub. PyGithub signs in and builds the requests; its retries, pauses
and lazy objects are left out: the caller retries, and no request goes out unasked.
"""

import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from bot.core.lines import Lines
from bot.core.patience import Renew, renewing
from bot.core.secret import Secret
from integrations.github.answers import Answer, refused

if TYPE_CHECKING:
    from github.Requester import Requester

T = TypeVar("T")

API_VERSION = "2022-11-28"

NOBODY = Secret("")
"""Instead of a token: the request is not signed in."""


class Api:
    """One GitHub. `timeout` is in seconds: of each read from the connection, and a little more of the whole request."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url, timeout
        self.renew: Renew | None = None
        self._lines = Lines("GitHub", timeout, self._connect)
        self.close = self._lines.close

    async def get(self, token: Secret, path: str, query: Mapping[str, Any] | None = None) -> Answer:
        """Read. Raises ProviderError."""
        return await self.request(token, "GET", path, query=query)

    async def newest(self, token: Secret, path: str, kind: type[T], pages: int) -> AsyncIterator[T]:
        """Yield what a list tells that comes oldest first, newest first, out of so many pages of 100. Raises ProviderError."""
        first = await self.get(token, path, {"per_page": 100})
        for page in range(first.last_page, max(0, first.last_page - pages), -1):
            answer = first if page == 1 else await self.get(token, path, {"per_page": 100, "page": page})
            for one in reversed(answer.read(list[kind])):  # type: ignore[valid-type]  # it is a type all the same
                yield one

    async def request(
        self,
        token: Secret,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Make one request (a redirect inside this GitHub is followed). Raises ProviderError for all but 2xx."""
        asked, given = dict(query or {}), None if body is None else dict(body)

        async def once(token: Secret) -> Answer:
            answer = await self._lines.do(token, f"{verb} {path}", lambda line: line.follow(verb, path, asked, given))
            if answer.status >= 300:
                raise refused(answer, f"{verb} {path}", time.time())
            return answer

        return await renewing(once, token, self.renew)

    def _connect(self, token: Secret) -> "_Line":
        from github import Auth, Github
        from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass

        requester = Github(
            auth=Auth.AppAuthToken(token.reveal()) if token else None,  # "Bearer", which an App's JWT must have
            base_url=self._url,
            timeout=self._timeout,
            user_agent="onhand",
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            api_version=API_VERSION,
        ).requester
        parts = urlsplit(self._url)
        kind = HTTPSRequestsConnectionClass if parts.scheme == "https" else HTTPRequestsConnectionClass
        connection = kind(str(parts.hostname), parts.port, timeout=self._timeout)
        connection.session.hooks["response"].append(_left_to_us)
        return _Line(requester, connection)


class _Line:
    """A connection that is signed in."""

    def __init__(self, requester: "Requester", connection: Any) -> None:
        self._requester, self._connection = requester, connection
        self.close = connection.close

    def follow(self, verb: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> Answer:
        """Make a request, and once more where it is sent on inside this GitHub."""
        answer = self._send(verb, path, query, body)
        if answer.status in (302, 307, 308) and (moved := answer.headers.get("location", "")):
            return self._send(verb, moved, {} if urlsplit(moved).query else query, body)  # its host is not used
        return answer

    def _send(self, verb: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> Answer:
        from github import GithubException

        try:
            return Answer(*self._requester.requestJson(verb, path, query, None, body, self._connection))
        except GithubException as error:
            raise RuntimeError(type(error).__name__) from None  # no answer, as other libraries say it


def _left_to_us(answer: Any, *_: Any, **__: Any) -> None:
    """PyGithub follows a 301 by itself, and loses the query: a list would be another one, without its filter and page."""
    if answer.status_code == 301:
        answer.status_code = 308
