"""The REST API, request by request: sign in, send, keep connections. Refusals become ProviderError.

The only file that reaches the network or knows python-gitlab. That signs in, builds the requests and keeps connections;
its retries, pauses and lazy objects are left out: the caller retries, and no request goes out unasked. It is
imported by the first request, on its thread: the web process makes none.

https://docs.gitlab.com/api/rest/
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bot.core.errors import ProviderError
from bot.core.refusals import UNTOLD, seconds, word_of
from bot.core.secret import Secret

if TYPE_CHECKING:
    import requests
    from gitlab.exceptions import GitlabError

T = TypeVar("T")

_THREADS = 64
"""More than the calls that a worker can have under way, so that none waits behind others that hang."""
_TOKENS = 64
"""Tokens whose connections are kept."""


class Api:
    """One GitLab. `timeout` is in seconds: of each read from the connection, and a little more of the whole request."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url, timeout
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gitlab")
        self._idle: dict[Secret, list[_Line]] = {}
        self._lock = Lock()

    async def get(self, token: Secret, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> T:
        """Read. Raises ProviderError."""
        return await self.request(token, "get", path, kind, query=query)

    async def request(
        self,
        token: Secret,
        verb: str,
        path: str,
        kind: type[T],
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> T:
        """Make one request and read the answer as a value of this type. Raises ProviderError for all but 2xx."""
        send = partial(self._send, token, verb, path, dict(query or {}), None if body is None else dict(body))
        future = asyncio.get_running_loop().run_in_executor(self._threads, send)
        try:
            async with asyncio.timeout(self._timeout + 5):
                text = await future
        except TimeoutError:
            raise ProviderError("unavailable", f"GitLab did not answer {verb} {path} in {self._timeout} s") from None
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ProviderError(
                "unavailable", f"GitLab's answer to {verb} {path} was not understood: {error}"
            ) from None

    def close(self) -> None:
        """Let go of connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            idle, self._idle = self._idle, {}
        for line in (line for lines in idle.values() for line in lines):
            line.session.close()

    def _send(self, token: Secret, verb: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> bytes:
        from gitlab.exceptions import GitlabError

        line = self._take(token)
        try:
            content = line.send(verb, path, query, body)
        except GitlabError as error:
            self._give(token, line)
            raise _refusal(line.answer, f"{verb} {path}", error, time.time()) from None
        except (OSError, RuntimeError, ValueError) as error:  # those of requests are OSErrors
            line.session.close()
            raise ProviderError("unavailable", f"no answer to {verb} {path}: {type(error).__name__}") from None
        except BaseException:
            line.session.close()
            raise
        self._give(token, line)
        return content

    def _take(self, token: Secret) -> "_Line":
        """Return a line that no other thread uses: a session is not made for several."""
        with self._lock:
            if idle := self._idle.get(token):
                return idle.pop()
        return _Line(self._url, token, self._timeout)

    def _give(self, token: Secret, line: "_Line") -> None:
        with self._lock:
            self._idle[token] = [*self._idle.pop(token, []), line]  # the token used last is the last one
            forgotten = self._idle.pop(next(iter(self._idle))) if len(self._idle) > _TOKENS else []
        for old in forgotten:
            old.session.close()


class _Line:
    """One connection with one token, and the last answer on it: python-gitlab's errors leave the headers out."""

    def __init__(self, url: str, token: Secret, timeout: int) -> None:
        import requests
        from gitlab import Gitlab

        self.session = requests.Session()
        self.answer: requests.Response | None = None
        self.session.hooks["response"].append(self._note)
        # As "Bearer" GitLab takes tokens of every kind: personal, of projects and groups, and of OAuth.
        self._gitlab = Gitlab(
            url, oauth_token=token.reveal(), timeout=timeout, session=self.session, user_agent="onhand"
        )

    def send(self, verb: str, path: str, query: dict[str, Any], body: dict[str, Any] | None) -> bytes:
        self.answer = None
        answer = self._gitlab.http_request(
            verb, path, query_data=query, post_data=body, obey_rate_limit=False, retry_transient_errors=False
        )
        return answer.content or b"null"

    def _note(self, answer: "requests.Response", *args: Any, **kwargs: Any) -> None:
        self.answer = answer


def _refusal(answer: "requests.Response | None", what: str, error: "GitlabError", now: float) -> ProviderError:
    """Return the error for an answer that is no success; `now` is in Unix seconds."""
    if answer is None:
        return ProviderError("unavailable", f"no answer to {what}: {type(error).__name__}")
    status = answer.status_code
    word = word_of(status) if status >= 400 else "missing"
    detail = f"GitLab answered {status} to {what}: {str(error.error_message)[:500]}"
    return ProviderError(word, detail, _wait(answer.headers, now) if word in ("limited", "unavailable") else None)


def _wait(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that GitLab asks us to wait. https://docs.gitlab.com/security/rate_limits/"""
    after, reset = seconds(headers.get("Retry-After")), seconds(headers.get("RateLimit-Reset"))
    if after is not None:
        return after
    if headers.get("RateLimit-Remaining") == "0":
        return UNTOLD if reset is None else max(0.0, reset - now)
    return None
