"""Signed, expiring tickets: the link that connects an account, the token for the REST API.

A ticket is `base64url(json).base64url(HMAC-SHA256)`. It says what it is for, so that one kind is never taken for another.
"""

import base64
import binascii

import msgspec
from msgspec import Struct

from bot.core.errors import Refused
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256, same

INSTALL = "install"
"""Whoever has such a ticket for a service may install our app in a workspace of theirs."""


class _Ticket(Struct, frozen=True):
    purpose: str
    subject: str
    expires: float


def issue(key: Secret, purpose: str, subject: str, expires: float) -> str:
    """Return a ticket for `subject` that is good until `expires` (Unix seconds)."""
    body = _encode(msgspec.json.encode(_Ticket(purpose, subject, expires)))
    return f"{body}.{_signature(key, body)}"


def redeem(key: Secret, purpose: str, ticket: str, now: float) -> str:
    """Return the subject of a ticket. Raises Refused when it is not ours, not for this purpose or too old."""
    body, _, signature = ticket.partition(".")
    if not same(_signature(key, body), signature):
        raise Refused("ticket", "This link or token is not valid here.")
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Ticket)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise Refused("ticket", "This link or token is not valid here.") from error
    if found.purpose != purpose:
        raise Refused("ticket", "This link or token is for something else.")
    if found.expires < now:
        raise Refused("ticket_expired", "This link or token has expired. Ask for a new one.")
    return found.subject


def _signature(key: Secret, body: str) -> str:
    return _encode(hmac_sha256(key, b"onhand ticket " + body.encode(errors="surrogatepass")))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
