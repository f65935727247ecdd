"""HMAC helpers for the integrations' `verify`. Mechanism only: which header, which string and which window is theirs."""

import hashlib
import hmac

from bot.core.errors import Rejected
from bot.core.inbound import Inbound
from bot.core.secret import Secret


def hmac_sha256(key: Secret, message: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA256 (RFC 2104) of `message`."""
    return hmac.digest(key.reveal().encode(), message, hashlib.sha256)


def same(expected: str, given: str) -> bool:
    """Compare in constant time; any text may come in, non-ASCII included."""
    return hmac.compare_digest(expected.encode(), given.encode(errors="surrogatepass"))


def require(header: str, expected: str, given: str | None) -> None:
    """Raise Rejected (401) unless `given` equals `expected`.

    `header` is the name to show in the message; the message never contains a signature.
    """
    if not given:
        raise Rejected("signature", f"expected the header {header}; set the same secret on both sides", 401)
    if not same(expected, given):
        raise Rejected("signature", f"{header} does not match the body; is the secret the same on both sides?", 401)


def require_hmac(header: str, inbound: Inbound, secret: Secret, prefix: str = "") -> None:
    """Raise Rejected (401) unless this header has the HMAC-SHA256 of the body in hex behind `prefix`."""
    require(header, f"{prefix}{hmac_sha256(secret, inbound.body).hex()}", inbound.headers.get(header.lower()))


def require_recent(header: str, sent_at: float, now: float, window: float) -> None:
    """Raise Rejected (401) unless `sent_at` lies within `window` seconds of `now` (both Unix seconds)."""
    if not abs(now - sent_at) <= window:
        raise Rejected("stale", f"{header} is more than {window:.0f} s away from this clock; check both clocks", 401)
