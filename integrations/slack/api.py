"""Slack's Web API, call by call: one session for all tokens, and refusals as ProviderError.

The only file beside socket_mode.py that reaches the network. Nothing is retried here: the caller does.
The library is imported by the first call: the web process makes none, unless Socket Mode is on, and would start a third later.
"""

import asyncio
import time
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bot.core.errors import ProviderError, ProviderWord
from bot.core.refusals import refusal, wait_of, word_of
from bot.core.secret import Secret

if TYPE_CHECKING:
    from slack_sdk.errors import SlackApiError
    from slack_sdk.web.async_client import AsyncWebClient

FILES = "https://files.slack.com/"
"""Where files are; a token is sent nowhere else."""

NOBODY = Secret("")
"""Instead of a token: the call is not signed in."""


_WORDS: Mapping[ProviderWord, str] = {
    "unauthorized": "invalid_auth not_authed account_inactive token_revoked token_expired app_uninstalled",
    "forbidden": (
        "missing_scope not_in_channel restricted_action restricted_action_read_only_channel no_permission access_denied "
        "restricted_action_thread_locked restricted_action_non_threadable_channel is_archived cant_update_message "
        "edit_window_closed not_allowed_token_type team_access_not_granted ekm_access_denied messages_tab_disabled"
    ),
    "missing": "channel_not_found message_not_found thread_not_found user_not_found team_not_found file_not_found",
    "conflict": "message_not_in_streaming_state stopped_by_user streaming_state_conflict",
    "limited": "ratelimited rate_limited message_limit_exceeded",
    "unavailable": "internal_error fatal_error service_unavailable request_timeout team_added_to_org",
}
_WORD_OF: dict[str, ProviderWord] = {name: word for word, names in _WORDS.items() for name in names.split()}


class Api:
    """One Slack. `timeout` is in seconds, of each call."""

    def __init__(self, url: str, timeout: int) -> None:
        self._url, self._timeout = url.rstrip("/") + "/", timeout
        self._web: AsyncWebClient | None = None

    async def call(self, token: Secret, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method by its name in slack_sdk, such as `chat_update`. Raises ProviderError."""
        web = await self._open()
        import aiohttp
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            signed = {"token": token.reveal()} if token else {}
            answer = await getattr(web, method)(**signed, **arguments)
        except SlackApiError as error:
            raise refused(method, error) from None
        except (aiohttp.ClientError, SlackClientError, TimeoutError, OSError, ValueError, AttributeError) as error:
            raise ProviderError("unavailable", f"no answer to {method}: {type(error).__name__}") from None
        found: dict[str, Any] = answer.data
        return found

    async def read(self, token: Secret, address: str, longest: int) -> bytes:
        """Return the first bytes of a file of Slack's; of none if its address is elsewhere. Raises ProviderError."""
        if not (address.startswith(FILES) or (_origin(address) == _origin(self._url) and _origin(address))):
            return b""
        web = await self._open()
        import aiohttp

        assert web.session is not None
        headers = {"authorization": f"Bearer {token.reveal()}"}
        try:
            async with web.session.get(address, headers=headers, allow_redirects=False) as answer:
                return await answer.content.readexactly(longest) if answer.status == 200 else b""
        except asyncio.IncompleteReadError as short:
            return short.partial
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderError("unavailable", f"no answer to a file: {type(error).__name__}") from None

    async def close(self) -> None:
        """Let go of connections."""
        if self._web is not None and self._web.session is not None:
            await self._web.session.close()

    async def _open(self) -> "AsyncWebClient":
        """Return the library's client with its session, which needs a running loop and is therefore made by the first call."""
        if self._web is None:
            await asyncio.to_thread(import_module, "slack_sdk.web.async_client")  # 0.2 s, which stop nobody there
        from aiohttp import ClientSession, ClientTimeout
        from slack_sdk.web.async_client import AsyncWebClient

        if self._web is None:
            self._web = AsyncWebClient(base_url=self._url, timeout=self._timeout, retry_handlers=[])
        if self._web.session is None or self._web.session.closed:
            self._web.session = ClientSession(timeout=ClientTimeout(total=self._timeout))
        return self._web


def refused(method: str, error: "SlackApiError") -> ProviderError:
    """Return what a method's refusal is in our words; what Slack said stays in the text."""
    answer = error.response
    status = int(getattr(answer, "status_code", 0) or getattr(answer, "status", 0) or 0)
    data = answer.data if isinstance(getattr(answer, "data", None), dict) else {}
    said = str(data.get("error", ""))
    word = _WORD_OF.get(said) or (word_of(status) if status >= 400 else "invalid" if said else "unavailable")
    wait = wait_of(getattr(answer, "headers", {}), time.time()) if word == "limited" else None
    needs = f", needs the scope {data['needed']}" if data.get("needed") else ""
    return refusal("Slack", status, method, f"{said}{needs}", word, wait)


def table(value: object) -> dict[str, Any]:
    """Return an object of an answer; an empty one where there is something else in its place."""
    return value if isinstance(value, dict) else {}


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return (parts.scheme, parts.netloc) if parts.netloc else ("", "")
