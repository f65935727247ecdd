"""What the model says in the storm. It keeps no memory: each answer follows from the prompt alone, whoever asks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.journeys.steps import bash, finish

STEPS = 3
"""Commands in a piece of work, before it is finished."""


def answer(body: Mapping[str, Any]) -> dict[str, Any]:
    """Work with a few commands since the last `finish`, then finish under a title that no other answer has."""
    said = [message for message in body["messages"] if message["role"] == "assistant"]
    since = next((n for n, message in enumerate(reversed(said)) if _finishes(message)), len(said))
    if since < STEPS:
        return bash(f"echo {len(said)} >> work.txt; sleep {0.2 + 0.3 * (len(said) % 4)}")
    return finish("The lines are written.", f"Write lines up to {len(said)}")


def _finishes(message: Mapping[str, Any]) -> bool:
    calls: Sequence[Any] = message.get("tool_calls") or []
    return any(call["function"]["name"] == "finish" for call in calls) or "finish" in json.dumps(message.get("content"))
