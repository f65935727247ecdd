"""What is remembered: EventLog, Inbox, Leases, Accounts, Vault; and the Bus that wakes whoever waits."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from bot.core.events import Draft, Event
from bot.core.inbound import Account, Delivery
from bot.core.secret import Secret


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
    """What became of a delivery. Requests are named by conversation and seq."""

    fresh: tuple[tuple[str, int], ...] = ()
    """New requests."""
    known: tuple[str, ...] = ()
    """Conversations in which the same was asked before."""
    unanswered: tuple[tuple[str, int], ...] = ()
    """Of what was asked before, the requests that nobody has looked at yet: the doorbell may never have been rung for them."""


class Inbox(Protocol):
    """Deliveries on their way to become work."""

    async def accept(self, delivery: Delivery) -> Accepted:
        """Make a delivery durable: its row, its conversations and their Asked events in one transaction, once by id and once by
        meaning.
        """
        ...

    async def unanswered(self, older_than: float) -> list[tuple[str, int, str]]:
        """Return (conversation, seq, phase) of requests asked more than `older_than` seconds ago, still open and held by nobody.

        One that is admitted in a conversation whose run was cut off is `begun`.
        """
        ...

    async def waiting_for(self, account: Account) -> list[tuple[str, int]]:
        """Return (conversation, seq) of requests that wait until this account is connected, or that nobody looked at since."""
        ...

    async def forget(self, older_than: float) -> int:
        """Delete the deliveries received more than `older_than` seconds ago, what they asked for stays. Return how many."""
        ...


class Sweep(Struct, frozen=True):
    """The last time that a sweep went over its field."""

    name: str
    at: float
    """Unix seconds."""
    found: int
    """How much it found to do."""
    total: int
    """How much all its turns found."""
    trouble: str = ""
    """What went wrong, if it could not finish."""


class Sweeps(Protocol):
    """What the sweeps found, of all workers together."""

    async def note(self, name: str, found: int, trouble: str = "") -> None: ...

    async def list(self) -> list[Sweep]: ...


class Leases(Protocol):
    """One holder per conversation. The database's clock counts, nobody else's."""

    async def take(self, conversation_id: str, holder: str, seconds: float) -> float:
        """Return 0.0 when the lease is now the holder's, else the seconds until it may be free."""
        ...

    async def renew(self, conversation_id: str, holder: str, seconds: float) -> bool:
        """Whether the holder still has it."""
        ...

    async def release(self, conversation_id: str, holder: str) -> None: ...

    async def clear(self, older_than: float) -> int:
        """Clear the leases that ran out more than `older_than` seconds ago and that nobody took since. Return how many."""
        ...


class User(Struct, frozen=True):
    """Somebody of ours."""

    id: str
    name: str


class Accounts(Protocol):
    """Whose account is whose."""

    async def user_of(self, account: Account) -> User | None: ...

    async def account_of(self, user_id: str, service: str) -> Account | None:
        """Return the account that a user has connected at a service, the latest if there are several."""
        ...

    async def link(self, account: Account, user_id: str, token: Secret | None = None) -> User:
        """Connect an account to a user (made when new), with a token to keep. Linking again replaces.

        What waits while an account of this user is linked is `connected` in `Inbox.unanswered`, until it waits again or goes on.
        """
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

    async def run(self, conversation_id: str, seq: int, *, hurry: bool = False, begun: bool = False) -> None:
        """Queue a run; with `hurry`, one that is queued for later is due now; with `begun`, before all that have not begun."""
        ...

    async def grown(self, latest: Mapping[str, int]) -> None:
        """Tell whoever follows one of the conversations (their ids) to which seq its log has grown."""
        ...

    def follow(self, conversation_id: str) -> AsyncIterator[int]:
        """Yield a seq whenever the log has grown, and at least every few seconds (the last seq heard, 0 at first)."""
        ...
