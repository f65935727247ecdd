"""`none`: one local user for everybody. For a service that only its own machine can reach."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import ClassVar
from urllib.parse import urlsplit

from bot.core.inbound import Account
from bot.core.ports import AuthContext, User

LOCAL = User("local", "local user")


def _is_loopback(host: str | None) -> bool:
    if host in ("localhost", None):
        return host is not None
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False


class NoAuth:
    """Anybody with the right at the provider may ask; the REST API is open to this machine alone."""

    name: ClassVar[str] = "none"
    connects: ClassVar[bool] = False

    def __init__(self, context: AuthContext) -> None:
        self._public_url = context.public_url

    async def user_of(self, account: Account) -> User | None:
        return LOCAL

    async def user_of_request(self, headers: Mapping[str, str], now: float) -> User | None:
        """Let in who speaks to this machine by a name of its own: not by way of a proxy, a tunnel or a stranger's page."""
        host = urlsplit(f"//{headers.get('host', '')}").hostname
        return LOCAL if _is_loopback(host) and _is_loopback(urlsplit(self._public_url).hostname) else None

    def connect_url(self, account: Account, now: float) -> str:
        return self._public_url  # nobody is ever asked to connect
