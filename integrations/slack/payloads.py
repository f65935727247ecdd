"""The fields of Slack's requests that we read, and nothing else of them.

Slack tells four kinds of things to one address: events (JSON), interactions (JSON in the form field `payload`), slash
commands (a form) and, once, a challenge. Real ones are looser than their descriptions: ids, texts and times may be null
or missing, and the same name is a string in one event and an object in another, so an event is decoded only when it has
a row.

https://docs.slack.dev/apis/events-api/ https://docs.slack.dev/reference/interaction-payloads
"""

import msgspec
from msgspec import Raw, Struct


class Kind(Struct, frozen=True):
    """By what an event is told from others."""

    type: str = ""
    subtype: str | None = None


class Authorization(Struct, frozen=True):
    """For whom an event was delivered to the app: its bot, or a person who installed it."""

    user_id: str | None = None
    team_id: str | None = None
    is_bot: bool | None = None


class Envelope(Struct, frozen=True):
    """The outermost object of anything that comes as JSON."""

    type: str = ""
    team_id: str | None = None
    event_id: str | None = None
    event: Raw = Raw()
    authorizations: list[Authorization] | None = None
    authed_users: list[str] | None = None
    challenge: str | None = None
    command: str | None = None

    @property
    def bot(self) -> str:
        """The user id of our bot in this workspace, "" where the event does not tell."""
        known = [a.user_id for a in self.authorizations or [] if a.user_id and a.is_bot]
        return next(iter(known or self.authed_users or []), "")

    @property
    def home(self) -> str | None:
        """The workspace that the event was delivered for.

        `team_id` is that of who began the channel, which may be another organisation's: https://github.com/slackapi/bolt-js/issues/687
        """
        return next((a.team_id for a in self.authorizations or [] if a.team_id), self.team_id)


class Said(Struct, frozen=True):
    """A message: of an event, and inside one about an edit."""

    user: str | None = None
    bot_id: str | None = None
    text: str | None = None
    ts: str = ""
    thread_ts: str | None = None


class Event(Said, frozen=True):
    """A message, a mention, or the native stop button."""

    channel: str = ""
    channel_type: str | None = None
    event_ts: str = ""
    files: list[Raw] | None = None
    message: Said | None = None
    previous_message: Said | None = None

    @property
    def direct(self) -> bool:
        """Whether it is between one person and us alone."""
        return self.channel_type in ("im", "app_home") or (self.channel_type is None and self.channel.startswith("D"))


class Named(Struct, frozen=True):
    """A workspace, a channel or a person."""

    id: str = ""
    team_id: str | None = None
    """Of a person: where they are, which counts where an app of the whole organisation is told of no workspace."""


class Place(Struct, frozen=True):
    """Where a button stands: the message, or what contains it."""

    ts: str | None = None
    message_ts: str | None = None
    thread_ts: str | None = None
    channel_id: str | None = None


class Option(Struct, frozen=True):
    """What was chosen in a menu."""

    value: str = ""


class Action(Struct, frozen=True):
    """A button that was pressed, or a menu in which something was chosen."""

    action_id: str = ""
    selected_option: Option | None = None
    action_ts: str = ""
    """When it was pressed, in Unix seconds."""


class Interaction(Struct, frozen=True):
    """Somebody pressed a button, chose from a menu, or is typing into one."""

    type: str = ""
    team: Named | None = None
    user: Named | None = None
    channel: Named | None = None
    container: Place | None = None
    message: Place | None = None
    actions: list[Action] | None = None
    action_id: str = ""
    value: str | None = None


class Command(Struct, frozen=True):
    """A slash command, as the fields of its form."""

    command: str
    team_id: str
    channel_id: str
    user_id: str
    trigger_id: str
    text: str = ""


ENVELOPE = msgspec.json.Decoder(Envelope)
KIND = msgspec.json.Decoder(Kind)
EVENT = msgspec.json.Decoder(Event)
INTERACTION = msgspec.json.Decoder(Interaction)
COMMAND = msgspec.json.Decoder(Command)
