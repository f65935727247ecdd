"""What reading a delivery comes to on every platform: its body, its id, what is wrong with it and what it asks for. Pure."""

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec import structs

from bot.core.errors import Rejected
from bot.core.inbound import Delivery, Inbound, Trigger

T = TypeVar("T")

WORD = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
"""What an event or an action is called."""
ID = re.compile(r"[\x21-\x7e]{1,200}")
_ADDRESS = re.compile(r"https?://[^\s<>()\[\]\"'`\\]{1,1000}")


def decode(body: bytes, decoder: "msgspec.json.Decoder[T]", name: str) -> T:
    """Return the body of a delivery of the platform `name`. Raises Rejected (400)."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Rejected("body", f"expected an event as {name} sends it: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
        raise Rejected("body", "expected JSON, or where the platform sends forms one with JSON in it") from None


def delivery_id(inbound: Inbound, *headers: str) -> str:
    """Return the id from the first of these headers that has one; else what the body is known by."""
    given = (inbound.headers.get(header, "") for header in headers)
    return next(filter(ID.fullmatch, given), "") or f"body:{hashlib.sha256(inbound.body).hexdigest()[:40]}"


@lru_cache(1024)
def event_name(*parts: str | None) -> str:
    """Return how an event is called, such as `issues.opened`; what is no name in it is left out."""
    return ".".join(part for part in parts if part and WORD.fullmatch(part)) or "unknown"


def understood(service: str, number: str, event: str, found: Trigger | str) -> Delivery:
    """Return the delivery of this id that asks for what was found, or in a word says why it asks for nothing."""
    if isinstance(found, str):
        return Delivery(service, number, event, ignored=found)
    return Delivery(service, number, event, triggers=(found,))


def missed(told: Iterable[T], read: Callable[[T], Delivery]) -> tuple[Delivery, ...]:
    """Return what asks for work of all that was told while we were away; each is known by what it means.

    What a delivery would be refused for asks for nothing here either.
    """
    found = []
    for one in told:
        with suppress(Rejected):
            delivery = read(one)
            found += [structs.replace(delivery, id=f"missed:{t.meaning}") for t in delivery.triggers]
    return tuple(found)


def address(text: str | None) -> str:
    """Return the text if it is the address of a page; whatever is none, people are not shown."""
    return text if text and _ADDRESS.fullmatch(text) else ""


def moment(text: object) -> float:
    """Return a time as the platforms write it (ISO 8601, or as GitLab once did) in Unix seconds; 0.0 for what is none."""
    try:
        return datetime.fromisoformat(str(text).replace(" UTC", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
