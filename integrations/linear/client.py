"""Linear as an Integration: what a worker does there with a token. api.py is the way there."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from bot.core.deliveries import moment
from bot.core.errors import ConfigError, ProviderError
from bot.core.inbound import Account, Delivery, Inbound, Message, Thread, Trigger, Verified
from bot.core.outbound import Call, React, Receipt, Say, Status
from bot.core.platform import Platform, endpoint, web_address
from bot.core.ports import CaughtUp, Us
from bot.core.refusals import courtesy, read, unless
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from bot.core.untrusted import clean
from integrations.linear import answers, documents, replies, set_up, sweep, webhook
from integrations.linear.answers import Made
from integrations.linear.api import Api
from integrations.linear.payloads import Comment
from integrations.linear.replies import Activity, Begin, Board, own_id
from integrations.linear.tokens import AppToken
from integrations.linear.webhook import OWN_IDS, SESSION

_DONE = ("started", "completed", "canceled")
"""Types of states in which an issue is left as it is."""
_HOSTS = {"github": "github.com", "gitlab": "gitlab.com"}


class Linear(Platform):
    """Linear, built as `Linear(settings, us)`. Raises ConfigError for settings that cannot work."""

    name: ClassVar[str] = "linear"

    class Settings(Struct, frozen=True):
        """The settings under `[linear]`, or `ONHAND_LINEAR__...`."""

        webhook_secret: Secret | None = None
        """The signing secret of the webhook. Without one there is no endpoint."""
        token: Secret | None = None
        """A person's API key, or a token of the app that somebody else renews. README.md here lists what it must be allowed."""
        client_id: str = ""
        """Of the OAuth application, instead of a token: with its secret onhand asks for tokens by itself."""
        client_secret: Secret | None = None
        """Secret of the OAuth application."""
        app_user_id: str = ""
        """Id of the app's user in the workspace, where agents are used; `onhand doctor` shows it."""
        api_url: str = "https://api.linear.app/graphql"
        """Address of the GraphQL API."""
        timeout: float = 8.0
        """Seconds to wait for an answer of the API; people see a session as unresponsive after 10."""

    def __init__(self, settings: "Linear.Settings", us: Us) -> None:
        super().__init__(settings, settings.webhook_secret, settings.token)
        url = web_address("linear.api_url", settings.api_url, "https://api.linear.app/graphql")
        self._app = _app(settings)
        self._api = Api(url, settings.timeout, self._app.get if self._app else None)
        self._us = webhook.Us(us.handle, us.label, app_user_id=settings.app_user_id.strip())

    @staticmethod
    async def set_up(settings: "Linear.Settings", public_url: str, arguments: Sequence[str]) -> list[str]:
        """See `bot.core.ports.Registration`. It takes no arguments."""
        address = endpoint(public_url, "linear")
        linear = Linear(settings, Us(public_url=public_url))
        try:
            token = await linear.token("")
            if not token:
                return set_up.by_hand(address)
            return await set_up.with_token(linear._api, token, address, settings.webhook_secret)
        finally:
            await linear.close()

    # --- what comes in --------------------------------------------------------------------------------------------

    def verify(self, inbound: Inbound, now: float) -> Verified:
        return webhook.verify(inbound, self.webhook_secret(), now)

    def parse(self, verified: Verified) -> Delivery:
        return webhook.parse(verified, self._us)

    def dated(self, body: bytes, now: float) -> bytes:
        return webhook.dated(body, now)

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        return {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Linear-Webhook",
            "linear-delivery": delivery_id,
            "linear-event": event,
            "linear-signature": hmac_sha256(self.webhook_secret(), body).hex(),
        }

    # --- what goes out --------------------------------------------------------------------------------------------

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        return replies.render(trigger, status, topic, self._us.handle)

    async def token(self, place: str, use: str = "") -> Secret | None:
        return await self._app.get() if self._app else self._token

    async def check(self) -> str:
        token = await self.token("")
        if not token:
            raise ConfigError("no token; set ONHAND_LINEAR__CLIENT_ID and __CLIENT_SECRET, or __TOKEN")
        us = await self.identify(token)
        if self._us.app_user_id and self._us.app_user_id != us.id:
            raise ConfigError(
                f"linear.app_user_id is {self._us.app_user_id}, and the token acts as {us.login}, {us.id}"
            )
        return f"acts as {us.login}, whose id is {us.id}"

    async def catch_up(self, since: float) -> CaughtUp:
        token = await self.token("") if self.receives else None
        if not token:
            return CaughtUp()
        return await sweep.missed(self._api, token, since, self._us)

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        if isinstance(call, Say | React):
            return await self._answer(call, receipt, token)
        if receipt is not None and (isinstance(call, Begin) or receipt.id == getattr(call, "id", "")):
            return receipt  # done already, or nothing new to say
        match call:
            case Activity():
                return await self._say_in_session(call, token)
            case Board():
                await courtesy(self._send(token, documents.UPDATE_SESSION, call.update))
                return Receipt(call.id)
            case Begin():
                await courtesy(self._begin(call, token))
                return Receipt(call.topic)
        raise ProviderError("invalid", f"Linear has no {type(call).__name__}")

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        match call:
            case Activity():
                return await self._look(token, documents.ACTIVITY, call.id)
            case Say() if call.beneath.startswith(SESSION):
                return await self._look(token, documents.ACTIVITY, replies.said(call).id)
            case Say():
                return await self._look(token, documents.COMMENT, _comment_id(call))
        return None  # the others made twice are one

    async def _answer(self, call: Say | React, receipt: Receipt | None, token: Secret) -> Receipt:
        """Say in the session or by a comment, whichever it was asked in."""
        beneath = call.beneath if isinstance(call, Say) else call.origin.thread_id
        if not beneath.startswith(SESSION):
            return await (self._comment(call, receipt, token) if isinstance(call, Say) else self._react(call, token))
        if isinstance(call, Say):
            activity = replies.said(call)
        else:
            activity = replies.seen(call.topic, call.thread, beneath.removeprefix(SESSION))
        return await self.perform(activity, receipt, token)

    async def _say_in_session(self, call: Activity, token: Secret) -> Receipt:
        if call.choices:
            call = msgspec.structs.replace(call, choices=await self._ranked(call, token))
        return await self._create(
            lambda: self._send(token, documents.SAY_IN_SESSION, {"input": call.input}),
            lambda: self._look(token, documents.ACTIVITY, call.id),
        )

    async def _comment(self, call: Say, receipt: Receipt | None, token: Secret) -> Receipt:
        if receipt is not None:
            new = {"id": receipt.id, "input": {"body": call.text}}
            if edited := await unless(self._send(token, documents.UPDATE_COMMENT, new), "missing"):
                return edited  # else somebody has deleted it, and it is said anew
        made = {"id": _comment_id(call, receipt), "issueId": call.thread.item, "body": call.text}
        if call.beneath:
            beneath = self._create_comment({**made, "parentId": call.beneath}, token)
            if said := await unless(beneath, "missing"):
                return said  # else the comment above is gone, and the answer goes below the issue
        return await self._create_comment(made, token)

    async def _create_comment(self, made: Mapping[str, str], token: Secret) -> Receipt:
        return await self._create(
            lambda: self._send(token, documents.CREATE_COMMENT, {"input": made}),
            lambda: self._look(token, documents.COMMENT, made["id"]),
        )

    async def _create(
        self, send: Callable[[], Awaitable[Receipt]], look: Callable[[], Awaitable[Receipt | None]]
    ) -> Receipt:
        """Create something under an id of our own. One that is there already, of an earlier try, is as good."""
        try:
            return await send()
        except ProviderError as error:
            if error.word in ("invalid", "conflict", "unavailable"):
                with suppress(ProviderError):
                    if there := await look():
                        return there
            raise

    async def _react(self, call: React, token: Secret) -> Receipt:
        target = "commentId" if call.origin.kind == "comment" else "issueId"
        made = {"id": own_id(call.topic, call.origin.id), "emoji": call.emoji, target: call.origin.id}
        return await self._send(token, documents.REACT, {"input": made})

    async def _begin(self, call: Begin, token: Secret) -> None:
        issue = await self._api.ask(token, documents.ISSUE, {"id": call.thread.item}, answers.Issue)
        states = sorted(issue.team.states.nodes, key=lambda state: state.position)
        wanted: dict[str, str] = {}
        if states and issue.state.type not in _DONE:
            wanted["stateId"] = states[0].id
        if call.delegate and issue.delegate is None and self._us.app_user_id:
            wanted["delegateId"] = self._us.app_user_id
        if wanted:
            await self._send(token, documents.UPDATE_ISSUE, {"id": issue.id, "input": wanted})

    async def _ranked(self, call: Activity, token: Secret) -> tuple[str, ...]:
        """Return the choices as Linear ranks them for the issue, best first; as they are, where it has no opinion."""
        named = [choice.partition(":") for choice in call.choices]
        candidates = [
            {"hostname": _HOSTS.get(service, service), "repositoryFullName": name} for service, _, name in named
        ]
        asked = {"issue": call.thread.item, "session": call.session, "candidates": candidates}
        try:
            found = await self._api.ask(token, documents.SUGGESTIONS, asked, list[answers.Suggestion], "suggestions")
        except ProviderError:
            return call.choices  # a courtesy
        ranks = {s.repositoryFullName.casefold(): s.confidence for s in found}
        return tuple(sorted(call.choices, key=lambda c: -ranks.get(c.partition(":")[2].casefold(), 0.0)))

    async def _send(self, token: Secret, document: str, variables: Mapping[str, Any]) -> Receipt:
        """Change something; return it. Raises ProviderError, also where Linear says no without an error."""
        payload = await self._api.ask(token, document, variables, dict[str, msgspec.Raw])
        if bytes(payload.pop("success", b"false")) != b"true":
            raise ProviderError("invalid", f"Linear did not do {document.split('(', maxsplit=1)[0]}")
        made = read(next(iter(payload.values()), b"{}"), Made, "Linear")
        return Receipt(made.id, made.url or "")

    async def _look(self, token: Secret, document: str, made: str) -> Receipt | None:
        found = await unless(self._api.ask(token, document, {"id": made}, Made), "missing", "invalid")
        return Receipt(found.id, found.url or "") if found else None

    # --- who, and what was said -----------------------------------------------------------------------------------

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        """Members of the workspace may; guests, apps, people of connected channels and those who left may not."""
        user = await unless(self._api.ask(token, documents.USER, {"id": account.id}, answers.User), "missing")
        return user is not None and user.active and not user.app and not user.guest

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        """The comments on the issue. What Linear sends along with a session has them already."""
        if trigger.body.startswith("<issue ") or trigger.thread.place == webhook.NO_ISSUE:
            return ()
        said = await self._api.ask(
            token, documents.SAID, {"id": trigger.thread.item}, list[Comment], "comments", "nodes"
        )
        comments = [c for c in said if self._tells(c, trigger)]
        comments.sort(key=lambda comment: moment(comment.createdAt), reverse=True)
        return [_message(comment) for comment in comments]

    def _tells(self, comment: Comment, trigger: Trigger) -> bool:
        """Whether a comment says something that neither the request says nor we have said."""
        ours = comment.id.endswith(OWN_IDS) or (comment.user is not None and comment.user.id == self._us.app_user_id)
        said = (comment.body or "").strip()
        return not ours and comment.id != trigger.origin.id and said not in ("", trigger.request.text)

    async def owner(self, token: Secret) -> Account:
        return _account(await self._api.ask(token, documents.VIEWER, {}, answers.User))

    async def account(self, login: str, token: Secret) -> Account:
        found = await self._api.ask(token, documents.USERS, {"login": login}, list[answers.User], "nodes")
        if len(found) != 1:
            raise ProviderError("missing", f"expected one user of Linear named {login}, found {len(found) or 'none'}")
        return _account(found[0])

    async def close(self) -> None:
        await self._api.close()


def _app(settings: Linear.Settings) -> AppToken | None:
    if not settings.client_id and not settings.client_secret:
        return None
    if settings.token:
        raise ConfigError(
            "linear.token and linear.client_id are both set; onhand acts with one of them: remove the other"
        )
    if not settings.client_id or not settings.client_secret:
        raise ConfigError("linear.client_id and linear.client_secret belong together; set both, or a token instead")
    return AppToken(settings.api_url, settings.client_id, settings.client_secret, settings.timeout, time.time)


def _comment_id(call: Say, deleted: Receipt | None = None) -> str:
    return own_id(call.topic, call.thread.key, call.beneath, deleted.id if deleted else "")


def _message(comment: Comment) -> Message:
    author = (comment.user.name if comment.user else None) or "Linear"
    return Message(author, clean(comment.body or ""), moment(comment.createdAt), comment.url or "")


def _account(user: answers.User) -> Account:
    return Account(Linear.name, user.id, user.displayName or user.name)
