"""What Slack tells us: checking the signature, and reading out of it who asks for what.

Events, buttons, menus and the slash command come to one address. A mention is a real one (`<@U123>`): the handle typed
as letters is none. The message is the wish, so `app_mention`, the `message` beside it and an edit of it are one. What
bots write starts nothing.
Pure and quick: only events that have a row are decoded, and of them only the fields in payloads.py.

https://docs.slack.dev/apis/events-api/ https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qs

import msgspec

from bot.core.deliveries import ID, decode, event_name, understood
from bot.core.errors import Rejected
from bot.core.inbound import Account, By, Delivery, Inbound, Origin, Repository, Thread, Trigger, Verified
from bot.core.mentions import Request, find_request, read_request
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256, require, require_recent
from bot.core.untrusted import clean
from integrations.slack import payloads
from integrations.slack.mrkdwn import mentions, to_markdown
from integrations.slack.payloads import Action, Command, Envelope, Event, Interaction, Said

SERVICE = "slack"
WINDOW = 300.0
"""Seconds for which a signature is good."""

ACTION = "onhand:"
"""Before the id of each of our buttons; after it stands the verb."""
PICKER = f"{ACTION}repository"
"""The id of the menu of repositories."""

_ID = re.compile(r"[A-Za-z0-9_]{1,40}")
_TIME = re.compile(r"\d{1,12}\.\d{1,9}", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)
_NAME = r"(?!\.{1,2}(?:/|\Z))[\w.-]{1,100}"
_CHOICE = re.compile(rf"([a-z0-9_-]{{1,40}}):({_NAME}(?:/{_NAME}){{1,20}})", re.ASCII)
_TITLE = 80
_DOUBLE_CLICK = 10
"""Seconds in which pressing the same button again is the same press."""


def verify(inbound: Inbound, secret: Secret, now: float) -> Verified:
    """Check `X-Slack-Signature` over the raw body and the time in `X-Slack-Request-Timestamp`. Raises Rejected (401)."""
    sent, given = inbound.headers.get("x-slack-request-timestamp", ""), inbound.headers.get("x-slack-signature")
    if not _SECONDS.fullmatch(sent):
        raise Rejected("signature", "expected X-Slack-Request-Timestamp and X-Slack-Signature as Slack sends them", 401)
    require("X-Slack-Signature", signature(inbound.body, sent, secret), given)
    require_recent("X-Slack-Request-Timestamp", float(sent), now, WINDOW)
    return Verified(inbound.headers, inbound.body)


def signature(body: bytes, sent: str, secret: Secret) -> str:
    """Return the signature of a body that is sent at this time (Unix seconds)."""
    return f"v0={hmac_sha256(secret, b'v0:' + sent.encode() + b':' + body).hex()}"


def over_socket(payload: Mapping[str, object]) -> Verified:
    """Return what came over a connection that we opened ourselves: it is Slack's, as TLS says."""
    return Verified({}, msgspec.json.encode(payload))


def parse(verified: Verified) -> Delivery:
    """Read a delivery. Raises Rejected (400) for a body that is nothing of Slack's."""
    body = _json(verified.body)
    envelope = decode(body, payloads.ENVELOPE, "Slack")
    if envelope.challenge is not None and envelope.type == "url_verification":
        answer = msgspec.json.encode({"challenge": envelope.challenge})
        return Delivery(SERVICE, "challenge", "url_verification", ignored="url_verification", answer=answer)
    if envelope.type == "event_callback":
        return _event(envelope)
    if envelope.command is not None:
        return _command(decode(body, payloads.COMMAND, "Slack"))
    if envelope.type in ("block_actions", "block_suggestion"):
        return _interaction(decode(body, payloads.INTERACTION, "Slack"))
    if not envelope.type:
        raise Rejected("body", "expected an event, an interaction or a slash command of Slack")
    return _ignored(envelope.type)


def _json(body: bytes) -> bytes:
    """Return the JSON: the body itself, the form's field `payload`, or the whole form of a slash command as an object."""
    if body.lstrip()[:1] in (b"{", b"["):
        return body
    try:
        form = {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=100).items()}
    except (UnicodeDecodeError, ValueError):
        form = {}
    if "ssl_check" in form:  # https://docs.slack.dev/interactivity/implementing-slash-commands
        return b'{"type": "ssl_check"}'
    if payload := form.get("payload"):
        return payload.encode(errors="replace")
    return msgspec.json.encode(form)


# --- events ---------------------------------------------------------------------------------------------------------


def _event(envelope: Envelope) -> Delivery:
    kind = decode(bytes(envelope.event) or b"{}", payloads.KIND, "Slack")
    row = (kind.type, kind.subtype or "")
    read = EVENTS.get(row)
    if read is None:
        return _ignored(*row, envelope.event_id)
    found = read(decode(bytes(envelope.event), payloads.EVENT, "Slack"), envelope)
    otherwise = "none" if isinstance(found, str) else found.meaning
    return understood(SERVICE, _delivery_id(envelope.event_id, otherwise), event_name(*row), found)


def _app_mention(event: Event, envelope: Envelope) -> Trigger | str:
    """A message that mentions the app."""
    if event.bot_id:
        return "bot"
    us = envelope.bot or next(iter(mentions(event.text or "")), "")
    return _mentioned(event, envelope, event.text, us)


def _message(event: Event, envelope: Envelope) -> Trigger | str:
    """A direct message; a mention; without one, a message in a thread in which onhand takes part."""
    if event.bot_id or event.user in (None, "USLACKBOT", envelope.bot):
        return "bot"
    if event.direct:
        return _direct(event, envelope)
    others = mentions(event.text or "")
    if envelope.bot and envelope.bot in others:
        return _mentioned(event, envelope, event.text, envelope.bot)
    if not event.thread_ts or event.thread_ts == event.ts:
        return "no_mention"
    if others:
        return "for_others"
    text = to_markdown(event.text or "")
    return _from_event(event, envelope, read_request("", text), "follow_up") if text.strip() else "no_text"


def _edited(event: Event, envelope: Envelope) -> Trigger | str:
    """A message into which its author put a mention."""
    new, old = event.message or Said(), event.previous_message or Said()
    if new.bot_id or new.user in (None, "USLACKBOT", envelope.bot):
        return "bot"
    if event.direct:
        return "said_before"
    if not envelope.bot or envelope.bot not in mentions(new.text or ""):
        return "no_mention"
    if _asked(old.text, envelope.bot):
        return "mentioned_before"
    moved = msgspec.structs.replace(event, user=new.user, ts=new.ts, thread_ts=new.thread_ts)
    return _mentioned(moved, envelope, new.text, envelope.bot)


def _stopped(event: Event, envelope: Envelope) -> Trigger | str:
    """Slack's own stop button, where the app is an agent."""
    if not event.thread_ts:
        return "no_thread"
    at = _time(event.event_ts)
    moved = msgspec.structs.replace(event, ts=event.thread_ts)
    trigger = _from_event(moved, envelope, Request("stop"), "button")
    return msgspec.structs.replace(trigger, meaning=f"{trigger.meaning}:stopped:{at}")


def _direct(event: Event, envelope: Envelope) -> Trigger | str:
    text = to_markdown(event.text or "")
    if not text.strip() and not event.files:
        return "no_text"
    asked = _asked(event.text, envelope.bot) if envelope.bot else None
    return _from_event(event, envelope, asked or read_request("", text), "mention")


def _mentioned(event: Event, envelope: Envelope, text: str | None, us: str) -> Trigger | str:
    if not event.user or event.user in ("USLACKBOT", us):
        return "bot"
    request = _asked(text, us)
    return _from_event(event, envelope, request, "mention") if request else "no_mention"


def _asked(text: str | None, us: str) -> Request | None:
    """What is asked of us, if the mention stands in what was said: not in code or a quote."""
    return find_request(to_markdown(text or ""), [f"@{us}"]) if us else None


def _from_event(event: Event, envelope: Envelope, request: Request, by: By) -> Trigger:
    _id("team_id", envelope.team_id)  # of another workspace where the channel was begun there
    team, channel, ts = _id("authorizations.team_id", envelope.home), _id("channel", event.channel), _time(event.ts)
    thread_ts = _time(event.thread_ts or ts)
    return _trigger(team, channel, thread_ts, _id("user", event.user), request, by, ts)


# --- buttons, menus, the slash command ------------------------------------------------------------------------------


def _interaction(given: Interaction) -> Delivery:
    """Read a button or a menu. What begins work may be asked again by pressing the same button of the same message later."""
    if given.type == "block_suggestion":
        ours = given.action_id == PICKER
        search = clean(given.value or "")[:200] if ours else None
        return Delivery(SERVICE, "search", given.type, ignored="search" if ours else "not_ours", search=search)
    action = next((a for a in given.actions or [] if a.action_id.startswith(ACTION)), None)
    row = (given.type, action.action_id.removeprefix(ACTION) if action else "")
    read = BUTTONS.get(row)
    if action is None or read is None:
        return msgspec.structs.replace(_ignored(given.type), ignored="not_ours", answer=b"")
    found = read(action)
    pressed = found if isinstance(found, str) else _pressed(given, action, row[1], *found)
    number = "none" if isinstance(pressed, str) else _delivery_id(pressed.meaning[-200:])
    return msgspec.structs.replace(understood(SERVICE, number, ".".join(row), pressed), answer=b"")


def _pressed(given: Interaction, action: Action, what: str, request: Request, repository: Repository | None) -> Trigger:
    container, message = given.container or payloads.Place(), given.message or payloads.Place()
    person = given.user or payloads.Named()
    team, user = _id("team.id", given.team.id if given.team else person.team_id), _id("user.id", person.id)
    channel = _id("channel.id", given.channel.id if given.channel else container.channel_id)
    at = _time(message.ts or container.message_ts or "")
    root = _time(message.thread_ts or container.thread_ts or at)
    trigger = _trigger(team, channel, root, user, request, "button", at)
    chosen = f":{repository.service}:{repository.name}" if repository else ""  # who chose a wrong one chooses again
    moment = "" if request.verb == "stop" else _moment(action)
    meaning = f"{trigger.meaning}:{what}:{user}{chosen}{moment}"
    return msgspec.structs.replace(trigger, meaning=meaning, repository=repository)


def _moment(action: Action) -> str:
    """Return when it was pressed, as a part of a meaning: what was refused may be asked again, and a double click is one press."""
    return f":{int(float(action.action_ts)) // _DOUBLE_CLICK}" if _TIME.fullmatch(action.action_ts) else ""


def _stop(action: Action) -> tuple[Request, None]:
    """The button Stop below a status message."""
    return Request("stop"), None


def _approve(action: Action) -> tuple[Request, None]:
    """The button Approve below a plan."""
    return Request("approve"), None


def _retry(action: Action) -> tuple[Request, None]:
    """The button Retry below an ending."""
    return Request("retry"), None


def _repository(action: Action) -> tuple[Request, Repository] | str:
    """A repository chosen from the menu."""
    chosen = _CHOICE.fullmatch(action.selected_option.value if action.selected_option else "")
    return (Request(), Repository(chosen[1], chosen[2])) if chosen else "no_repository"


def _command(command: Command) -> Delivery:
    """The slash command. It has no message of its own, so its thread has yet to be begun: `item` is empty."""
    team, channel = _id("team_id", command.team_id), _id("channel_id", command.channel_id)
    user, delivery_id = _id("user_id", command.user_id), command.trigger_id
    if not ID.fullmatch(delivery_id):
        raise Rejected("body", "expected the trigger_id of a slash command")
    request = read_request("", to_markdown(command.text))
    trigger = _trigger(team, channel, "", user, request, "mention", "")
    trigger = msgspec.structs.replace(trigger, meaning=f"{SERVICE}:command:{delivery_id}", url="")
    return Delivery(SERVICE, delivery_id, "command", triggers=(trigger,), answer=b"")


# --- the tables -----------------------------------------------------------------------------------------------------

EVENTS: dict[tuple[str, str], Callable[[Event, Envelope], Trigger | str]] = {
    ("app_mention", ""): _app_mention,
    ("message", ""): _message,
    ("message", "file_share"): _message,
    ("message", "thread_broadcast"): _message,
    ("message", "message_changed"): _edited,
    ("agent_session_stopped", ""): _stopped,
}

BUTTONS: dict[tuple[str, str], Callable[[Action], tuple[Request, Repository | None] | str]] = {
    ("block_actions", "stop"): _stop,
    ("block_actions", "approve"): _approve,
    ("block_actions", "retry"): _retry,
    ("block_actions", "repository"): _repository,
}

TRIGGERS: Mapping[tuple[str, str], Callable[..., object]] = {**EVENTS, **BUTTONS, ("command", ""): _command}
"""What may ask us for work, by event and subtype, or by the kind of interaction and the button."""

IGNORED: dict[tuple[str, str], str] = {
    ("message", "bot_message"): "bot",
    ("message", "message_deleted"): "deleted",
    ("message", "channel_join"): "joined",
    ("member_joined_channel", ""): "joined",
    ("app_uninstalled", ""): "uninstalled",
    ("ssl_check", ""): "ssl_check",
}
"""What is known to ask for nothing, and why. Whatever has no row anywhere is `not_used`."""


def _ignored(kind: str, subtype: str = "", number: str | None = None) -> Delivery:
    name, reason = event_name(kind, subtype), IGNORED.get((kind, subtype), "not_used")
    return understood(SERVICE, _delivery_id(number), name, reason)


def _trigger(team: str, channel: str, thread_ts: str, user: str, request: Request, by: By, ts: str) -> Trigger:
    title = next((line.strip() for line in request.text.split("\n") if line.strip()), "")
    return Trigger(
        thread=Thread(SERVICE, f"{team}/{channel}", thread_ts),
        actor=Account(SERVICE, f"{team}:{user}", user),
        request=request,
        meaning=f"{SERVICE}:{team}:{channel}:{ts}",
        by=by,
        origin=Origin("message", ts, thread_id=thread_ts),
        title=title[:_TITLE],
        url=address(team, channel, thread_ts),
    )


def in_thread(trigger: Trigger, ts: str) -> Trigger:
    """Return a slash command's trigger as the wish of the message that was posted for it."""
    thread = msgspec.structs.replace(trigger.thread, item=_time(ts))
    team, _, channel = thread.place.partition("/")
    origin = Origin("message", ts, thread_id=ts)
    return msgspec.structs.replace(trigger, thread=thread, origin=origin, url=address(team, channel, ts))


def address(team: str, channel: str, thread_ts: str) -> str:
    """Return where people see a thread."""
    return f"https://app.slack.com/client/{team}/{channel}/thread/{channel}-{thread_ts}"


def _id(name: str, value: str | None) -> str:
    if not value or not _ID.fullmatch(value):
        raise Rejected("body", f"expected an id of Slack's as {name}")
    return value


def _time(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise Rejected("body", "expected the time of a message as Slack writes it, such as 1595926230.009600")
    return value


def _delivery_id(value: str | None, otherwise: str = "none") -> str:
    return value if value and ID.fullmatch(value) else otherwise


def options(found: Sequence[Repository]) -> bytes:
    """Return the answer to a menu that searches: at most 100 repositories.

    https://docs.slack.dev/reference/block-kit/block-elements/select-menu-element#external_select
    """
    rows = [
        {"text": {"type": "plain_text", "text": r.name[-75:]}, "value": value}
        for r in found[:100]
        if len(value := f"{r.service}:{r.name}") <= 150
    ]
    return msgspec.json.encode({"options": rows})
