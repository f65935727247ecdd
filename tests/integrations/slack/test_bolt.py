"""Slack's own framework as a peer: what it takes as signed we take, and what it refuses we refuse."""

import time
from pathlib import Path

import pytest
from slack_bolt import App, BoltRequest

from bot.core.errors import Rejected
from bot.core.inbound import Inbound
from bot.core.ports import Us
from bot.core.secret import Secret
from integrations.slack.client import Slack

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("app_mention*.json"))


@pytest.fixture(scope="module")
def bolt() -> App:
    app = App(
        signing_secret=SECRET, token_verification_enabled=False, authorize=lambda: None, process_before_response=True
    )
    app.use(lambda next, ack: ack("taken"))  # noqa: A006  # bolt finds its arguments by name
    return app


def takes(bolt: App, inbound: Inbound) -> bool:
    """Whether bolt takes the request as Slack's."""
    answer = bolt.dispatch(
        BoltRequest(body=inbound.body.decode(), headers={k: [v] for k, v in inbound.headers.items()})
    )
    return answer.status != 401


def we_take(inbound: Inbound, now: float) -> bool:
    try:
        Slack(Slack.Settings(signing_secret=Secret(SECRET)), Us()).verify(inbound, now)
    except Rejected as rejected:
        return rejected.status != 401
    return True


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("change", "good"),
    [
        ("nothing", True),
        ("body", False),
        ("signature", False),
        ("timestamp", False),
        ("old", False),
        ("unsigned", False),
    ],
)
def test_both_say_the_same(bolt: App, payload: Path, change: str, good: bool) -> None:
    body, now = payload.read_bytes(), time.time()
    slack = Slack(Slack.Settings(signing_secret=Secret(SECRET)), Us())
    headers = slack.sign(body, "app_mention", "Ev1", now - 1000 if change == "old" else now)
    if change == "signature":
        headers["x-slack-signature"] = headers["x-slack-signature"][:-1] + (
            "0" if headers["x-slack-signature"][-1] != "0" else "1"
        )
    if change == "timestamp":
        headers["x-slack-request-timestamp"] = str(int(now) - 1)
    if change == "unsigned":
        del headers["x-slack-signature"]
    inbound = Inbound(headers, body + b" " if change == "body" else body)
    assert (takes(bolt, inbound), we_take(inbound, now)) == (good, good)
