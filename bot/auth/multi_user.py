"""`multi_user`: every account belongs to a user who has connected it."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from bot.auth import api_token, tickets
from bot.core.errors import Refused
from bot.core.inbound import Account
from bot.core.ports import AuthContext, User

CONNECT = "connect"
LINK_SECONDS = 24 * 3600.0


def as_subject(account: Account) -> str:
    """Return an account as the subject of a link: ids and logins of any shape keep apart."""
    return msgspec.json.encode(account).decode()


def from_subject(subject: str) -> Account:
    """Return the account of a link. Raises Refused for a link of an older make."""
    try:
        return msgspec.json.decode(subject, type=Account)
    except msgspec.DecodeError:
        raise Refused("ticket", "This link is of an older make. Ask for a new one.") from None


class MultiUser:
    """Accounts are looked up; an unknown one gets a signed link that is good for a day."""

    name: ClassVar[str] = "multi_user"
    connects: ClassVar[bool] = True

    def __init__(self, context: AuthContext) -> None:
        self._context = context

    async def user_of(self, account: Account) -> User | None:
        return await self._context.accounts.user_of(account)

    async def user_of_request(self, headers: Mapping[str, str], now: float) -> User | None:
        found = api_token.user_id(self._context.key, headers, now)
        return User(found, found) if found else None

    def connect_url(self, account: Account, now: float) -> str:
        ticket = tickets.issue(self._context.key, CONNECT, as_subject(account), now + LINK_SECONDS)
        return f"{self._context.public_url}/api/auth/connect?ticket={ticket}"
