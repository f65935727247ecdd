"""The bearer token of the REST API: a signed ticket for a user."""

from collections.abc import Mapping

from bot.auth import tickets
from bot.core.errors import Refused
from bot.core.secret import Secret

PURPOSE = "api"


def user_id(key: Secret, headers: Mapping[str, str], now: float) -> str | None:
    """Return the user of `Authorization: Bearer TOKEN`, None without a good one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        return tickets.redeem(key, PURPOSE, token.strip(), now)
    except Refused:
        return None
