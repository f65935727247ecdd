"""Where people ask, and where code lives: Integration and Forge."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from msgspec import Struct

from bot.core.inbound import Account, Delivery, Image, Inbound, Message, Repository, Thread, Trigger, Verified
from bot.core.outbound import Call, Change, Receipt, Status
from bot.core.secret import Secret


class Us(Struct, frozen=True):
    """How people call onhand: the same on every platform, and by the name of its account there."""

    handle: str = "@onhand"
    label: str = "onhand"
    public_url: str = ""
    login: str = ""
    """Of the bot's account on a platform, where it is known there."""

    @property
    def handles(self) -> tuple[str, ...]:
        """What people may write to call us."""
        return (self.handle, f"@{self.login.removesuffix('[bot]')}") if self.login else (self.handle,)

    def named(self, login: str | None) -> bool:
        """Whether this is the bot's own login."""
        return bool(self.login and login) and (login or "").casefold() == self.login.casefold()


class Integration(Protocol):
    """One platform on which people ask. Built as `factory(settings, us)`; `settings` is an instance of `factory.Settings`.

    `verify`, `parse` and `render` are pure and quick: they run in the web process. `sign` and `propose` are pure as well.
    """

    name: ClassVar[str]
    """The name of the entry point, of the section of settings, and the `service` of every Thread, Account and Repository here."""

    @property
    def Settings(self) -> type[Struct]:  # noqa: N802  # it is a class
        """What may be set under `[name]`: every field with a default and a docstring (docs/settings.md); keys are Secrets."""
        ...

    def secrets(self) -> Sequence[Secret]:
        """Every secret value in the settings, so that it can be masked."""
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

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        """Return the calls that show in the platform's own form how a request stands, under this topic or `topic:...`.

        They may be of kinds that the integration defines itself: nobody but its `perform` and `find` looks into them.
        """
        ...

    def propose(self, proposal: "Proposal") -> list[Call]:
        """Return the calls that offer a pushed branch as a pull or merge request here.

        The last one has the proposal's own topic, and its receipt the change's address, which people are shown.
        """
        ...

    async def token(self, place: str, use: str = "") -> Secret | None:
        """Return the bot's own token for a place (`owner/repo`, a channel, a project), None where the settings give none.

        It may be short-lived: ask anew for every call. What was asked for in the name of a `use` (a run's id) is kept apart,
        and ended by `give_back`. Raises ProviderError, Refused (the bot was not let in there).
        """
        ...

    async def give_back(self, use: str) -> None:
        """End the tokens that were made for a use. What cannot be ended runs out by itself; nothing is raised."""
        ...

    async def check(self) -> str:
        """Return a line that says as whom the bot acts. Raises ProviderError, ConfigError."""
        ...

    async def catch_up(self, since: float) -> "CaughtUp":
        """Find the deliveries since then (Unix seconds) that did not reach us. Raises ProviderError.

        `CaughtUp()` where the platform neither sends again nor can be asked.
        """
        ...

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        """Do a call; with `receipt`, renew what an earlier one made. Raises ProviderError.

        Calls are those of `render` and `propose`, and a React for every request. `Receipt("")` where nothing was made because
        the platform has no such thing. What was made and is gone (deleted, closed) is made anew.
        """
        ...

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        """Look for what an earlier try of this call made, by the mark that it left. Raises ProviderError."""
        ...

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        """Whether this person may have work done in this place: no guest, no bot, nobody from outside. Raises ProviderError.

        A forge says yes: what counts there is `may_write`.
        """
        ...

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        """Return what was said in the thread before it was asked, newest first, some hundred messages at most.

        What the trigger holds itself is left out. Raises ProviderError.
        """
        ...

    async def identify(self, token: Secret) -> Account:
        """Return the account that the token belongs to. Raises ProviderError."""
        ...

    async def account(self, login: str, token: Secret) -> Account:
        """Return the account of this login. Raises ProviderError (`missing`)."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class Equipped(Protocol):
    """An integration whose requests need a library that takes long to import."""

    library: str
    """The module that a worker imports before it says that it is ready; the web process starts without."""


@runtime_checkable
class Linked(Protocol):
    """An Integration whose platform keeps links from a thread to code: its branches, changes and pages."""

    async def links(self, thread: Thread, token: Secret) -> str:
        """Return a text with the addresses to which a thread is linked. Raises ProviderError."""
        ...


@runtime_checkable
class Named(Protocol):
    """An Integration whose logins are no names."""

    async def called(self, account: Account, token: Secret) -> str:
        """Return what people call this account; its login where that is not told."""
        ...


@runtime_checkable
class Illustrated(Protocol):
    """An Integration whose `context` names images (`Message.image`)."""

    async def image(self, image: Image, longest: int, token: Secret) -> bytes:
        """Return the first `longest` bytes of an image, unchecked; none where it cannot be had. Raises ProviderError.

        The token goes to the platform's own host alone, and no redirect is followed.
        """
        ...


@runtime_checkable
class Templated(Protocol):
    """A Forge that has to be asked for a repository's template by itself, which no run waits for before it begins."""

    async def template(self, repository: Repository, token: Secret) -> str:
        """Return the repository's own template for a change's description, "" where it has none. Raises ProviderError."""
        ...


@runtime_checkable
class Renewer(Protocol):
    """A Forge whose tokens can end before their time, which git finds out by itself."""

    async def renew(self, token: Secret) -> Secret | None:
        """Return the token in the place of one of ours that is not taken any more, None where there is none.

        Raises ProviderError, Refused.
        """
        ...


@runtime_checkable
class Picker(Protocol):
    """An Integration on which people choose a repository from a list that can be searched."""

    def options(self, found: Sequence[Repository]) -> bytes:
        """Return the answer to a search (`Delivery.search`). Pure."""
        ...


@runtime_checkable
class Dated(Protocol):
    """An Integration whose platform says in the body itself when it was sent."""

    def dated(self, body: bytes, now: float) -> bytes:
        """Return the body as if it were sent now (Unix seconds); one that cannot be read comes back as it is."""
        ...


def as_sent(integration: Integration, body: bytes, event: str, delivery_id: str, now: float) -> Inbound:
    """Return the request with which the platform itself would send this body now (Unix seconds)."""
    if isinstance(integration, Dated):
        body = integration.dated(body, now)
    headers = integration.sign(body, event, delivery_id, now)
    return Inbound({name.lower(): value for name, value in headers.items()}, body)


class CaughtUp(Struct, frozen=True):
    """What became of deliveries that did not reach us: the platform sends them again, or they were read from it."""

    sent_again: int = 0
    read: tuple[Delivery, ...] = ()
    failed: Exception | None = None
    """What kept us from looking everywhere; the same time is looked through once more then."""
    put_off: bool = False
    """Whether it was too soon for a look: then the next one begins where this one would have begun."""


class Source(Struct, frozen=True):
    """Code that can be cloned, and where work on it goes."""

    repository: Repository
    url: str
    """Address for git over HTTP, without credentials."""
    base: str
    """The branch that a change would be merged into."""
    head: str = ""
    """The existing branch to push to, when asked inside a change."""
    head_url: str = ""
    """Where that branch is, when it is not in the repository: the address of a fork."""
    head_ref: str = ""
    """Under what name the repository lets that branch be read, when it is not its own: `refs/pull/7/head`."""
    commit: str = ""
    """Where `base` stood when the forge was asked; "" where it did not say."""
    pushable: bool = True
    """Whether that branch may be pushed to; where not, the work becomes a patch."""
    template: str = ""
    """The repository's own template for a change's description, where the forge tells it with the rest (else Templated)."""
    username: str = "x-access-token"
    """As whom git signs in with the token."""


class Form(Struct, frozen=True):
    """A form that the browser of whoever sets onhand up posts to a platform."""

    address: str
    fields: dict[str, str]


class Registered(Struct, frozen=True):
    """What becomes settings of the section once the app is made, and a sentence on what to do next."""

    values: dict[str, str | Secret]
    next_step: str


class Registration(Protocol):
    """Makes our app at a platform (`onhand init`). Where a factory has `registration(settings)`, that returns one.

    A factory at whose platform no form makes an app may have `async set_up(settings, public_url, arguments) -> list[str]`
    instead: it does what the API allows (twice is harmless) and returns what was done and what is left, a line each.
    """

    def form(self, name: str, public_url: str, back: str, state: str, owner: str) -> Form:
        """Return the form; the platform leads the browser `back` with `code` and `state`. `owner`: "" for the person's own."""
        ...

    async def register(self, code: str) -> Registered:
        """Make the app. Raises ProviderError."""
        ...


@runtime_checkable
class Forge(Integration, Protocol):
    """An Integration where code lives as well: it can receive pushes and changes. One that lacks a method of these is no forge."""

    async def source(self, repository: Repository, number: str, token: Secret) -> Source:
        """Describe the repository, and a change in it: a thread's item or a receipt's id, or "". Raises ProviderError, Refused.

        A change that is closed takes no commits: its `base` counts, and `head` is "".
        """
        ...

    async def may_write(self, repository: Repository, account: Account | None, token: Secret) -> bool:
        """Whether the token's owner may write there, and the account as well if there is one. Raises ProviderError."""
        ...

    async def repositories(self, query: str, token: Secret) -> Sequence[Repository]:
        """Return up to 100 repositories that the token's owner works on and whose names contain the query. Raises ProviderError."""
        ...

    def repository_at(self, address: str) -> Repository | None:
        """Return the repository to which an address (of a page, or for git) belongs; None for one of somewhere else. Pure."""
        ...

    async def rivals(self, thread: Thread, token: Secret) -> Sequence[str]:
        """Return what open changes of others that say they close this issue are called here (`#12`). Raises ProviderError.

        A courtesy: `()` where the forge does not tell.
        """
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
    asked_in_change: bool = False
    """Whether it was asked inside a change: then the thread is no issue that could be closed."""
