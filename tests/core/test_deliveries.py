"""What every platform's `parse` begins with: the body, the id, the name of the event, times and addresses."""

from typing import Any

import msgspec
import pytest

from bot.core.deliveries import address, decode, delivery_id, event_name, missed, moment, understood
from bot.core.errors import Rejected
from bot.core.inbound import Account, Delivery, Inbound, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.testing.integrations import HOSTILE


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_read_or_refused(body: bytes) -> None:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(dict[str, Any])
    word = ""
    try:
        decode(body, decoder, "Here")
    except Rejected as rejected:
        word = f"{rejected.word} {rejected.status}"
    assert word in ("", "body 400")


def test_an_id_is_the_first_header_that_has_one_else_that_of_the_body() -> None:
    headers = {"first": "no id\n", "second": "d-1"}
    assert delivery_id(Inbound(headers, b"{}"), "none", "first", "second") == "d-1"
    without = [delivery_id(Inbound(headers, body), "first") for body in (b"{}", b"{}", b"[]")]
    assert without[0] == without[1] != without[2]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("issues", "opened"), "issues.opened"),
        (("ping", ""), "ping"),
        (("ping", "\u202e"), "ping"),
        ((None, "a b"), "unknown"),
    ],
)
def test_an_event_has_a_name(parts: tuple[str | None, ...], name: str) -> None:
    assert event_name(*parts) == name


def test_a_word_says_why_nothing_is_asked() -> None:
    delivery = understood("here", "d-1", "issues.opened", "no_mention")
    assert (delivery.triggers, delivery.ignored) == ((), "no_mention")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00.5+00:00", 60.5),
        ("1970-01-01 00:01:00 UTC", 60.0),
        ("soon", 0.0),
        (None, 0.0),
        ({}, 0.0),
    ],
)
def test_a_time_is_read_in_any_form(text: object, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["https://a.example/x?y=1", "javascript:alert(1)", "https://a b", "", None])
def test_only_an_address_is_shown(text: str | None) -> None:
    assert address(text) == (text if text and text.startswith("https://a.") else "")


def test_what_was_missed_is_known_by_its_meaning_and_what_would_be_refused_is_left_out() -> None:
    thread, who = Thread("here", "acme/app", "1"), Account("here", "1", "alice")
    wish = Trigger(thread, who, Request(), "here:comment:7", "mention", Origin("comment", "7"))

    def read(told: str) -> Delivery:
        if told == "broken":
            raise Rejected("body", "expected an issue")
        return understood("here", "", "comment.created", wish if told == "asked" else "no_mention")

    [found] = missed(["broken", "said", "asked"], read)
    assert (found.id, found.triggers) == ("missed:here:comment:7", (wish,))
