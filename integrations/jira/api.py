"""The REST API, request by request: sign in, send, keep connections. Refusals become ProviderError.

The only file that reaches the network or knows the jira library. Its sessions read Jira's errors; their retries are off: the
caller retries, and no request goes out unasked.
"""

import time
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bot.core.errors import ProviderError
from bot.core.lines import Lines
from bot.core.refusals import read, refusal, wait_of
from bot.core.secret import Secret

if TYPE_CHECKING:
    from jira.resilientsession import ResilientSession
    from requests.auth import AuthBase

T = TypeVar("T")

_HEADERS = {"content-type": "application/json", "x-atlassian-token": "no-check", "user-agent": "onhand"}


class Api:
    """One Jira. `timeout` is in seconds: of each read from the connection, and a little more of the whole request."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url, timeout
        self._lines = Lines("Jira", timeout, self._connect)
        self.close = self._lines.close
        self._cloud: bool | None = None

    async def cloud(self, token: Secret) -> bool:
        """Whether this is Jira Cloud, asked once. Raises ProviderError."""
        if self._cloud is None:
            server = await self._whole(token, "GET", f"{self._url}/rest/api/2/serverInfo", {}, None)
            self._cloud = read(server, str, "Jira", "deploymentType") == "Cloud"
        return self._cloud

    async def get(self, token: Secret, path: str, kind: type[T], *at: str, **query: Any) -> T:
        """Read something, what stands under the names of `at` alone. Raises ProviderError."""
        return read(await self.send(token, "GET", path, query=query), kind, "Jira", *at)

    async def send(
        self, token: Secret, verb: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> bytes:
        """Make one request to a path below the REST API, or to one that begins with `/`; return what came.

        Raises ProviderError for all but 2xx.
        """
        version = 3 if await self.cloud(token) else 2
        url = f"{self._url}{path if path.startswith('/') else f'/rest/api/{version}/{path}'}"
        return await self._whole(token, verb, url, query or {}, body)

    async def _whole(self, token: Secret, verb: str, url: str, query: Mapping[str, Any], body: Any) -> bytes:
        what, data = f"{verb} {url}", None if body is None else msgspec.json.encode(body)

        def send(session: "ResilientSession") -> bytes:
            from jira.exceptions import JIRAError

            try:
                answer = session.request(
                    verb, url, params=dict(query), data=data, allow_redirects=False, headers=_HEADERS
                )
            except JIRAError as error:
                wait = wait_of(getattr(error.response, "headers", {}), time.time())
                raise refusal("Jira", error.status_code or 0, what, error.text or "", wait=wait) from None
            if answer.status_code >= 300:
                raise ProviderError("unavailable", f"Jira led {what} elsewhere; is jira.url its address?")
            return answer.content

        return await self._lines.do(token, what, send)

    def _connect(self, token: Secret) -> "ResilientSession":
        """Return a session that keeps no cookies: a session at Jira ends, and the token is good for longer."""
        from jira.resilientsession import ResilientSession

        session = ResilientSession(timeout=self._timeout, max_retries=0)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.auth = _auth(token)
        return session


def _auth(token: Secret) -> "AuthBase":
    """`email:token` signs in as an Atlassian account does, a token alone as Data Center's personal ones do."""
    from jira.client import TokenAuth
    from requests.auth import HTTPBasicAuth

    email, colon, key = token.reveal().partition(":")
    return HTTPBasicAuth(email.encode(), key.encode()) if colon else TokenAuth(email)
