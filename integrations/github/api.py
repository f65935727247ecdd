"""The REST API, request by request: sign in, send, keep connections. Refusals become ProviderError.

The only file that reaches the network or knows PyGithub. PyGithub signs in, builds the requests and keeps connections;
its retries, pauses and lazy objects are left out: the caller retries, and no request goes out unasked. It is imported by
the first request, on its thread: the web process makes none, and would start a sixth later.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from bot.core.errors import ProviderError
from bot.core.secret import Secret
from integrations.github.answers import Answer, refusal

if TYPE_CHECKING:
    from github.Requester import Requester

API_VERSION = "2022-11-28"
_THREADS = 64
"""More than the calls that a worker can have under way, so that none waits behind others that hang."""
_TOKENS = 64
"""Tokens whose connections are kept."""


NOBODY = Secret("")
"""Instead of a token: the request is not signed in."""

Renew = Callable[[Secret], Awaitable[Secret | None]]
"""Returns the token that takes the place of one that GitHub does not take any more; None where there is none."""


class Api:
    """One GitHub. `timeout` is in seconds: of each read from the connection, and a little more of the whole request."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url, timeout
        self.renew: Renew | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="github")
        self._idle: dict[Secret, list[Requester]] = {}
        self._lock = Lock()

    async def get(self, token: Secret, path: str, query: Mapping[str, Any] | None = None) -> Answer:
        """Read. Raises ProviderError."""
        return await self.request(token, "GET", path, query=query)

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
        send = partial(
            self._send, verb=verb, path=path, query=dict(query or {}), body=None if body is None else dict(body)
        )
        try:
            answer = await self._in_thread(send, token)
            if answer.status == 401 and self.renew and (other := await self.renew(token)):
                answer = await self._in_thread(send, other)
        except TimeoutError:
            raise ProviderError("unavailable", f"GitHub did not answer {verb} {path} in {self._timeout} s") from None
        if answer.status >= 300:
            raise refusal(answer, f"{verb} {path}", time.time())
        return answer

    async def _in_thread(self, send: Callable[[Secret], Answer], token: Secret) -> Answer:
        future = asyncio.get_running_loop().run_in_executor(self._threads, send, token)
        async with asyncio.timeout(self._timeout + 5):
            return await future

    def close(self) -> None:
        """Let go of connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            idle, self._idle = self._idle, {}
        for requester in (r for requesters in idle.values() for r in requesters):
            requester.close()

    def _send(self, token: Secret, verb: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> Answer:
        from github import GithubException

        requester = self._take(token)
        try:
            answer = Answer(*requester.requestJson(verb, path, query, None, body))
            if answer.status in (307, 308) and (moved := answer.headers.get("location", "")):
                answer = Answer(*requester.requestJson(verb, moved, None, None, body))  # only its path is used
        except (
            OSError,
            RuntimeError,
            ValueError,
            AssertionError,
            GithubException,
        ) as error:  # requests' errors are OSErrors
            requester.close()
            raise ProviderError("unavailable", f"no answer to {verb} {path}: {type(error).__name__}") from None
        except BaseException:
            requester.close()
            raise
        self._give(token, requester)
        return answer

    def _take(self, token: Secret) -> "Requester":
        """Return a requester that no other thread uses: PyGithub keeps a request's state in its connection."""
        from github import Auth, Github

        with self._lock:
            if idle := self._idle.get(token):
                return idle.pop()
        return Github(
            auth=Auth.AppAuthToken(token.reveal()) if token else None,  # "Bearer", which an App's JWT must have
            base_url=self._url,
            timeout=self._timeout,
            user_agent="onhand",
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            api_version=API_VERSION,
        ).requester

    def _give(self, token: Secret, requester: "Requester") -> None:
        with self._lock:
            idle = self._idle.pop(token, [])
            self._idle[token] = [*idle, requester]  # the token used last is the last one
            forgotten = self._idle.pop(next(iter(self._idle))) if len(self._idle) > _TOKENS else []
        for old in forgotten:
            old.close()
