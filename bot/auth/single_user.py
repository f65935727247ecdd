"""`single_user`: one virtual user; optionally only one account may ask for work."""

from collections.abc import Mapping
from typing import ClassVar

from bot.auth import api_token
from bot.core.inbound import Account
from bot.core.ports import AuthContext, User

OWNER = User("owner", "owner")


class SingleUser:
    """Everything belongs to the owner. `ONHAND_AUTH__LOGIN=github:alice` lets only that account ask."""

    name: ClassVar[str] = "single_user"
    connects: ClassVar[bool] = False

    def __init__(self, context: AuthContext) -> None:
        self._context = context

    async def user_of(self, account: Account) -> User | None:
        login = self._context.login.lower()
        return OWNER if login in ("", f"{account.service}:{account.login}".lower()) else None

    async def user_of_request(self, headers: Mapping[str, str], now: float) -> User | None:
        return OWNER if api_token.user_id(self._context.key, headers, now) == OWNER.id else None

    def connect_url(self, account: Account, now: float) -> str:
        return ""  # there is nothing to connect: the login is fixed
