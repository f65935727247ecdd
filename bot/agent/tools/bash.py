"""The tool `bash`: a command in the box's kept shell session."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from bot.agent.tools.arguments import read, schema
from bot.core.errors import UserError
from bot.core.events import Action, CommandOutput, Observation, RunCommand
from bot.core.ports import Sandbox


class BashArguments(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model says."""

    command: Annotated[str, Meta(description="The command line, or several lines of bash.")]
    timeout: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Seconds after which the command is ended; 120 when left out. There is an upper limit."),
    ] = None
    stdin: Annotated[str, Meta(description="Text for the command's standard input; empty when left out.")] = ""


class TimedCommand(RunCommand, frozen=True, kw_only=True):
    """A command with its time limit in seconds and its input. Read back from a log, it is a plain RunCommand."""

    timeout: float = 120.0
    stdin: str = ""


class Bash:
    """Runs commands. Their time limit is cut to the run's by the box that the loop hands over."""

    name = "bash"
    description = (
        "Run a command in a bash session that keeps its directory and environment between calls. Output holds standard "
        "output and error together; long output is cut in the middle. There is no terminal: pass -y or the like "
        "instead of waiting for questions, and start what must keep running in the background, its output in a file."
    )
    parameters = schema(BashArguments)

    def action(self, arguments: Mapping[str, Any]) -> Action:
        said = read(BashArguments, arguments)
        if not said.command.strip():
            raise UserError("arguments", "`command` is empty. Expected: a command line for bash.")
        return TimedCommand(command=said.command, timeout=said.timeout or 120.0, stdin=said.stdin)

    async def execute(self, action: Action, sandbox: Sandbox) -> Observation:
        match action:
            case TimedCommand(command=command, timeout=timeout, stdin=stdin):
                result = await sandbox.run(command, timeout=timeout, stdin=stdin)
            case RunCommand(command=command):
                result = await sandbox.run(command)
            case _:
                raise TypeError(f"bash carries out RunCommand, not {type(action).__name__}")
        return CommandOutput(
            content=result.output.replace("\0", "\N{REPLACEMENT CHARACTER}"),
            command=command,
            exit_code=result.exit_code,
            cwd=result.cwd,
            timed_out=result.timed_out,
        )
