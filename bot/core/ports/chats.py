"""What an Integration may have beside: a connection of its own, requests that have no thread yet, several installations."""

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from msgspec import Struct

from bot.core.inbound import Delivery, Verified
from bot.core.secret import Secret

Take = Callable[[Verified], Awaitable[bytes | None]]
"""Takes a delivery in; returns the answer that the platform wants. Raises Rejected, Unavailable (then it was not stored)."""


@runtime_checkable
class Listener(Protocol):
    """An Integration to which deliveries can come over a connection that it opens itself."""

    @property
    def listens(self) -> bool:
        """Whether the settings ask for that."""
        ...

    async def listen(self, take: Take) -> None:
        """Hand every delivery to `take` until cancelled; acknowledge those that it has taken. Raises ProviderError."""
        ...


@runtime_checkable
class ThreadOpener(Protocol):
    """An Integration on which people may ask without a message of their own (a slash command)."""

    async def open_thread(self, delivery: Delivery, token: Secret | None) -> Delivery:
        """Begin the thread that the triggers lack (their `thread.item` is empty), and return the delivery with it.

        Quick enough for whoever waits. Where it cannot be begun, there is no trigger left, and `answer` says why. Twice for
        the same delivery begins one thread.
        """
        ...


class Installed(Struct, frozen=True):
    """Our app has been let in: where, and the bot's token for what is there."""

    place: str
    """The first part of `Thread.place` there, such as a workspace's id."""
    name: str
    token: Secret


@runtime_checkable
class Installer(Protocol):
    """An Integration whose app can be installed in several workspaces; their tokens are kept in the vault.

    `token` returns None for a place whose token is not in the settings.
    """

    def install_url(self, back: str, state: str) -> str:
        """Return the page on which our app is let in and that leads `back` with `state` and a `code`; "" without the settings."""
        ...

    async def install(self, code: str, back: str) -> Installed:
        """Take the bot's token for the code. Raises ProviderError."""
        ...


def installed_in(place: str) -> str:
    """Return under what owner the vault keeps the bot's token for a place."""
    return f"installed:{place.partition('/')[0]}"
