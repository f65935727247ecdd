"""What goes out: how a conversation stands, and the calls that show it at a provider."""

from typing import Literal

from msgspec import Struct

from bot.core.inbound import Origin, Repository, Thread

Ending = Literal["finished", "refused", "stopped", "limit", "failed"]


class Task(Struct, frozen=True):
    """One line of the agent's task list."""

    title: str
    status: Literal["todo", "in_progress", "done"] = "todo"


class Outcome(Struct, frozen=True):
    """How a run ended. Every request gets exactly one."""

    ending: Ending
    reason: str = ""
    """A machine word: `stop_requested`, `steps`, `model`, `sandbox`, ..."""
    text: str = ""
    """What to tell the person: what was done, or why not and what to do next."""
    title: str = ""
    """A title for the change, if the agent gave one."""


class Status(Struct, frozen=True):
    """What the status message of a request shows at this moment."""

    state: Literal["queued", "running", "asking", "ended"]
    run_id: str = ""
    tasks: tuple[Task, ...] = ()
    step: str = ""
    """The last thing the agent did, in a few words."""
    steps: int = 0
    cost_usd: float = 0.0
    outcome: Outcome | None = None
    change_url: str = ""
    """The pull or merge request, once there is one."""
    details_url: str = ""
    message_url: str = ""
    """Address of the status message itself, once it stands."""
    commits: tuple[str, ...] = ()
    """Where the change that is worked on stood, oldest first: there a forge can show how it stands as well."""
    quiet_minutes: int = 0
    """For how long nothing new has happened; it grows in steps, so that people see now and then that the work goes on."""
    ahead: int | None = None
    """While it is queued: how many conversations wait for a run before this one. None where it waits for nothing that we know."""
    question: str = ""
    """What we have to know before we can begin; the request waits for the answer."""
    choices: tuple[str, ...] = ()
    """Answers that may be meant: repositories as `github:owner/name`."""
    unseen: str = ""
    """Which of the images in the thread were not looked at, and why, in sentences."""
    patch: str = ""
    """The commits as git format-patch(1) writes them, when there was no branch that they could be pushed to."""
    patch_flaw: str = ""
    """Why git-am(1) does not make the work of that patch, in a sentence; "" where it does."""


class Change(Struct, frozen=True):
    """The commits that a run made, as the worker took them out of the box."""

    commit: str
    base: str
    """The commit they start from."""
    files: tuple[tuple[str, int, int], ...] = ()
    """Path, lines added, lines removed; of the whole change."""
    subjects: tuple[str, ...] = ()
    """First lines of the commit messages, oldest first."""
    lfs: tuple[str, ...] = ()
    """Which of the files the repository keeps in Git LFS; of those only pointers are fetched."""
    left_out: tuple[str, ...] = ()
    """What stayed in the box: git could not store it, or it is a repository of its own, a stash or another branch. The
    first of many."""


class Patch(Struct, frozen=True):
    """A change's commits as git format-patch(1) writes them, in characters that every platform shows as they are."""

    readable: str
    """With every file as text: to be read, and to be searched for secrets. What could not be shown is left out."""
    exact: str = ""
    """With some files encoded, so that git-am(1) makes the very same tree of it, or it is longer than is shown. "" if none does."""


class Receipt(Struct, frozen=True):
    """What a provider gave back for a call: the id by which it is edited and found again, and its address."""

    id: str
    url: str = ""


class Call(Struct, frozen=True, kw_only=True, tag=True):
    """One thing to do at the provider. `topic` is its idempotency key inside the conversation."""

    topic: str
    thread: Thread


class React(Call, frozen=True, kw_only=True):
    """Put a reaction on the message that asked."""

    origin: Origin
    emoji: str = "eyes"


class Say(Call, frozen=True, kw_only=True):
    """Make sure that the message of this topic stands in the thread and reads so: create it or edit it."""

    text: str
    beneath: str = ""
    """The provider's id of the message to answer, where threads have threads."""


class SetCheck(Call, frozen=True, kw_only=True):
    """Make sure that a check on this commit, a head of a change in the thread's place, shows how a run stands."""

    commit: str
    title: str
    text: str
    ending: Ending | None = None
    """None while the run is going on."""
    details_url: str = ""


class OpenChange(Call, frozen=True, kw_only=True):
    """Make sure that a pull or merge request from `head` to `base` exists."""

    repository: Repository
    head: str
    base: str
    title: str
    body: str
    draft: bool = False
    commit: str = ""
    """Where `head` stands, as far as this is known."""
