"""The REST API, request by request: sign in, send, keep connections. Refusals become ProviderError.

The only file that reaches the network or knows the jira library. Its sessions keep connections and read Jira's errors;
their retries are off: the caller retries, and no request goes out unasked. The library is imported
by the first request, on its thread: the web process makes none.
"""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from bot.core.errors import ProviderError
from bot.core.refusals import UNTOLD, seconds, word_of
from bot.core.secret import Secret

if TYPE_CHECKING:
    from jira.exceptions import JIRAError
    from jira.resilientsession import ResilientSession
    from requests.auth import AuthBase

_THREADS = 32

T = TypeVar("T")


class Server(Struct, frozen=True, rename="camel"):
    """What Jira says about itself to anybody."""

    deployment_type: str = ""


class Api:
    """One Jira. `timeout` is in seconds: of each read from the connection, and a little more of the whole request."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url, timeout
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="jira")
        self._here = threading.local()
        self._sessions: list[ResilientSession] = []
        self._cloud: bool | None = None

    async def cloud(self, token: Secret) -> bool:
        """Whether this is Jira Cloud, asked once. Raises ProviderError."""
        if self._cloud is None:
            server = await self._whole(token, "GET", f"{self._url}/rest/api/2/serverInfo", {}, None)
            self._cloud = read(server, Server).deployment_type == "Cloud"
        return self._cloud

    async def get(self, token: Secret, path: str, kind: type[T], **query: Any) -> T:
        """Read something. Raises ProviderError."""
        return read(await self.send(token, "GET", path, query=query), kind)

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
        work = partial(self._send, token, verb, url, dict(query), body)
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            async with asyncio.timeout(self._timeout + 5):
                return await future
        except TimeoutError:
            raise ProviderError("unavailable", f"Jira did not answer {verb} {url} in {self._timeout} s") from None

    def _send(self, token: Secret, verb: str, url: str, query: dict[str, Any], body: Any) -> bytes:
        from jira.exceptions import JIRAError

        data = None if body is None else msgspec.json.encode(body)
        try:
            answer = self._session().request(
                verb, url, params=query, data=data, auth=_auth(token), allow_redirects=False, headers=_HEADERS
            )
        except JIRAError as error:
            raise _refusal(error, f"{verb} {url}") from None
        except (OSError, ValueError, TypeError, AttributeError) as error:  # the last three: an answer that is none
            raise ProviderError("unavailable", f"no answer to {verb} {url}: {type(error).__name__}") from None
        if answer.status_code >= 300:
            raise ProviderError("unavailable", f"Jira led {verb} {url} elsewhere; is jira.url its address?")
        return answer.content

    def _session(self) -> "ResilientSession":
        """Return this thread's session. It keeps no cookies: they would tell one token's requests from another's wrongly."""
        from jira.resilientsession import ResilientSession

        found: ResilientSession | None = getattr(self._here, "session", None)
        if found is None:
            found = self._here.session = ResilientSession(timeout=self._timeout, max_retries=0)
            found.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            self._sessions.append(found)
        return found

    def close(self) -> None:
        """Let go of connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for session in self._sessions:
            session.close()


_HEADERS = {"content-type": "application/json", "x-atlassian-token": "no-check", "user-agent": "onhand"}


def _auth(token: Secret) -> "AuthBase":
    """`email:token` signs in as an Atlassian account does, a token alone as Data Center's personal ones do."""
    from jira.client import TokenAuth
    from requests.auth import HTTPBasicAuth

    email, colon, key = token.reveal().partition(":")
    return HTTPBasicAuth(email.encode(), key.encode()) if colon else TokenAuth(email)


def _refusal(error: "JIRAError", what: str) -> ProviderError:
    status = error.status_code or 0
    word = word_of(status)
    wait = seconds(getattr(error.response, "headers", {}).get("retry-after"))
    if word == "limited" and wait is None:
        wait = UNTOLD
    return ProviderError(word, f"Jira answered {status} to {what}: {(error.text or '')[:300]}", wait)


def read(answer: bytes, kind: type[T]) -> T:
    """Return an answer as what it is. Raises ProviderError."""
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderError("unavailable", f"Jira sent what cannot be read: {error}") from None
