"""The tool `finish`: end the run, with the work done or with the reason why it cannot be."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from bot.agent.tools.arguments import read, schema
from bot.core.errors import UserError
from bot.core.events import Action, Finish, Notice, Observation, Reject
from bot.core.ports import Sandbox


class FinishArguments(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model says."""

    summary: Annotated[
        str,
        Meta(
            description="For the people who asked: what was changed and why, how it was checked, what is left open; or "
            "the answer to their question. Markdown. It becomes the pull request's description."
        ),
    ]
    title: Annotated[
        str, Meta(description="For a change: a pull request's title, imperative, under 72 characters.", max_length=300)
    ] = ""
    reject: Annotated[
        bool,
        Meta(
            description="True when the work cannot or should not be done; `summary` then says why and what would help."
        ),
    ] = False


class FinishTool:
    """Ends the run; the loop makes the outcome from `outputs`."""

    name = "finish"
    description = (
        "End the run. Call it once, alone, when the work is done and checked, when the question is answered, or with "
        "`reject` when it cannot be done. Changes in /workspace are committed, pushed and proposed afterwards."
    )
    parameters = schema(FinishArguments)

    def action(self, arguments: Mapping[str, Any]) -> Action:
        said = read(FinishArguments, arguments)
        if not said.summary.strip():
            raise UserError("arguments", "`summary` is empty. Expected: what was done, or why it was not.")
        outputs = {"title": " ".join(said.title.split()), "summary": said.summary.strip()}
        return Reject(outputs=outputs) if said.reject else Finish(outputs=outputs)

    async def execute(self, action: Action, sandbox: Sandbox) -> Observation:
        return Notice(reason="end", content="The run ends here.")
