"""What `check_integration` says of a provider that breaks the contract."""

import msgspec

from bot.core.inbound import Account, Delivery, Inbound, Origin, Thread, Trigger, Verified
from bot.core.mentions import Request
from bot.testing.integrations import Payload, RecordingClient, check_integration

WISH = Payload("message__mention", "message", b"{}")


class Flawed(RecordingClient):
    """It is a forge in part alone, does not survive odd headers, and takes each delivery for a wish of its own."""

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        return {"X-Memory": delivery_id}

    def verify(self, inbound: Inbound, now: float) -> Verified:
        inbound.headers["x-memory"].encode()
        return Verified(inbound.headers, inbound.body)

    def parse(self, verified: Verified) -> Delivery:
        where, who = Thread("memory", "acme/app", "1"), Account("memori", "1", "alice")
        wish = Trigger(where, who, Request(), verified.headers["x-memory"], "mention", Origin("message", "1"))
        return Delivery("memory", verified.headers["x-memory"], "message", (wish,))


def test_each_flaw_has_a_sentence() -> None:
    found = check_integration(Flawed(), [WISH], [("message", ""), ("message", "edited")], [])
    for sentence in (
        "message__mention: a changed body got through",
        "message__mention: no headers raised KeyError: 'x-memory'",
        "message__mention: headers that are no ASCII raised UnicodeEncodeError",
        "no payload shows a trigger for message.edited; `Delivery.event` of those that ask for something is message",
        "message__mention: every `service` should be 'memory', found ['memori', 'memory']",
        "message__mention: `meaning` changes with the id of the delivery",
    ):
        assert any(problem.startswith(sentence) for problem in found), (sentence, found)


def test_a_part_of_the_port_that_is_missing_is_named(monkeypatch) -> None:
    monkeypatch.delattr(RecordingClient, "rivals")
    monkeypatch.delattr(RecordingClient, "find")
    assert check_integration(RecordingClient(), [], [], []) == [
        "find of the port is missing",
        "rivals of the port is missing",
    ]


def test_the_provider_in_memory_is_whole() -> None:
    body = msgspec.json.encode(Flawed().parse(Verified({"x-memory": "d"}, b"")))
    found = check_integration(RecordingClient(), [Payload("message__mention", "message", body)], [], [])
    assert [problem for problem in found if "through" not in problem and "service" not in problem] == []
