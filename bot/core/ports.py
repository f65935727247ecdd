"""The ports: what the stories need of the rooms, and what a stranger's package implements.

Add a provider: Integration (and Forge, if code lives there). Add a sandbox: Sandboxes and Sandbox.
Each is found by an entry point and built with one call, `factory(...)`, as its docstring says.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from msgspec import Struct

from bot.core.conversation import State
from bot.core.events import Action, Draft, Event, Observation
from bot.core.inbound import Account, Delivery, Inbound, Repository, Thread, Verified
from bot.core.outbound import Call, Change, Receipt, Status
from bot.core.secret import Secret

# --- providers -----------------------------------------------------------------------------------------------------


class Us(Struct, frozen=True):
    """How people call onhand, the same on every platform."""

    handle: str = "@onhand"
    label: str = "onhand"
    public_url: str = ""


class Integration(Protocol):
    """One platform on which people ask. Built as `factory(settings, us)`; `settings` is an instance of `factory.Settings`.

    `verify`, `parse` and `render` are pure and quick: they run in the web process.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Struct]]

    def secrets(self) -> Sequence[Secret]:
        """Every secret value in the settings, so that it can be masked."""
        ...

    @property
    def token(self) -> Secret | None:
        """The token that the settings give the bot, if any."""
        ...

    @property
    def receives(self) -> bool:
        """Whether a webhook secret is configured; without one there is no endpoint."""
        ...

    def verify(self, inbound: Inbound, now: float) -> Verified:
        """Check the signature over the raw bytes. Raises Rejected (401)."""
        ...

    def parse(self, verified: Verified) -> Delivery:
        """Understand a delivery. Raises Rejected (400) for what cannot be read."""
        ...

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        """Return the headers under which the platform itself would send this body (for `onhand replay`)."""
        ...

    def render(self, thread: Thread, status: Status, topic: str, beneath: str = "") -> list[Call]:
        """Return the calls that show a status in the platform's own form, under this topic."""
        ...

    def propose(self, proposal: "Proposal") -> list[Call]:
        """Return the calls that offer a pushed branch as a pull or merge request here."""
        ...

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        """Do a call; with `receipt`, renew what an earlier one made. Raises ProviderError."""
        ...

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        """Look for what an earlier try of this call made, by the mark that it left. Raises ProviderError."""
        ...

    async def may_write(self, repository: Repository, account: Account, token: Secret) -> bool:
        """Whether both the account and the token's owner may write there. Raises ProviderError."""
        ...

    async def identify(self, token: Secret) -> Account:
        """Return the account that the token belongs to. Raises ProviderError."""
        ...

    async def account(self, login: str, token: Secret) -> Account:
        """Return the account of this login. Raises ProviderError (`missing`)."""
        ...


class Source(Struct, frozen=True):
    """Code that can be cloned, and where work on it goes."""

    repository: Repository
    url: str
    """Address for git over HTTP, without credentials."""
    base: str
    """The branch that a change would be merged into."""
    head: str = ""
    """The existing branch to push to, when asked inside a change."""
    pushable: bool = True
    template: str = ""
    """The repository's own template for a change's description."""


@runtime_checkable
class Forge(Integration, Protocol):
    """An Integration where code lives as well: it can receive pushes and changes."""

    async def source(self, repository: Repository, number: str, token: Secret) -> Source:
        """Describe the repository, and the change `number` in it ("" where the thread is none). Raises ProviderError, Refused."""
        ...

    def author(self, account: Account) -> str:
        """Return `Name <mail>` under which this forge shows commits as the account's."""
        ...


class Proposal(Struct, frozen=True):
    """A pushed branch on its way to become a pull or merge request."""

    topic: str
    thread: Thread
    source: Source
    branch: str
    change: Change
    title: str
    summary: str
    requested_by: str
    request_url: str
    run_id: str
    draft: bool = False


# --- sandboxes -----------------------------------------------------------------------------------------------------


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

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:
        """Run a command in the kept bash session, which keeps its directory and environment; `timeout` is in seconds and
        ends the command's whole process group.
        """
        ...

    async def interrupt(self) -> None:
        """End the command that is running now, if any; the session stays."""
        ...

    async def read(self, path: str, *, limit: int = 64 * 1024 * 1024) -> bytes:
        """Return a file's bytes. Raises SandboxError (missing, a folder, longer than `limit`)."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Write a file whole; folders on the way are made."""
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

    name: ClassVar[str]

    async def check(self) -> str:
        """Return a line that says what this is (version, isolation). Raises ConfigError when it cannot work here."""
        ...

    async def create(self, labels: Mapping[str, str]) -> Sandbox:
        """Make a box; it has /workspace, an empty folder that the box's user owns. Raises SandboxError."""
        ...

    async def attach(self, state: str) -> Sandbox:
        """Connect to a living box again, from another process too. Raises SandboxGone."""
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
        """Bring the bare mirror up to date; return the commit that the work starts from. Raises ProviderError, Refused."""
        ...

    async def put(
        self, source: Source, commit: str, branch: str, sandbox: Sandbox, author: str, co_author: str
    ) -> None:
        """Lay a working copy with history into /workspace of the box, on `branch`. Author and co-author are `Name <mail>`."""
        ...

    async def take(self, source: Source, base: str, branch: str, sandbox: Sandbox, message: str) -> Change | None:
        """Bring the box's commits into the mirror as data (what is not committed is committed in the box with `message`).
        None when nothing was changed. Raises SandboxError, Refused.
        """
        ...

    async def push(self, source: Source, change: Change, branch: str, token: Secret) -> None:
        """Push from the mirror, never by force; pushing what is there already is harmless. Raises ProviderError, Refused."""
        ...


# --- the agent -----------------------------------------------------------------------------------------------------


class ToolCall(Struct, frozen=True):
    """A tool call as the model wrote it; `arguments` is its own text."""

    id: str
    name: str
    arguments: str


class Reply(Struct, frozen=True):
    """One answer of a model."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0


class Model(Protocol):
    """A language model. Messages and tools are in the shape of the chat completions API."""

    name: str

    async def complete(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Reply:
        """Return one answer. Raises ModelError, ContextTooLong."""
        ...


class RunLog(Protocol):
    """The log of one conversation in the hands of a run."""

    events: list[Event]
    state: State

    async def append(self, *drafts: Draft) -> list[Event]:
        """Add events at the end, those of other people that came meanwhile taken in first. Raises LeaseLost."""
        ...

    async def refresh(self) -> list[Event]:
        """Take in and return what others have added."""
        ...


class Tool(Protocol):
    """Something the agent can do. Built as `factory()`; found by entry point."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""

    def action(self, arguments: Mapping[str, Any]) -> Action:
        """Turn arguments into an action. Raises UserError saying what was expected."""
        ...

    async def execute(self, action: Action, sandbox: Sandbox) -> Observation:
        """Carry it out. Raises SandboxError."""
        ...


# --- memory --------------------------------------------------------------------------------------------------------


class EventLog(Protocol):
    """The append-only log of every conversation."""

    async def append(self, conversation_id: str, drafts: Sequence[Draft], *, expected: int) -> list[Event]:
        """Add events after seq `expected`, all or none. Raises Conflict if that is not the last one."""
        ...

    async def read(self, conversation_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Return the events with a seq above `after`, in order."""
        ...


class Record(Struct, frozen=True):
    """A conversation as lists show it. Times are Unix seconds."""

    id: str
    thread: str
    title: str
    status: str
    """queued, running, waiting, or the last ending."""
    created_at: float
    updated_at: float
    last_seq: int


class Conversations(Protocol):
    """The shelf of conversations."""

    async def get(self, conversation_id: str) -> Record | None: ...

    async def list(self, limit: int = 50, before: float | None = None) -> list[Record]:
        """Return the most recently changed first; `before` is an `updated_at` to go on from."""
        ...


class Accepted(Struct, frozen=True):
    """What became of a delivery. `fresh` are the seqs of new requests by conversation; `known` conversations had it before."""

    fresh: tuple[tuple[str, int], ...] = ()
    known: tuple[str, ...] = ()
    unfinished: bool = False
    """A delivery seen before whose doorbell may never have been rung."""


class Inbox(Protocol):
    """Deliveries on their way to become work."""

    async def accept(self, delivery: Delivery) -> Accepted:
        """Make a delivery durable: its row, its conversations and their Asked events in one transaction, once by id and once by
        meaning.
        """
        ...

    async def rung(self, delivery: Delivery) -> None:
        """Note that the doorbell was rung for it."""
        ...

    async def unanswered(self, older_than: float) -> list[tuple[str, int, str]]:
        """Return (conversation, seq, phase) of requests asked more than `older_than` seconds ago, still open and held by nobody."""
        ...

    async def waiting_for(self, account: Account) -> list[tuple[str, int]]:
        """Return (conversation, seq) of requests that wait until this account is connected."""
        ...


class Leases(Protocol):
    """One holder per conversation. The database's clock counts, nobody else's."""

    async def take(self, conversation_id: str, holder: str, seconds: float) -> float:
        """Return 0.0 when the lease is now the holder's, else the seconds until it may be free."""
        ...

    async def renew(self, conversation_id: str, holder: str, seconds: float) -> bool:
        """Whether the holder still has it."""
        ...

    async def release(self, conversation_id: str, holder: str) -> None: ...


class User(Struct, frozen=True):
    """Somebody of ours."""

    id: str
    name: str


class Accounts(Protocol):
    """Whose account is whose."""

    async def user_of(self, account: Account) -> User | None: ...

    async def link(self, account: Account, user_id: str, token: Secret | None = None) -> User:
        """Connect an account to a user (made when new), with a token to keep. Linking again replaces."""
        ...

    async def unlink(self, account: Account) -> bool: ...

    async def list(self) -> list[tuple[User, Account, bool]]:
        """Return every link, and whether a token is stored with it."""
        ...


class Vault(Protocol):
    """Tokens, encrypted at rest."""

    async def get(self, user_id: str, service: str) -> Secret | None: ...

    async def put(self, user_id: str, service: str, token: Secret) -> None: ...


class Bus(Protocol):
    """Redis as the product sees it: a doorbell for work, and a whisper when a log has grown. Losing it loses nothing."""

    async def acknowledge(self, conversation_id: str, seq: int) -> None:
        """Queue the short action that admits and acknowledges a request."""
        ...

    async def run(self, conversation_id: str, seq: int) -> None:
        """Queue a run."""
        ...

    async def grown(self, conversation_id: str, seq: int) -> None:
        """Tell whoever follows the conversation that its log has grown to `seq`."""
        ...

    def follow(self, conversation_id: str) -> AsyncIterator[int]:
        """Yield a seq whenever the log has grown, and at least every few seconds (the last seq heard, 0 at first)."""
        ...


# --- people ----------------------------------------------------------------------------------------------------------


class AuthContext(Struct, frozen=True):
    """What an auth strategy is built with."""

    accounts: Accounts
    key: Secret
    """Signs links and tokens."""
    public_url: str
    login: str = ""
    """The one account that may ask, as `service:login`, where a strategy has one."""


class AuthStrategy(Protocol):
    """Who may use the service and who stands behind an account. Built as `factory(context)`; one a deployment."""

    name: ClassVar[str]

    async def user_of(self, account: Account) -> User | None:
        """Return the user behind a provider's account, None if the account must be connected first."""
        ...

    async def user_of_request(self, headers: Mapping[str, str], now: float) -> User | None:
        """Return the user behind a request to the REST API (header names in lower case), None if it is not allowed in."""
        ...

    def connect_url(self, account: Account, now: float) -> str:
        """Return a signed, expiring link with which the person connects the account."""
        ...


@dataclass(frozen=True)
class Limits:
    """Caps of one run. Time is in minutes, money in US dollars."""

    steps: int = 100
    cost_usd: float = 5.0
    minutes: float = 30.0
    command_seconds: float = 120.0


@dataclass(frozen=True)
class Services:
    """Everything a story may ask for. Made by `bot.bootstrap` alone."""

    us: Us
    integrations: Mapping[str, Integration]
    auth: AuthStrategy
    log: EventLog
    conversations: Conversations
    inbox: Inbox
    leases: Leases
    accounts: Accounts
    vault: Vault
    bus: Bus
    clock: Callable[[], float]
    """Unix seconds."""


@dataclass(frozen=True)
class Workshop:
    """What a run needs beside the services. Only workers have one."""

    model: Callable[[str], Model]
    """The model of a configuration's name; "" is the default one. Raises Refused for a name that is not configured."""
    tools: Mapping[str, Tool]
    sandboxes: Sandboxes
    checkout: Checkout
    limits: Limits
