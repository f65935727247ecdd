"""The app's own token, by its client id and secret: asked for when it is needed, and anew when Linear does not take it any more.

An app has one such token at a time: a worker that asks ends that of another one, which then asks as well.

https://linear.app/developers/oauth-2-0-authentication
"""

import asyncio
from collections.abc import Callable
from urllib.parse import urljoin

from msgspec import Struct

from bot.core.errors import ProviderError, ProviderWord
from bot.core.refusals import read, refusal
from bot.core.secret import Secret

SCOPES = "read,write,app:assignable,app:mentionable"
_BEFORE_THE_END = 3600.0
"""Seconds before its end from which a token is not used any more."""


class Granted(Struct, frozen=True):
    """A token, good for `expires_in` seconds."""

    access_token: str
    expires_in: float = 0.0


class AppToken:
    """Keeps the token of an app. `clock` tells Unix seconds."""

    def __init__(
        self, api_url: str, client_id: str, secret: Secret, timeout: float, clock: Callable[[], float]
    ) -> None:
        self._url = urljoin(api_url, "/oauth/token")
        self._form = {"grant_type": "client_credentials", "scope": SCOPES, "client_id": client_id}
        self._secret, self._timeout, self._clock = secret, timeout, clock
        self._token, self._until = Secret(""), 0.0
        self._one_at_a_time = asyncio.Lock()

    async def get(self, refused: Secret | None = None) -> Secret:
        """Return the token; another one than the refused one. Raises ProviderError."""
        async with self._one_at_a_time:
            if self._token == refused or self._clock() >= self._until:
                granted = await self._ask()
                self._token = Secret(granted.access_token)
                self._until = self._clock() + granted.expires_in - _BEFORE_THE_END
            return self._token

    async def _ask(self) -> Granted:
        import httpx

        form = {**self._form, "client_secret": self._secret.reveal()}
        try:
            async with httpx.AsyncClient(timeout=self._timeout) as client:
                answer = await client.post(self._url, data=form)
        except httpx.HTTPError as error:
            raise ProviderError("unavailable", f"no token from Linear: {type(error).__name__}") from None
        if not answer.is_success:
            word: ProviderWord = "unavailable" if answer.status_code >= 500 else "unauthorized"
            raise refusal("Linear", answer.status_code, "a token", "are client_id and client_secret right?", word)
        return read(answer.content, Granted, "Linear")
