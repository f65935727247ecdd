"""Slack as an Integration: what is done there with a bot token. api.py is the way there, socket_mode.py the way back."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import urlsplit

from msgspec import Struct, structs

from bot.core.errors import ConfigError, ProviderError
from bot.core.inbound import Account, Delivery, Image, Inbound, Message, Repository, Thread, Trigger, Verified
from bot.core.outbound import Call, React, Receipt, Say, Status
from bot.core.platform import Platform, edited, web_address
from bot.core.ports import CaughtUp, Installed, Take, Us
from bot.core.refusals import courtesy, unless
from bot.core.secret import Secret
from integrations.slack import replies, sweep, threads, webhook
from integrations.slack.api import NOBODY, Api, table
from integrations.slack.manifest import SCOPES, steps
from integrations.slack.people import People
from integrations.slack.replies import Progress

log = logging.getLogger(__name__)

_STREAM = "stream:"
"""Before the time of a message that is a stream still."""
_QUIET = {"unfurl_links": False, "unfurl_media": False}
_OPENING_SECONDS = 2.0
"""Slack shows an error to a person who has waited 3 s."""
_OPENING_KEPT = 1000
"""Slash commands that are remembered, so that one which comes twice begins one thread."""


class Slack(Platform):
    """Slack, over HTTP or Socket Mode, built as `Slack(settings, us)`. Raises ConfigError for settings that cannot work."""

    name: ClassVar[str] = "slack"
    library = "slack_sdk.web.async_client"

    class Settings(Struct, frozen=True):
        """The settings under `[slack]`, or `ONHAND_SLACK__...`."""

        signing_secret: Secret | None = None
        """The app's signing secret. Without one there is no endpoint."""
        bot_token: Secret | None = None
        """The app's bot token in your workspace (`xoxb-...`)."""
        api_url: str = "https://slack.com/api"
        """Address of the Web API."""
        app_token: Secret | None = None
        """An app-level token (`xapp-...`) with `connections:write`: turns Socket Mode on, for where Slack cannot reach onhand."""
        client_id: str = ""
        """Of the app, to install it in several workspaces."""
        client_secret: Secret | None = None
        """Secret that belongs to the client id."""
        timeout: int = 10
        """Seconds to wait for an answer of the API."""

    def __init__(self, settings: "Slack.Settings", us: Us) -> None:
        super().__init__(settings, settings.signing_secret, settings.bot_token)
        self._settings, self._us = settings, us
        self._api = Api(web_address("slack.api_url", settings.api_url, "https://slack.com/api"), settings.timeout)
        self._people = People(self._api)
        self._opening: dict[str, asyncio.Future[str]] = {}

    @staticmethod
    async def set_up(settings: "Slack.Settings", public_url: str, arguments: Sequence[str]) -> list[str]:
        """Return the steps that make the app; an API that makes one wants a token that nobody has yet."""
        if arguments:
            raise ConfigError(f"onhand init slack takes no further arguments, found {' '.join(arguments)!r}")
        if not settings.app_token and urlsplit(public_url).scheme != "https":
            raise ConfigError(
                "ONHAND_PUBLIC_URL: expected the https address at which Slack reaches onhand, "
                f"found {public_url}; where there is none, set ONHAND_SLACK__APP_TOKEN for Socket Mode"
            )
        return steps(public_url, bool(settings.app_token))

    # --- what comes in --------------------------------------------------------------------------------------------

    def verify(self, inbound: Inbound, now: float) -> Verified:
        return webhook.verify(inbound, self.webhook_secret(), now)

    def parse(self, verified: Verified) -> Delivery:
        return webhook.parse(verified)

    def options(self, found: Sequence[Repository]) -> bytes:
        return webhook.options(found)

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        sent = str(int(now))
        return {
            "content-type": "application/json" if body[:1] == b"{" else "application/x-www-form-urlencoded",
            "x-slack-request-timestamp": sent,
            "x-slack-signature": webhook.signature(body, sent, self.webhook_secret()),
        }

    @property
    def listens(self) -> bool:
        return bool(self._settings.app_token)

    async def listen(self, take: Take) -> None:
        from integrations.slack.socket_mode import listen

        await listen(self._settings.app_token or Secret(""), self._settings.api_url, take)

    async def open_thread(self, delivery: Delivery, token: Secret | None) -> Delivery:
        """Say in the channel what was asked with the slash command: that message is the thread's first."""
        (trigger,) = delivery.triggers
        opening = self._opening.get(delivery.id)
        if opening is None:
            opening = self._opening[delivery.id] = asyncio.ensure_future(self._open(trigger, token))
            opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait any more
            self._opening = dict(list(self._opening.items())[-_OPENING_KEPT:])
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                ts = await asyncio.shield(opening)
        except (ProviderError, TimeoutError) as error:
            log.warning("the slash command could not begin a thread: %s", error or "no answer in time")
            later = isinstance(error, TimeoutError) or error.worth_retrying
            answer = replies.NOT_NOW if later else replies.NOT_HERE
            return structs.replace(delivery, triggers=(), ignored="no_thread", answer=answer)
        return structs.replace(delivery, triggers=(webhook.in_thread(trigger, ts),))

    async def _open(self, trigger: Trigger, token: Secret | None) -> str:
        if token is None:
            raise ProviderError("unauthorized", "there is no token for this workspace")
        said = replies.message(trigger.meaning, *replies.asked(trigger))
        made = await self._api.call(token, "chat_postMessage", channel=channel_of(trigger.thread), **said, **_QUIET)
        return _time_of(made)

    # --- what goes out --------------------------------------------------------------------------------------------

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        return replies.render(trigger, status, topic, self._us.handle)

    async def token(self, place: str, use: str = "") -> Secret | None:
        """The one of the settings, for its own workspace alone where the app may be in others too."""
        if not (self._token and place and self._settings.client_id):
            return self._token
        ours = (await self.identify(self._token)).id.partition(":")[0]
        return self._token if place.partition("/")[0] == ours else None

    def install_url(self, back: str, state: str) -> str:
        if not self._settings.client_id or not self._settings.client_secret:
            return ""
        from slack_sdk.oauth import AuthorizeUrlGenerator

        link = AuthorizeUrlGenerator(client_id=self._settings.client_id, scopes=SCOPES, redirect_uri=back)
        return link.generate(state)

    async def install(self, code: str, back: str) -> Installed:
        secret, known = self._settings.client_secret or Secret(""), self._settings.client_id
        found = await self._api.call(
            NOBODY, "oauth_v2_access", client_id=known, client_secret=secret.reveal(), code=code, redirect_uri=back
        )
        team = table(found.get("team"))
        if not team.get("id"):
            raise ProviderError("invalid", "the app was installed for an organisation; install it in a workspace")
        return Installed(str(team["id"]), str(team.get("name")), Secret(str(found.get("access_token", ""))))

    async def check(self) -> str:
        s = self._settings
        if s.app_token:
            await self._api.call(NOBODY, "apps_connections_open", app_token=s.app_token.reveal())
        if not s.bot_token and s.client_id:
            return "acts where it was installed by link; their tokens are in the vault"
        if not s.bot_token:
            raise ConfigError("no token; set ONHAND_SLACK__BOT_TOKEN")
        found = await self._api.call(s.bot_token, "auth_test")
        return f"acts as {found.get('user')} in {found.get('team')}"

    async def catch_up(self, since: float) -> CaughtUp:
        """The workspace of the settings alone, and not every time: Slack sends again what fails for some minutes."""
        token = self._token
        if not token:
            return CaughtUp()
        if time.time() - since < sweep.AWAY:
            return CaughtUp(put_off=True)
        team, _, us = (await self.identify(token)).id.partition(":")
        return await sweep.missed(self._api, token, team, us, since)

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        match call:
            case React():
                return await self._react(call, token)
            case Say():
                return await self._put(call, replies.message(call.topic, call.text), receipt, token)
            case Progress():
                return await self._progress(call, receipt, token)
        raise ProviderError("invalid", f"Slack has no {type(call).__name__}")

    async def _react(self, call: React, token: Secret) -> Receipt:
        if call.origin.kind != "message" or not call.origin.id:
            return Receipt("")
        try:
            await self._api.call(
                token, "reactions_add", channel=channel_of(call.thread), timestamp=call.origin.id, name=call.emoji
            )
        except ProviderError as error:
            if "already_reacted" not in error.detail:
                raise
        return Receipt(call.origin.id)

    async def _put(self, call: Call, said: dict[str, Any], receipt: Receipt | None, token: Secret) -> Receipt:
        """Post a message, or renew the one that stands there."""
        channel, thread_ts = channel_of(call.thread), call.thread.item

        async def edit(there: Receipt) -> Receipt:
            ts = there.id.removeprefix(_STREAM)
            await self._api.call(token, "chat_update", channel=channel, ts=ts, **said)
            return Receipt(ts, _address(call.thread))

        if there := await edited(receipt, edit, lambda: self.find(call, token)):
            return there
        made = await self._api.call(token, "chat_postMessage", channel=channel, thread_ts=thread_ts, **said, **_QUIET)
        return Receipt(_time_of(made), _address(call.thread))

    # --- the message that shows how a request stands --------------------------------------------------------------

    async def _progress(self, call: Progress, receipt: Receipt | None, token: Secret) -> Receipt:
        """Show it as a stream with task cards where the workspace takes one and while it lives, else as a message.

        Slack ends a stream after about five minutes, or when it is stopped; the message is then edited.
        """
        if receipt is None and call.live:
            if stream := await self._begin(call, token):
                return stream
        elif receipt is not None and receipt.id.startswith(_STREAM):
            if shown := await courtesy(self._go_on(call, receipt, token)):
                return shown
            await self._stop(call, receipt, token)
        done = await self._put(call, replies.message(call.topic, call.text, replies.controls(call)), receipt, token)
        if not call.live:
            await self._session(call, "suspended" if call.picker else "active", token)
        return done

    async def _begin(self, call: Progress, token: Secret) -> Receipt | None:
        """Start a stream; None where there are none. Without Slack's own stop button it has one of ours."""
        native = await self._session(call, "processing", token)
        shown = replies.chunks(call) + ([] if native else [{"type": "blocks", "blocks": replies.controls(call)}])
        where = {"channel": channel_of(call.thread), "thread_ts": call.thread.item, "task_display_mode": "plan"}
        whom = {"recipient_team_id": call.thread.place.partition("/")[0], "recipient_user_id": call.person}
        made = await courtesy(self._api.call(token, "chat_startStream", **where, **whom, chunks=shown))
        return Receipt(f"{_STREAM}{_time_of(made)}", _address(call.thread)) if made is not None else None

    async def _go_on(self, call: Progress, receipt: Receipt, token: Secret) -> Receipt:
        where = {"channel": channel_of(call.thread), "ts": receipt.id.removeprefix(_STREAM)}
        if call.live:
            await self._api.call(token, "chat_appendStream", **where, chunks=replies.chunks(call))
            return receipt
        blocks = replies.message(call.topic, call.text, replies.controls(call))["blocks"]
        status = "suspended" if call.picker else "active"
        shown = replies.chunks(call)
        await self._api.call(token, "chat_stopStream", **where, chunks=shown, blocks=blocks, session_status=status)
        return structs.replace(receipt, id=where["ts"])

    async def _stop(self, call: Progress, receipt: Receipt, token: Secret) -> None:
        """Make sure that a stream which takes no more is over: one that goes on cannot be edited."""
        ts = receipt.id.removeprefix(_STREAM)
        with suppress(ProviderError):
            await self._api.call(token, "chat_stopStream", channel=channel_of(call.thread), ts=ts)

    async def _session(self, call: Progress, status: str, token: Secret) -> bool:
        """Tell Slack whether the agent is at work: it then shows its own stop button. False where it has no such thing."""
        with suppress(ProviderError):
            where = {"channel_id": channel_of(call.thread), "thread_ts": call.thread.item}
            found = await self._api.call(token, "agents_sessions_setStatus", **where, status=status)
            return "agent_session_stopped" not in str(found.get("warning"))
        return False

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        """Look for our message of this topic among the newest of the thread. Somebody else's with our mark is not ours."""
        if not isinstance(call, Say | Progress):
            return None  # a reaction made twice is one
        us = (await self.identify(token)).login
        mark = replies.mark(call.topic)
        for said in await threads.newest(self._api, token, channel_of(call.thread), call.thread.item):
            if said.get("user") == us and mark in (blocks := json.dumps(said.get("blocks", []))):
                stream = f"{mark}-" in blocks and f'"{mark}"' not in blocks
                return Receipt(f"{_STREAM if stream else ''}{said.get('ts', '')}", _address(call.thread))
        return None

    # --- who, and what was said -----------------------------------------------------------------------------------

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        """Full members of the workspace: no guests, no bots, nobody of another organisation in a shared channel."""
        team = thread.place.partition("/")[0]
        user = await unless(self._user(account.id, token), "missing") or {}
        ours = (await self.identify(token)).id.partition(":")[0]
        organisation = table(user.get("enterprise_user"))
        outside = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger", "is_app_user")
        teams = [user.get("team_id"), *organisation.get("teams", [])]
        at_home = team in teams and ours in (*teams, organisation.get("enterprise_id"))
        return at_home and not any(user.get(word) for word in outside)

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        us = (await self.identify(token)).login
        said = await threads.context(self._api, token, channel_of(trigger.thread), trigger, us)
        return await self._people.named(said, trigger.request.text, token)

    async def image(self, image: Image, longest: int, token: Secret) -> bytes:
        return await self._api.read(token, image.address, longest)

    async def called(self, account: Account, token: Secret) -> str:
        return await self._people.name(account.id.rpartition(":")[2], token)

    async def owner(self, token: Secret) -> Account:
        found = await self._api.call(token, "auth_test")
        team, user = found.get("team_id"), found.get("user_id")
        if not isinstance(team, str) or not isinstance(user, str):
            raise ProviderError("unavailable", "Slack did not say whose token it is")
        return Account(self.name, f"{team}:{user}", user)

    async def account(self, login: str, token: Secret) -> Account:
        """Return the account of a member's id: `U123`, or `T123:U123`."""
        user = await self._user(login, token)
        team = user.get("team_id") or (await self.identify(token)).id.partition(":")[0]
        return Account(self.name, f"{team}:{user.get('id')}", str(user.get("id")))

    async def _user(self, account: str, token: Secret) -> dict[str, Any]:
        user = account.rpartition(":")[2]
        if not re.fullmatch(r"[A-Za-z0-9]{2,40}", user):
            raise ProviderError("missing", "expected a member's id, such as U123")
        found = table((await self._api.call(token, "users_info", user=user)).get("user"))
        if not found:
            raise ProviderError("unavailable", "Slack told of nobody")
        return found

    async def close(self) -> None:
        await self._api.close()


def channel_of(thread: Thread) -> str:
    """Return the channel of a thread. Raises ProviderError for a thread of another shape."""
    team, _, channel = thread.place.partition("/")
    if not team or not channel:
        raise ProviderError("invalid", f"expected a place such as T123/C456, found {thread.place[:40]!r}")
    return channel


def _time_of(made: Mapping[str, Any]) -> str:
    """Return the time of a message that was made, by which it is known. Raises ProviderError where it is not told."""
    ts = made.get("ts")
    if not isinstance(ts, str) or not ts:
        raise ProviderError("unavailable", "Slack did not say which message it made")
    return ts


def _address(thread: Thread) -> str:
    return webhook.address(thread.place.partition("/")[0], channel_of(thread), thread.item)
