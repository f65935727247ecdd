"""What comes in: a request of a provider, and the triggers that are read out of it."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, structs

from bot.core.mentions import Request

By = Literal["mention", "label", "assignment", "review_request", "follow_up", "button"]
"""How somebody asks. A follow-up without a mention counts only where the thread's conversation exists already."""


class Inbound(Struct, frozen=True):
    """A request as it came: header names in lower case, the body byte for byte."""

    headers: Mapping[str, str]
    body: bytes


class Verified(Inbound, frozen=True):
    """An Inbound whose signature was checked. Only an integration's `verify` makes one."""


class Thread(Struct, frozen=True):
    """The place where somebody asks: an issue, a pull request, a channel's thread, a ticket."""

    service: str
    place: str
    """What holds the item: `owner/repo`, a channel, a project."""
    item: str
    """Its number or id inside the place."""

    @property
    def key(self) -> str:
        """The name of the thread in one string, such as `github:owner/repo#12`."""
        return f"{self.service}:{self.place}#{self.item}"


class Repository(Struct, frozen=True):
    """Code at a forge. `service` names the integration that can clone it and open changes."""

    service: str
    name: str


class Account(Struct, frozen=True):
    """An identity at a provider. Compare ids; a login can be renamed and given to somebody else."""

    service: str
    id: str
    login: str
    name: str = ""
    """What people call it, where the login is no name. Anybody may call themselves so: nothing is decided by it."""

    @property
    def shown(self) -> str:
        """How to name it to people and to a model."""
        return self.name or self.login

    @property
    def key(self) -> str:
        """`service:id`, the name by which accounts are stored."""
        return f"{self.service}:{self.id}"


class Origin(Struct, frozen=True):
    """The very message that asked, so that we can react to it and answer beneath it."""

    kind: Literal["issue", "change", "comment", "review_comment", "review", "message", "session"]
    id: str
    """The provider's id of it: of the comment, or the number of the issue."""
    thread_id: str = ""
    """The id to answer beneath, where the provider has threads inside the thread."""
    path: str = ""
    line: int = 0
    hunk: str = ""
    """For a remark on code: the file, the line and the diff around it."""


class Trigger(Struct, frozen=True):
    """Somebody asked us for work."""

    thread: Thread
    actor: Account
    request: Request
    meaning: str
    """Equal for the same wish however often and by whatever hook it is delivered."""
    by: By
    origin: Origin
    title: str = ""
    body: str = ""
    """Title and description of the issue, change or ticket."""
    guidance: str = ""
    """What those who administer the place tell agents in its settings; nobody else can write there."""
    url: str = ""
    change: bool = False
    """Whether the thread is a pull or merge request."""
    repository: Repository | None = None
    """Where the code lives, if the thread or the choice that was made says so."""

    def described_by(self, before: "Trigger | None") -> "Trigger":
        """Return it with what an earlier one in the thread knew about the thread, where this one was a button and knows nothing."""
        if before is None or self.by != "button":
            return self
        return structs.replace(self, title=before.title, body=before.body, url=before.url, change=before.change)

    def again(self, before: "Trigger | None") -> "Trigger":
        """Return it with the options of an earlier one where it goes on with that; its own count for more."""
        if before is None or self.request.verb not in ("retry", "approve"):
            return self
        options = {**before.request.options, **self.request.options}
        return structs.replace(self, request=structs.replace(self.request, options=options))

    def called(self, name: str) -> "Trigger":
        """Return it with the name of its person; "" changes nothing."""
        return structs.replace(self, actor=structs.replace(self.actor, name=name)) if name else self


class Image(Struct, frozen=True):
    """An image that somebody attached, as the platform names it; its bytes stay there (`Illustrated.image`)."""

    name: str
    address: str
    """Where the platform has it. Nothing is fetched from there but by the platform's own integration."""


class Message(Struct, frozen=True):
    """Something that was said in a thread. `at` is in Unix seconds."""

    author: str
    text: str
    at: float = 0.0
    url: str = ""
    image: Image | None = None
    """Where it is an attached image; the text is then what the platform says about it."""


class Delivery(Struct, frozen=True):
    """One verified request, understood."""

    service: str
    id: str
    """The provider's own id of the delivery, equal on redelivery."""
    event: str
    """Event and action, such as `issue_comment.created`."""
    triggers: tuple[Trigger, ...] = ()
    ignored: str = ""
    """Why there are no triggers, in a word or two."""
    answer: bytes | None = None
    """The body that the platform wants back, with 200, where it wants a certain one."""
    search: str | None = None
    """The platform asks for the repositories whose names contain this; the answer is made by `Picker.options`."""
