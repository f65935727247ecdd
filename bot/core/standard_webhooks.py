"""Signatures of Standard Webhooks, which platforms that sign anew agree on. Pure. https://www.standardwebhooks.com"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from contextlib import suppress

from bot.core.errors import Rejected
from bot.core.inbound import Inbound
from bot.core.secret import Secret
from bot.core.signatures import require_recent, same

WINDOW = 300.0
"""Seconds that a signed delivery may be old."""


def signature(key: bytes, number: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a body: `v1,<base64>`."""
    message = f"{number}.{timestamp}.".encode(errors="surrogatepass") + body
    return f"v1,{base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()}"


def signing_keys(token: Secret) -> list[bytes]:
    """Return what a signing token may stand for: the base64 in it (after `whsec_`, if that is there), and the token as it is."""
    text = token.reveal()
    keys = [text.encode()]
    with suppress(binascii.Error, ValueError):
        keys.append(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    return keys[::-1] if text.startswith("whsec_") else keys


def require_signed(inbound: Inbound, signing: Sequence[Secret], now: float) -> None:
    """Raise Rejected (401) unless one of these tokens signed the body, now or up to five minutes ago."""
    number, timestamp, given = (inbound.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (number and timestamp and given):
        raise Rejected("signature", "expected the headers webhook-id, webhook-timestamp and webhook-signature", 401)
    keys = [key for token in signing for key in signing_keys(token)]
    wanted = [signature(key, number, timestamp, inbound.body) for key in keys]
    if not any(same(one, other) for one in wanted for other in given.split()[:20]):
        raise Rejected(
            "signature", "webhook-signature does not match; is the signing token the same on both sides?", 401
        )
    if not re.fullmatch(r"[0-9]{1,15}", timestamp):
        raise Rejected("stale", "expected webhook-timestamp in Unix seconds", 401)
    require_recent("webhook-timestamp", float(timestamp), now, WINDOW)
