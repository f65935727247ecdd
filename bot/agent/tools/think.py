"""The tool `think`: write a thought down, change nothing."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from bot.agent.tools.arguments import read, schema
from bot.core.events import Action, Observation, Think, Thought
from bot.core.ports import Sandbox


class ThinkArguments(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model says."""

    thought: Annotated[str, Meta(description="The thought.")]


class ThinkTool:
    """Notes a thought in the log."""

    name = "think"
    description = "Write down a thought, such as a comparison of two ways to go. It runs nothing and changes nothing."
    parameters = schema(ThinkArguments)

    def action(self, arguments: Mapping[str, Any]) -> Action:
        return Think(thought=read(ThinkArguments, arguments).thought)

    async def execute(self, action: Action, sandbox: Sandbox) -> Observation:
        return Thought(content="Noted.")
