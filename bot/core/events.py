"""The log's vocabulary: every kind of event. An event is an Action (somebody decided something) or an Observation (something came
of it, or was noticed). How they are written: `bot/core/wire.py`.
"""

from typing import Any, ClassVar, Literal

from msgspec import Struct

from bot.core.inbound import Image, Repository, Trigger
from bot.core.outbound import Change, Outcome, Receipt

Source = Literal["user", "agent", "environment"]


class Action(Struct, frozen=True, kw_only=True):
    """Something that somebody decided."""

    kind: ClassVar[str]


class Observation(Struct, frozen=True, kw_only=True):
    """Something that came of an action, or that was noticed."""

    kind: ClassVar[str]
    content: str = ""


# --- what the agent does -------------------------------------------------------------------------------------------


class RunCommand(Action, frozen=True, kw_only=True):
    """Run a command in the kept shell session."""

    kind = "run"
    command: str
    thought: str = ""
    is_input: bool = False
    blocking: bool = False
    hidden: bool = False
    confirmation_state: str = "confirmed"
    is_static: bool = False
    cwd: str | None = None
    security_risk: int = -1


class RunCell(Action, frozen=True, kw_only=True):
    """Run code in the kept IPython session."""

    kind = "run_ipython"
    code: str
    thought: str = ""
    include_extra: bool = True
    hidden: bool = False
    confirmation_state: str = "confirmed"
    kernel_init_code: str = ""
    security_risk: int = -1


class ReadFile(Action, frozen=True, kw_only=True):
    """View a file."""

    kind = "read"
    path: str
    start: int = 0
    end: int = -1
    thought: str = ""
    impl_source: str = "default"
    view_range: list[int] | None = None
    security_risk: int = -1


class WriteFile(Action, frozen=True, kw_only=True):
    """Write lines of a file."""

    kind = "write"
    path: str
    content: str
    start: int = 0
    end: int = -1
    thought: str = ""
    security_risk: int = -1


class EditFile(Action, frozen=True, kw_only=True):
    """Create a file or change a part of it."""

    kind = "edit"
    path: str
    command: str = ""
    file_text: str | None = None
    old_str: str | None = None
    new_str: str | None = None
    insert_line: int | None = None
    content: str = ""
    start: int = 1
    end: int = -1
    thought: str = ""
    impl_source: str = "oh_aci"
    security_risk: int = -1


class Browse(Action, frozen=True, kw_only=True):
    """Open a page."""

    kind = "browse"
    url: str
    thought: str = ""
    return_axtree: bool = False
    security_risk: int = -1


class BrowseInteractive(Action, frozen=True, kw_only=True):
    """Act on the open page."""

    kind = "browse_interactive"
    browser_actions: str
    thought: str = ""
    browsergym_send_msg_to_user: str = ""
    return_axtree: bool = False
    security_risk: int = -1


class Message(Action, frozen=True, kw_only=True):
    """Say something."""

    kind = "message"
    content: str
    image_urls: list[str] | None = None
    file_urls: list[str] | None = None
    wait_for_response: bool = False
    security_risk: int = -1


class Think(Action, frozen=True, kw_only=True):
    """Write a thought down."""

    kind = "think"
    thought: str = ""


class Finish(Action, frozen=True, kw_only=True):
    """End the run: the work is done."""

    kind = "finish"
    outputs: dict[str, Any] = {}
    thought: str = ""
    final_thought: str = ""


class Reject(Action, frozen=True, kw_only=True):
    """End the run: the work cannot or should not be done."""

    kind = "reject"
    outputs: dict[str, Any] = {}
    thought: str = ""


class Delegate(Action, frozen=True, kw_only=True):
    """Hand a part to another agent."""

    kind = "delegate"
    agent: str
    inputs: dict[str, Any] = {}
    thought: str = ""


class Recall(Action, frozen=True, kw_only=True):
    """Look something up in what is known of the project."""

    kind = "recall"
    query: str
    thought: str = ""
    recall_type: str = "workspace_context"


class Condensation(Action, frozen=True, kw_only=True):
    """Leave events out of the prompt from now on, a summary in their place."""

    kind = "condensation"
    forgotten_event_ids: list[int] | None = None
    forgotten_events_start_id: int | None = None
    forgotten_events_end_id: int | None = None
    summary: str | None = None
    summary_offset: int | None = None


class TrackTasks(Action, frozen=True, kw_only=True):
    """Write the task list anew, or look at it."""

    kind = "task_tracking"
    command: str = "view"
    task_list: list[dict[str, Any]] = []
    thought: str = ""


class CallMcpTool(Action, frozen=True, kw_only=True):
    """Call a tool of an MCP server."""

    kind = "call_tool_mcp"
    name: str
    arguments: dict[str, Any] = {}
    thought: str = ""
    security_risk: int = -1


class ChangeAgentState(Action, frozen=True, kw_only=True):
    """Ask for another state of the agent: running, paused, stopped."""

    kind = "change_agent_state"
    agent_state: str
    thought: str = ""


class Asked(Action, frozen=True, kw_only=True):
    """Somebody asked for work. Written in the same transaction as the delivery."""

    kind = "asked"
    trigger: Trigger


# --- what comes of it ----------------------------------------------------------------------------------------------


class CommandOutput(Observation, frozen=True, kw_only=True):
    """What a command printed and how it ended. `exit_code` is None when it was ended before it was done."""

    kind = "run"
    command: str = ""
    exit_code: int | None = None
    cwd: str = ""
    timed_out: bool = False


class FileContent(Observation, frozen=True, kw_only=True):
    """A view of a file or folder."""

    kind = "read"
    path: str = ""


class FileEdited(Observation, frozen=True, kw_only=True):
    """A file was created or changed."""

    kind = "edit"
    path: str = ""
    prev_exist: bool = True


class Thought(Observation, frozen=True, kw_only=True):
    """A thought was noted."""

    kind = "think"


class TasksTracked(Observation, frozen=True, kw_only=True):
    """The task list as it now stands."""

    kind = "task_tracking"
    task_list: list[dict[str, Any]] = []


class ToolResult(Observation, frozen=True, kw_only=True):
    """What an MCP tool gave back."""

    kind = "mcp"
    name: str = ""


class Problem(Observation, frozen=True, kw_only=True):
    """An action could not be carried out. `error_id` is a machine word."""

    kind = "error"
    error_id: str = ""


class Notice(Observation, frozen=True, kw_only=True):
    """Something that onhand tells the model: a limit is near, a person wrote."""

    kind = "notice"
    reason: str = ""


# --- what onhand itself notes ----------------------------------------------------------------------------------------


class ModelReply(Observation, frozen=True, kw_only=True):
    """One paid answer of the model: the text in `content`, the tool calls as they came, and what it cost."""

    kind = "model_reply"
    calls: list[dict[str, str]] = []
    """`{"id", "name", "arguments"}`; the arguments are the model's own text, valid JSON or not."""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    cut: bool = False
    """Whether it ends where the server's limit on the length of answers was reached."""


class Admitted(Observation, frozen=True, kw_only=True):
    """The person behind request `request` (a seq) was found to have the right. `token` names its class, never its value."""

    kind = "admitted"
    request: int
    user: str = ""
    token: str = ""
    name: str = ""
    """What people call the person, where the login is no name."""


class Waiting(Observation, frozen=True, kw_only=True):
    """Request `request` waits until the person has connected an account, or without one has said which repository is meant."""

    kind = "waiting"
    request: int
    account: str = ""


class Background(Observation, frozen=True, kw_only=True):
    """What was said in the thread before request `request`, wrapped as untrusted, up to the Unix time `newest`."""

    kind = "background"
    request: int
    newest: float = 0.0
    images: list[Image] = []
    """Those among it, oldest first. Their bytes are in no event: each run fetches what it shows."""


class Located(Observation, frozen=True, kw_only=True):
    """The conversation is about this repository from now on."""

    kind = "located"
    repository: Repository


class Calling(Observation, frozen=True, kw_only=True):
    """A call that must not be made twice is about to be made."""

    kind = "calling"
    topic: str


class Called(Observation, frozen=True, kw_only=True):
    """The call was made; this is its receipt."""

    kind = "called"
    topic: str
    receipt: Receipt


class RunStarted(Observation, frozen=True, kw_only=True):
    """A holder of the lease begins or goes on with a run. Writes of an earlier holder fail from here on."""

    kind = "run_started"
    run: str
    holder: str
    requests: list[int] = []
    resumed: bool = False


class Boxed(Observation, frozen=True, kw_only=True):
    """The run's sandbox, as the small state from which it is attached again."""

    kind = "boxed"
    sandbox: str
    state: str
    base: str = ""
    """The commit that was put into it."""
    branch: str = ""
    at_head: bool = False
    """Whether that commit is the head of an open change."""


class RunEnded(Observation, frozen=True, kw_only=True):
    """The agent is done; what remains is to report it."""

    kind = "run_ended"
    run: str
    outcome: Outcome


class Landed(Observation, frozen=True, kw_only=True):
    """The run's commits are pushed to `branch`, or without one in a patch: from here on the box is not needed."""

    kind = "landed"
    run: str
    change: Change
    branch: str = ""
    why: str = ""
    """Why they are not where they were meant to be."""


class Closed(Observation, frozen=True, kw_only=True):
    """These requests (seqs) have had their ending where they were asked."""

    kind = "closed"
    requests: list[int]
    ending: str = ""


class Unknown(Struct, frozen=True, kw_only=True):
    """An event of a kind that this version does not know; kept whole."""

    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """The kind as it was stored."""
        return str(self.body.get("action") or self.body.get("observation") or "")


Fact = Action | Observation | Unknown
"""What an event says, without where and when."""


class Draft(Struct, frozen=True):
    """An event before the log has given it a place. `call_id` is the model's id of the tool call that it belongs to."""

    fact: Fact
    source: Source = "environment"
    cause: int | None = None
    call_id: str = ""


class Event(Struct, frozen=True):
    """One fact in a conversation's log. `seq` counts from 1; `at` is in Unix seconds."""

    seq: int
    at: float
    source: Source
    fact: Fact
    cause: int | None = None
    call_id: str = ""
