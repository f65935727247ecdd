"""What a model says, made into events: pure. A model may say anything; what comes out of here is bounded."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bot.core.errors import UserError
from bot.core.events import Action, Draft, ModelReply, Problem
from bot.core.ports import Reply, Tool, ToolCall

_LONGEST_TEXT = 100_000
_LONGEST_ARGUMENTS = 2_000_000
_LONGEST_ID = 32_000
"""In a call's id, LiteLLM carries Gemini's signature of a thought, which has some thousand characters."""
_MOST_CALLS = 32


@dataclass(frozen=True)
class Step:
    """A tool call understood: the action to carry out, or the Problem that answers it."""

    call_id: str
    fact: Action | Problem
    tool: Tool | None = None

    @property
    def draft(self) -> Draft:
        """The event that stands for it."""
        return Draft(self.fact, "agent" if isinstance(self.fact, Action) else "environment", call_id=self.call_id)


def tidy(reply: Reply, taken: Container[str]) -> ModelReply:
    """Return the reply as an event: cut where it is endless, every call with an id that is not `taken` in this log."""
    calls: list[dict[str, str]] = []
    used: set[str] = set()
    for call in reply.calls[:_MOST_CALLS]:
        call_id = _unique(call.id, taken, used)
        used.add(call_id)
        calls.append({"id": call_id, "name": call.name[:200], "arguments": call.arguments[:_LONGEST_ARGUMENTS]})
    text = reply.text
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}\n[{len(text) - _LONGEST_TEXT} more characters were cut]"
    if len(reply.calls) > _MOST_CALLS:
        text += f"\n[{len(reply.calls) - _MOST_CALLS} more calls were cut, and not carried out]"
    return ModelReply(
        content=text.strip(),
        calls=calls,
        model=reply.model,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        cached_tokens=reply.cached_tokens,
        cost_usd=reply.cost_usd,
        seconds=reply.seconds,
        cut=reply.cut,
    )


def calls_of(reply: ModelReply) -> list[ToolCall]:
    """Return the calls of a stored reply."""
    return [ToolCall(c.get("id", ""), c.get("name", ""), c.get("arguments", "")) for c in reply.calls]


def understand(call: ToolCall, tools: Mapping[str, Tool]) -> Step:
    """Read a call with the tool that it names."""
    if (tool := tools.get(call.name)) is None:
        text = f"There is no tool {call.name!r}. Expected one of: {', '.join(sorted(tools))}."
        return Step(call.id, Problem(error_id="unknown_tool", content=text))
    try:
        return Step(call.id, tool.action(arguments(call.arguments)), tool)
    except UserError as error:
        return Step(call.id, Problem(error_id=error.word, content=error.text))


def arguments(text: str) -> dict[str, Any]:
    """Return the object that a call's arguments are. Raises UserError("arguments")."""
    try:
        found = msgspec.json.decode(text) if text.strip() else {}
        has_nul = "\\u0000" in text and _has_nul(found)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise UserError(
            "arguments", f"The arguments are not valid JSON ({error}). Expected: one JSON object."
        ) from error
    if not isinstance(found, dict):
        raise UserError("arguments", f"The arguments are a JSON {type(found).__name__}. Expected: one JSON object.")
    if has_nul:
        raise UserError("arguments", "The arguments hold a NUL character, which neither commands nor texts may have.")
    return found


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(v) for pair in value.items() for v in pair)
        case list():
            return any(map(_has_nul, value))
    return False


def _unique(call_id: str, taken: Container[str], used: Container[str]) -> str:
    wanted = candidate = call_id if 0 < len(call_id) <= _LONGEST_ID else "call"
    number = 1
    while candidate in taken or candidate in used:
        number += 1
        candidate = f"{wanted}_{number}"
    return candidate
