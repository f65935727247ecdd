"""Who may use the service: AuthStrategy."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from msgspec import Struct

from bot.core.inbound import Account
from bot.core.ports.memory import Accounts, User
from bot.core.secret import Secret


class AuthContext(Struct, frozen=True):
    """What an auth strategy is built with."""

    accounts: Accounts
    key: Secret
    """Signs links and tokens."""
    public_url: str
    login: str = ""
    """The one account that may ask, as `service:login`, where a strategy has one."""


class AuthStrategy(Protocol):
    """Who may use the service and who stands behind an account. Built as `factory(context)`; one a deployment."""

    name: ClassVar[str]
    connects: ClassVar[bool]
    """Whether people connect their accounts, so that one account of a person leads to the others."""

    async def user_of(self, account: Account) -> User | None:
        """Return the user behind a provider's account, None if the account must be connected first."""
        ...

    async def user_of_request(self, headers: Mapping[str, str], now: float) -> User | None:
        """Return the user behind a request to the REST API (header names in lower case), None if it is not allowed in."""
        ...

    def connect_url(self, account: Account, now: float) -> str:
        """Return a signed, expiring link with which the person connects the account; "" where that is not possible."""
        ...
