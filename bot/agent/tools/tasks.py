"""The tool `task_list`: the plan of the work, which people see while it goes on."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from bot.agent.tools.arguments import read, schema
from bot.core.events import Action, Observation, TasksTracked, TrackTasks
from bot.core.ports import Sandbox

_MARKS = {"todo": "[ ]", "in_progress": "[>]", "done": "[x]"}


class TaskItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the list."""

    title: Annotated[str, Meta(description="A few words, as a person would write them on a list.", min_length=1)]
    status: Literal["todo", "in_progress", "done"] = "todo"


class TaskArguments(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model says."""

    command: Annotated[Literal["plan"], Meta(description="`plan` writes the list anew.")] = "plan"
    task_list: Annotated[list[TaskItem], Meta(description="The whole list, with what is done already.", max_length=50)]


class Tasks:
    """Writes the list anew. Looking at it needs no call: it stands in the answer to the last one."""

    name = "task_list"
    description = (
        "Write the list of steps for work that takes several. People watch it: call it again when a step begins or is "
        "done. Each call replaces the whole list. Leave it out for small work."
    )
    parameters = schema(TaskArguments)

    def action(self, arguments: Mapping[str, Any]) -> Action:
        said = read(TaskArguments, arguments)
        return TrackTasks(command=said.command, task_list=[msgspec.to_builtins(item) for item in said.task_list])

    async def execute(self, action: Action, sandbox: Sandbox) -> Observation:
        if not isinstance(action, TrackTasks):
            raise TypeError(f"task_list carries out TrackTasks, not {type(action).__name__}")
        lines = [f"{_MARKS.get(str(t.get('status')), '[ ]')} {t.get('title', '')}" for t in action.task_list]
        return TasksTracked(content="\n".join(lines) or "The list is empty.", task_list=action.task_list)
