"""Events in the wire shape, in which the log keeps them and clients see them. Pure.

    {"id", "timestamp", "source", "action": kind, "args": {...}}
    {"id", "timestamp", "source", "cause", "observation": kind, "content": text, "extras": {...}}

Decoding is forgiving for ever: unknown fields are dropped, older shapes are upgraded, an unknown kind is kept as `Unknown`.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import structs

from bot.core.events import Action, Event, Fact, Observation, Unknown

ACTIONS: dict[str, type[Action]] = {child.kind: child for child in Action.__subclasses__()}
OBSERVATIONS: dict[str, type[Observation]] = {child.kind: child for child in Observation.__subclasses__()}


def encode(fact: Fact) -> dict[str, Any]:
    """Return the wire shape of a fact, without the envelope. Structs that stand in it are left to the encoder of the whole."""
    if isinstance(fact, Unknown):
        return fact.body
    fields = structs.asdict(fact)
    if isinstance(fact, Action):
        return {"action": fact.kind, "args": fields}
    return {"observation": fact.kind, "content": fields.pop("content"), "extras": fields}


def decode(body: dict[str, Any]) -> Fact:
    """Return the fact in a wire shape of today or of earlier. Whatever does not fit becomes `Unknown`; nothing is raised."""
    try:
        if kind := body.get("action"):
            return msgspec.convert(_upgraded(body.get("args") or {}), ACTIONS[kind], strict=False)
        fields = {**(body.get("extras") or {}), "content": body.get("content") or ""}
        return msgspec.convert(fields, OBSERVATIONS[body["observation"]], strict=False)
    except (KeyError, TypeError, AttributeError, msgspec.ValidationError):
        return Unknown(body=body)


def _upgraded(args: dict[str, Any]) -> dict[str, Any]:
    if isinstance(thought := args.get("thought"), dict):
        args = {**args, "thought": str(thought.get("text") or thought.get("thought") or "")}
    if "images_urls" in args:
        args = {"image_urls": args["images_urls"], **args}
    return args


def to_wire(event: Event) -> dict[str, Any]:
    """Return an event as clients see it."""
    when = datetime.fromtimestamp(event.at, UTC).isoformat().replace("+00:00", "Z")
    envelope: dict[str, Any] = {"id": event.seq, "timestamp": when, "source": event.source}
    if event.cause is not None:
        envelope["cause"] = event.cause
    if event.call_id:
        envelope["tool_call_id"] = event.call_id
    return envelope | encode(event.fact)
