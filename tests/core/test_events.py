"""The wire shape: it must keep decoding what was ever stored."""

import json
from pathlib import Path
from typing import Any

import pytest

from bot.core.events import (
    Asked,
    Called,
    CommandOutput,
    Event,
    RunCommand,
    Unknown,
)
from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.outbound import Receipt
from bot.core.wire import ACTIONS, OBSERVATIONS, decode, encode, to_wire

GOLDEN = json.loads((Path(__file__).parent / "wire" / "actions.json").read_text())

C1 = [
    "run",
    "run_ipython",
    "read",
    "write",
    "edit",
    "browse",
    "browse_interactive",
    "message",
    "think",
    "finish",
    "reject",
    "delegate",
    "recall",
    "condensation",
    "task_tracking",
    "call_tool_mcp",
    "change_agent_state",
]


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_a_golden_shape_decodes_and_encodes(case: dict[str, Any]) -> None:
    assert encode(decode(case["stored"])) == case.get("canonical", case["stored"])


def test_every_action_of_the_vocabulary_is_known() -> None:
    assert set(C1) <= ACTIONS.keys()


@pytest.mark.parametrize("kind", sorted(OBSERVATIONS))
def test_an_observation_with_strange_fields_still_decodes(kind: str) -> None:
    body = {"observation": kind, "content": "text", "extras": {"new_field": 1}}
    assert encode(decode(body))["observation"] == kind


@pytest.mark.parametrize(
    "body",
    [
        {"action": "levitate", "args": {"height": 3}},
        {"action": "run", "args": {"command": {"not": "text"}}},
        {"observation": "moonshine", "content": "x", "extras": {}},
        {},
        {"action": 7, "args": []},
    ],
)
def test_what_is_not_known_is_kept_whole(body: dict[str, Any]) -> None:
    fact = decode(body)
    assert isinstance(fact, Unknown)
    assert encode(fact) == body


def test_a_trigger_survives_the_way_through_the_log() -> None:
    trigger = Trigger(
        Thread("github", "o/r", "1"), Account("github", "7", "alice"), Request("work", "fix", {"model": "x"}),
        "github:comment:1", "mention", Origin("comment", "1"),
    )  # fmt: skip
    assert decode(encode(Asked(trigger=trigger))) == Asked(trigger=trigger)


def test_the_envelope_says_who_when_and_why() -> None:
    action = to_wire(Event(4, 0.0, "agent", RunCommand(command="ls"), call_id="c1"))
    assert (action["id"], action["timestamp"], action["source"]) == (4, "1970-01-01T00:00:00Z", "agent")
    assert (action["action"], action["args"]["command"], action["tool_call_id"]) == ("run", "ls", "c1")
    observation = to_wire(Event(5, 1.5, "environment", CommandOutput(content="a", exit_code=0), cause=4))
    assert (observation["cause"], observation["observation"], observation["content"]) == (4, "run", "a")
    assert observation["extras"]["exit_code"] == 0


def test_a_receipt_survives() -> None:
    fact = Called(topic="status:1", receipt=Receipt("9", "http://x/9"))
    assert decode(encode(fact)) == fact
