"""`none`: one local user for everybody. For a service that only its own machine can reach."""

from collections.abc import Mapping
from typing import ClassVar

from bot.core.inbound import Account
from bot.core.ports import AuthContext, User

LOCAL = User("local", "local user")


class NoAuth:
    """Anybody with the right at the provider may ask; the REST API is open."""

    name: ClassVar[str] = "none"

    def __init__(self, context: AuthContext) -> None:
        self._public_url = context.public_url

    async def user_of(self, account: Account) -> User | None:
        return LOCAL

    async def user_of_request(self, headers: Mapping[str, str], now: float) -> User | None:
        return LOCAL

    def connect_url(self, account: Account, now: float) -> str:
        return self._public_url  # nobody is ever asked to connect
