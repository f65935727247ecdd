"""Language models through LiteLLM. The only file that imports it, and only when `load` is called: that takes seconds.

What a provider answers to a failed call is not passed on: it can hold parts of the prompt or of the key. Errors
are said as a word, a sentence of our own and a status.
"""

import asyncio
import logging
import math
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import msgspec

from bot.agent.aside import Aside
from bot.agent.images import has_images
from bot.agent.incoming import answer, bound, coming_in
from bot.agent.overlong import says_too_long
from bot.agent.splice import Passage, Prompt, outgoing
from bot.core.errors import ContextTooLong, ImagesRefused, ModelError
from bot.core.lasting import lasting
from bot.core.ports import Reply, ToolCall
from bot.core.refusals import after, word_of
from bot.core.secret import Secret

logger = logging.getLogger(__name__)

Message = Mapping[str, Any]

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_PATIENCE = 3
"""Answers that cannot be used until it is given up. Each was paid for, unlike a try that found the server away."""

_SAID = {
    "unauthorized": "the model's server did not accept the key",
    "forbidden": "the key may not use this model",
    "missing": "the model's server does not know this model or address",
    "invalid": "the model's server did not accept the request",
    "images": "the model did not take the images",
    "quota": "the account at the model's provider is used up",
    "limited": "the model's provider limits requests, and went on doing so",
    "timeout": "the model did not answer in time",
    "unavailable": "the model's server could not be reached or failed, several times",
    "nonsense": "the model's server gave answers that could not be read",
}
_WORTH_RETRYING = ("limited", "timeout", "unavailable", "nonsense")
_MAY_BE_IMAGES = ("invalid", "missing")
"""What servers answer to images that they do not want: 400, 413, 422, and OpenRouter 404."""
_WORDS = {402: "quota", 408: "timeout", 409: "invalid"}
"""What statuses mean where it is not what a platform means by them."""


_QUIETLY = {"drop_params": True, "num_retries": 0, "max_retries": 0, "no-log": True}
_TAKE_OUR_CLIENT = (
    *("openai", "hosted_vllm", "openrouter", "litellm_proxy", "deepseek", "mistral", "xai"),
    *("anthropic", "gemini"),
)
"""Routes on which LiteLLM uses the HTTP client that it is given."""


@cache
def load() -> ModuleType:
    """Import LiteLLM, quiet and without the network. Call it before a worker says that it is ready."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a price list at import
    # The OpenAI client walks the whole history on the event loop, and logs that nobody reads copy it.
    os.environ["EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"] = "True"
    os.environ.setdefault("MAX_BASE64_LENGTH_FOR_LOGGING", "0")
    with lasting():
        import litellm

        _silence(litellm)
        _aside().start(_rehearse(litellm)).result()
    sys.setswitchinterval(0.001)  # the runs' thread waits for that long when LiteLLM's has the interpreter
    return litellm


def _silence(litellm: Any) -> None:
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        noisy = logging.getLogger(name)
        noisy.handlers[:] = [logging.NullHandler()]
        noisy.propagate = False
        noisy.setLevel(logging.CRITICAL)


@cache
def _aside() -> Aside:
    """Return where LiteLLM works: milliseconds at a stretch, which the runs' loop is not to wait for."""
    return Aside("litellm")


async def _rehearse(litellm: ModuleType) -> None:
    """Make one call but for the wire: with its first, LiteLLM imports for seconds, which would stop all runs."""
    import httpx

    class Unwired(litellm.AsyncHTTPHandler):  # type: ignore[misc, name-defined]
        async def post(self, url: str, **_: Any) -> httpx.Response:
            message = {"role": "assistant", "content": "Ready."}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            answer = {"id": "", "model": "", "choices": [{"index": 0, "message": message}], "usage": usage}
            return httpx.Response(200, json=answer, request=httpx.Request("POST", url))

    tool = {"type": "function", "function": {"name": "none", "parameters": {"type": "object", "properties": {}}}}
    await litellm.acompletion(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "Ready?"}],
        tools=[tool],
        api_key="none",
        client=Unwired(),
        **_QUIETLY,
    )


def _client() -> Any:
    """Return an HTTP client of LiteLLM's that lets prompts out past it, and bounds what comes in. LiteLLM keeps one a loop."""
    clients, key = load().in_memory_llm_clients_cache, "onhand"
    if (found := clients.get_cache(key)) is None:
        found = _client_class()(event_hooks={"response": [bound]})
        clients.set_cache(key, found, litellm_owned_client=True)
    return found


@cache
def _client_class() -> Any:
    class Client(load().AsyncHTTPHandler):  # type: ignore[misc]
        async def post(self, url: str, data: Any = None, json: Any = None, **options: Any) -> Any:
            body = msgspec.json.encode(json) if data is None else data.encode() if isinstance(data, str) else data
            options["headers"] = {**(options.get("headers") or {}), "accept-encoding": "gzip"}
            return answer(await super().post(url, outgoing(body), **options))

    return Client


class LiteLLMModel:
    """Any model that LiteLLM can reach, by LiteLLM's name for it.

    `timeout` bounds one try and `total` all of them, in seconds. Without a key, LiteLLM looks for the provider's own
    variable in the environment, unless `base_url` points elsewhere.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = "",
        api_key: Secret | None = None,
        retries: int = 5,
        timeout: float = 300.0,
        total: float = 900.0,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = model
        self._base_url, self._key = base_url, api_key
        self._retries, self._timeout, self._total, self._pause = retries, timeout, total, pause
        self._passage = Passage()

    async def complete(self, messages: Sequence[Message], tools: Sequence[Message]) -> Reply:
        try:
            async with asyncio.timeout(self._total):
                return await self._persistently(messages, tools)
        except TimeoutError:
            raise _error(_Failure("timeout")) from None

    async def _persistently(self, messages: Sequence[Message], tools: Sequence[Message]) -> Reply:
        load()
        until, attempt, paid = time.monotonic() + self._total, 0, 0
        while isinstance(outcome := await _aside().run(self._try(messages, tools)), _Failure):
            wait = max(outcome.retry_after, _backoff(attempt))
            attempt += 1
            paid += outcome.word == "nonsense"
            over = attempt > self._retries or paid >= _PATIENCE or time.monotonic() + wait > until
            if over or outcome.word not in _WORTH_RETRYING:
                raise _error(outcome)
            logger.info("model %s: %s; trying again in %.1f s", self.name, _error(outcome), wait)
            await self._pause(wait)
        return outcome

    async def _try(self, messages: Sequence[Message], tools: Sequence[Message]) -> "Reply | _Failure":
        litellm, started, prompt = load(), time.monotonic(), Prompt(messages, self._passage)
        illustrated = has_images(messages)
        if illustrated and _blind(litellm, self.name):
            return _Failure("images")
        try:
            with prompt.going_out(), coming_in() as arrival:
                async with asyncio.timeout(self._timeout):
                    response = await litellm.acompletion(**self._request(prompt.shown, tools))
            return _reply(response, self.name, time.monotonic() - started)
        except Exception as error:  # noqa: BLE001  whatever LiteLLM raises is sorted by status here
            if arrival.came:  # to LiteLLM, an answer that it cannot use is a server that failed
                return _Failure("nonsense")
            failure = _failure(error)
            if isinstance(error, litellm.ContextWindowExceededError) or _says_too_long(failure, error, illustrated):
                raise ContextTooLong("context: the prompt is longer than the model's window") from None
            return _Failure("images", failure.status) if illustrated and failure.word in _MAY_BE_IMAGES else failure

    def _request(self, messages: Sequence[Message], tools: Sequence[Message]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.name, "messages": messages, "timeout": self._timeout, **_QUIETLY}
        if self.name.partition("/")[0] in _TAKE_OUR_CLIENT:
            request["client"] = _client()
        if tools:
            request["tools"] = [dict(t) for t in tools]
        if self._base_url:
            request["api_base"] = self._base_url
        if self._key or self._base_url:
            request["api_key"] = self._key.reveal() if self._key else "none"
        return request


@dataclass(frozen=True)
class _Failure:
    """A try that gave no answer. `word` is a key of `_SAID`; `status` is 0 where there was none."""

    word: str
    status: int = 0
    retry_after: float = 0.0


def _failure(error: Exception) -> _Failure:
    status = getattr(error, "status_code", 0)
    status = status if isinstance(status, int) else 0
    headers = getattr(error, "litellm_response_headers", None) or {}
    if "insufficient_quota" in str(error):
        return _Failure("quota", status)
    return _Failure(_word(error, status), status, after(str(headers.get("retry-after", "")), time.time(), 0.0))


def _says_too_long(failure: _Failure, error: Exception, illustrated: bool) -> bool:
    """Whether it is the length. Of a body that is too large (413), images are taken for the larger part."""
    return failure.word == "invalid" and (says_too_long(str(error)) or (failure.status == 413 and not illustrated))


def _word(error: Exception, status: int) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if 200 <= status < 300 or isinstance(error, _UnreadableError):
        return "nonsense"
    return _WORDS.get(status) or word_of(status)


def _backoff(attempt: int) -> float:
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311  jitter


def _error(failure: _Failure) -> ModelError:
    status = f", HTTP {failure.status}" if failure.status >= 400 else ""
    kind = ImagesRefused if failure.word == "images" else ModelError
    return kind(f"{failure.word}: {_SAID[failure.word]}{status}")


def _blind(litellm: ModuleType, name: str) -> bool:
    """Whether LiteLLM knows a model and that it takes no images. Its own `supports_vision` says so of unknown ones too."""
    known = [litellm.model_cost[n] for n in (name, name.partition("/")[2]) if n in litellm.model_cost]
    return bool(known) and not any(entry.get("supports_vision") for entry in known)


class _UnreadableError(Exception):
    """An answer without what an answer has."""


def _reply(response: Any, model: str, seconds: float) -> Reply:
    if not getattr(response, "choices", None):
        raise _UnreadableError
    message, usage = response.choices[0].message, getattr(response, "usage", None)
    calls = tuple(
        ToolCall(call.id or "", call.function.name or "", call.function.arguments or "")
        for call in message.tool_calls or ()
    )
    details = getattr(usage, "prompt_tokens_details", None)
    return Reply(
        text=message.content if isinstance(message.content, str) else "",
        calls=calls,
        model=model,
        input_tokens=getattr(usage, "prompt_tokens", 0) or 0,
        output_tokens=getattr(usage, "completion_tokens", 0) or 0,
        cached_tokens=getattr(details, "cached_tokens", 0) or 0,
        cost_usd=_cost(response._hidden_params.get("response_cost")),  # noqa: SLF001  where LiteLLM puts it
        seconds=seconds,
        cut=getattr(response.choices[0], "finish_reason", "") == "length",
    )


def _cost(told: Any) -> float:
    """Return the price of an answer, 0 where it makes no sense: a server may tell it itself."""
    cost = float(told or 0.0)
    return cost if math.isfinite(cost) and cost >= 0 else 0.0
