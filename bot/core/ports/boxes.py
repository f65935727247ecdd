"""Where the agent works: Sandboxes make boxes, a Sandbox is one, a Checkout brings code in and commits out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from bot.core.outbound import Change, Patch
from bot.core.ports.providers import Source
from bot.core.secret import Secret


class BoxSpec(Struct, frozen=True):
    """What a box may use."""

    image: str = "onhand-sandbox"
    cpus: float = 2.0
    memory_mb: int = 4096
    pids: int = 512
    disk_mb: int = 8192
    network: Literal["none", "open"] = "none"
    labels: dict[str, str] = {}


class CommandResult(Struct, frozen=True):
    """What became of one command."""

    output: str
    """Standard output and error as they came, decoded as UTF-8 with replacement; where it was cut, it says how much."""
    exit_code: int | None
    """None when it was ended by a time limit or an interrupt."""
    cwd: str
    seconds: float
    timed_out: bool = False
    interrupted: bool = False


class Sandbox(Protocol):
    """The use of one live box. Paths are absolute paths in the box or relative to /workspace.

    Every method raises SandboxGone when the box is dead and SandboxError when it refuses.
    """

    @property
    def state(self) -> str:
        """The small text from which `Sandboxes.attach` finds this box again. Holds no key."""
        ...

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:  # noqa: ASYNC109
        """Run a command in the kept bash session, which keeps its directory and environment; `timeout` is in seconds and
        ends the command's whole process group.
        """
        ...

    async def interrupt(self) -> None:
        """End the command that is running now, if any; the session stays."""
        ...

    async def start_over(self) -> None:
        """End all that runs in the box, and go on with a session that knows nothing of the one before. Files stay."""
        ...

    async def read(self, path: str, *, limit: int = 64 * 1024 * 1024) -> bytes:
        """Return a file's bytes. Raises SandboxError (missing, a folder, longer than `limit`)."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Write a file whole; folders on the way are made."""
        ...

    @property
    def lays_over(self) -> bool:
        """Whether the box can be laid over a folder of this machine; where it cannot, files come in through `write`."""
        ...

    async def lay_over(self, tree: Path, own: Mapping[str, bytes]) -> bool:
        """Let `tree`, with the files of `own` on top, be what /workspace holds: the box's to change, while `tree` stays.

        To be done before any command; a box whose /workspace has a .git is left as it is. `tree` belongs to user 1000 where the
        worker is root, else to the worker, and stays unchanged while the box lives. Files of `own` that begin with `#!` can be
        executed. False, with nothing done, where it cannot be.
        """
        ...

    async def pause(self) -> None:
        """Stop the box's processes where they are; `resume` lets them go on."""
        ...

    async def resume(self) -> None: ...

    async def remove(self) -> None:
        """End the box and everything in it. Doing it twice is harmless."""
        ...

    async def close(self) -> None:
        """Let go of the connection; the box stays."""
        ...


class Sandboxes(Protocol):
    """The life of boxes. Built as `factory(spec, home, options)`: the limits, a folder of its own, its settings as text."""

    @property
    def name(self) -> str:
        """What the backend is called in the settings."""
        ...

    async def check(self) -> str:
        """Return a line that says what this is (version, isolation). Raises ConfigError when it cannot work here."""
        ...

    async def create(self, labels: Mapping[str, str]) -> Sandbox:
        """Make a box; it has /workspace, an empty folder that the box's user owns. Raises SandboxError."""
        ...

    async def attach(self, state: str) -> Sandbox:
        """Connect to a living box again, from another process too. Raises SandboxGone."""
        ...

    async def remove(self, state: str) -> None:
        """End a box in whatever condition it is, one that was never finished or half removed too. Doing it twice is harmless."""
        ...

    async def list(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        """Return (state, labels) of every box that exists."""
        ...

    async def close(self) -> None:
        """Let go of the engine; boxes stay."""
        ...


class Checkout(Protocol):
    """Working copies into boxes and commits out of them. Built as `factory(folder)`."""

    async def fetch(self, source: Source, token: Secret) -> str:
        """Bring the bare mirror up to date; return the commit that the work starts from. Raises ProviderError, Refused.

        Nobody is asked where `source.commit` says that it is up to date.
        """
        ...

    async def put(
        self, source: Source, commit: str, branch: str, sandbox: Sandbox, author: str, co_author: str
    ) -> None:
        """Lay a working copy with history into /workspace of the box, on `branch`. Author and co-author are `Name <mail>`."""
        ...

    async def take(self, source: Source, base: str, branch: str, sandbox: Sandbox, message: str) -> Change | None:
        """Bring the box's commits into the mirror as data (what is not committed is committed in the box with `message`).
        All that runs in the box is ended before. None when nothing was changed; a change without a commit when all that was
        cannot be taken along (`left_out`). Raises SandboxError, Refused.
        """
        ...

    async def push(self, source: Source, change: Change, branch: str, token: Secret) -> None:
        """Push from the mirror to the repository (to the fork for the source's own head), never by force.

        Pushing what is there already is harmless. Raises ProviderError (`conflict`: the branch has moved on, or the source's own
        head is not at the change's base any more), Refused (`protected`: the forge's rules keep this branch from us).
        """
        ...

    async def rebase(self, source: Source, change: Change, branch: str, token: Secret) -> Change | None:
        """Fetch what stands at the branch now, and put the change's commits on top of it.

        None where that needs a decision between two versions. Raises ProviderError, Refused (`branch`: it is gone).
        """
        ...

    async def patch(self, source: Source, change: Change) -> Patch:
        """Return the change's commits as text. Raises Refused when that is far too long."""
        ...

    async def tidy(self, unused_seconds: float) -> int:
        """Remove mirrors that nobody used for so long, and out of the others what no run needs any more. Return how much.

        Safe beside everything else: a mirror that somebody is using is left for the next time.
        """
        ...
