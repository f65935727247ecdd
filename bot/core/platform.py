"""What is the same on most platforms. An Integration may begin with it and say only what is its own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from msgspec import Struct, structs

from bot.core.errors import ConfigError, ProviderError, Rejected
from bot.core.inbound import Account
from bot.core.outbound import Call, Receipt
from bot.core.ports import Proposal
from bot.core.refusals import unless
from bot.core.remembered import Remembered
from bot.core.secret import Secret


class Platform:
    """A part of the port `Integration`, made of its settings; what is otherwise on a platform it defines anew.

    `secret` is that of the webhook (one of them, where there are several), `token` the bot's own. Whose a token is, `owner`
    says, and is asked once.
    """

    name: ClassVar[str]

    def __init__(self, settings: Struct, secret: Secret | None, token: Secret | None) -> None:
        given = [*structs.asdict(settings).values(), token]
        self._secrets = list(dict.fromkeys(value for value in given if isinstance(value, Secret) and value))
        self._webhook_secret, self._token = secret or None, token or None
        self._owners = Remembered[Secret, Account]()

    def secrets(self) -> Sequence[Secret]:
        return self._secrets

    @property
    def receives(self) -> bool:
        return self._webhook_secret is not None

    def webhook_secret(self) -> Secret:
        """Return the webhook's secret. Raises Rejected (404): without one there is no endpoint."""
        if self._webhook_secret is None:
            raise Rejected("no_endpoint", f"there is no webhook secret for {self.name}", 404)
        return self._webhook_secret

    async def token(self, place: str, use: str = "") -> Secret | None:
        return self._token

    async def give_back(self, use: str) -> None:
        """The bot's token is not made for a use."""

    def propose(self, proposal: Proposal) -> list[Call]:
        return []  # no code lives here

    async def identify(self, token: Secret) -> Account:
        return await self._owners.get(token, lambda: self.owner(token))

    async def owner(self, token: Secret) -> Account:
        """Return the account that the token belongs to, from the platform itself. Raises ProviderError."""
        raise NotImplementedError


async def edited(
    receipt: Receipt | None,
    edit: Callable[[Receipt], Awaitable[Receipt]],
    find: Callable[[], Awaitable[Receipt | None]],
) -> Receipt | None:
    """Edit the message of a receipt; None where there is none, or somebody has deleted it: then it is to be said anew.

    Unless that was done, and only the answer was lost: then that one is found, and edited. One that is listed and cannot be
    edited all the same is an error: to say it anew would double it. Raises ProviderError.
    """
    if receipt is None:
        return None
    if done := await unless(edit(receipt), "missing"):
        return done
    other = await unless(find(), "missing")
    return await edit(other) if other else None


def endpoint(public_url: str, name: str) -> str:
    """Return where the deliveries of a platform go: its webhook's address."""
    return f"{public_url}/api/integration/{name}/events"


def web_address(setting: str, url: str, example: str) -> str:
    """Return an address of the settings without a slash at its end. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(f"{setting}: expected an address such as {example}, found {url!r}")
    return url.rstrip("/")


def path_at(web: str, address: str) -> str:
    """Return what stands behind `web` in an address there (of a page, or for git over HTTP or SSH); "" for any other."""
    home = f"{web.partition('://')[2]}/".casefold()
    there = address.partition("://")[2] if "://" in address else address.replace(":", "/", 1)
    there = there.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return there[len(home) :] if there.casefold().startswith(home) else ""


def number_in(text: str) -> str:
    """Return the text if it is a number that may stand in an address. Raises ProviderError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ProviderError("invalid", f"expected a number, found {text[:40]!r}")
    return text
