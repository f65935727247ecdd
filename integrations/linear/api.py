"""Linear's GraphQL API, request by request. What it refuses becomes a ProviderError, also where HTTP says 200.

With tokens.py the only file that reaches the network. httpx is imported by the first request: the web process makes none, and a
worker has it already, by LiteLLM.

https://linear.app/developers/graphql, https://linear.app/developers/rate-limiting
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from bot.core.errors import ProviderError, ProviderWord
from bot.core.patience import Renew, renewing
from bot.core.refusals import read, refusal, seconds, wait_of, word_of
from bot.core.secret import Secret

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_PERSONAL = "lin_api_"
"""How a person's API key begins, which is sent without the word Bearer."""
_WORDS: dict[str, ProviderWord] = {
    "AUTHENTICATION_ERROR": "unauthorized",
    "UNAUTHENTICATED": "unauthorized",
    "FORBIDDEN": "forbidden",
    "FEATURE_NOT_ACCESSIBLE": "forbidden",
    "USAGE_LIMIT_EXCEEDED": "forbidden",
    "RATELIMITED": "limited",
    "ENTITY_NOT_FOUND": "missing",
    "LOCK_TIMEOUT": "unavailable",
    "NETWORK_ERROR": "unavailable",
    "BOOTSTRAP_ERROR": "unavailable",
    "INTERNAL_ERROR": "unavailable",
    "INTERNAL_SERVER_ERROR": "unavailable",
}


class Extensions(Struct, frozen=True):
    """What kind of error it is. Both words are found, in different spellings."""

    code: str | None = None
    type: str | None = None
    statusCode: int | None = None  # noqa: N815  # Linear's name
    userPresentableMessage: str | None = None  # noqa: N815


class Problem(Struct, frozen=True):
    """A GraphQL error."""

    message: str = ""
    extensions: Extensions | None = None


class Body(Struct, frozen=True):
    """An answer. Partial data beside errors is not used."""

    data: dict[str, msgspec.Raw] | None = None
    errors: list[Problem] | None = None


class Api:
    """One Linear; `timeout` is in seconds. Connections are opened by the first request."""

    def __init__(self, url: str, timeout: float, renew: Renew | None = None) -> None:
        self._url, self._timeout, self._renew = url, timeout, renew
        self._client: httpx.AsyncClient | None = None

    async def ask(self, token: Secret, document: str, variables: Mapping[str, Any], kind: type[T], *path: str) -> T:
        """Send a document; return what stands under a path in its one field, as a value of this type. Raises ProviderError."""
        answer = await renewing(lambda token: self._ask(token, document, variables), token, self._renew)
        return read(answer, kind, "Linear", *path)

    async def _ask(self, token: Secret, document: str, variables: Mapping[str, Any]) -> bytes | msgspec.Raw:
        key = token.reveal()
        headers = {"authorization": key if key.startswith(_PERSONAL) else f"Bearer {key}"}
        what = document.split("(", maxsplit=1)[0].split("{", maxsplit=1)[0].strip()
        answer = await self._post(what, {"query": document, "variables": variables}, headers)
        body = None
        with suppress(ProviderError):
            body = read(answer.content, Body, "Linear")
        if body is None or body.errors or not answer.is_success:
            raise _refused(answer, body, what, time.time())
        return next(iter((body.data or {}).values()), b"null")

    async def _post(self, what: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> "httpx.Response":
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout, headers={"user-agent": "onhand"})
        try:
            return await self._client.post(self._url, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise ProviderError("unavailable", f"no answer to {what}: {type(error).__name__}") from None

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.aclose()


def _refused(answer: "httpx.Response", body: Body | None, what: str, now: float) -> ProviderError:
    """Return the error for an answer that brings no data; `now` is in Unix seconds."""
    problem = (body.errors or [Problem()])[0] if body else Problem()
    word = _word(answer.status_code, problem)
    said = (problem.extensions.userPresentableMessage if problem.extensions else None) or problem.message
    wait = _wait(answer.headers, now) if word == "limited" else None
    return refusal("Linear", answer.status_code, what, said or "nothing that is known", word, wait)


def _word(status: int, problem: Problem) -> ProviderWord:
    kinds = problem.extensions or Extensions()
    for kind in (kinds.code, kinds.type):
        if word := _WORDS.get((kind or "").upper().replace(" ", "_")):
            return word
    if problem.message.startswith("Entity not found"):
        return "missing"
    if not problem.message and status < 300:
        return "unavailable"  # no GraphQL at all
    told = (number for number in (kinds.statusCode or 0, status) if number >= 400)
    return word_of(next(told, 400))


def _wait(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until the limit that is used up is renewed."""
    if (wait := wait_of(headers, now)) is not None:
        return wait
    for name in ("requests", "complexity", "endpoint-requests"):
        reset = seconds(headers.get(f"x-ratelimit-{name}-reset"))  # in milliseconds since 1970
        if headers.get(f"x-ratelimit-{name}-remaining") == "0" and reset is not None:
            return max(0.0, reset / 1000 - now)
    return None
