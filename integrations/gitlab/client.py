"""GitLab as an Integration and a Forge: what a worker does there with a token. api.py is the way there."""

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar
from urllib.parse import urlsplit

from msgspec import Struct

from bot.core import standard_webhooks
from bot.core.errors import ConfigError, ProviderError, Refused
from bot.core.inbound import Account, Delivery, Inbound, Message, Repository, Thread, Trigger, Verified
from bot.core.marks import mark, renewed
from bot.core.outbound import Call, OpenChange, React, Receipt, Say, Status
from bot.core.platform import Platform, edited, number_in, web_address
from bot.core.ports import CaughtUp, Proposal, Source, Us
from bot.core.refusals import unless
from bot.core.secret import Secret
from bot.core.standard_webhooks import signing_keys
from integrations.gitlab import code, hooks, missed, notes, replies, webhook
from integrations.gitlab.answers import Member, MergeRequest, Note, User
from integrations.gitlab.api import Api
from integrations.gitlab.code import items_of, path_of
from integrations.gitlab.replies import noted

_HOOKS = {
    "issue": "Issue Hook",
    "work_item": "Work Item Hook",
    "merge_request": "Merge Request Hook",
    "note": "Note Hook",
}
_LONGEST_TITLE = 255
"""Characters that GitLab takes as a title."""
_HERE = ("localhost", "127.0.0.1", "::1")


class GitLab(Platform):
    """GitLab.com or a self-managed GitLab, built as `GitLab(settings, us)`. Raises ConfigError for settings that cannot work."""

    name: ClassVar[str] = "gitlab"
    library = "gitlab"

    class Settings(Struct, frozen=True):
        """The settings under `[gitlab]`, or `ONHAND_GITLAB__...`."""

        signing_token: Secret | None = None
        """The signing token of the webhooks (`whsec_...`), the same as at GitLab; several, comma separated, where webhooks
        have their own. `onhand init gitlab` registers the first."""
        webhook_secret: Secret | None = None
        """The secret token of webhooks that are not signed. Without one of the two there is no endpoint."""
        url: str = "https://gitlab.com"
        """Address of GitLab; the API is at `/api/v4` below it, git at `/group/project.git`."""
        token: Secret | None = None
        """Token of the bot's account with the scope `api`: personal, of a service account, a project or a group."""
        bot_username: str = ""
        """Name of the bot's account: with it assignments, review requests and `@name` count. Leave it empty where the token is
        that of a person who also asks; onhand then knows its own messages by their hidden mark alone."""
        allow: str = ""
        """Paths of the projects and groups to work in, comma separated; default: all that know the webhook's secret."""
        timeout: int = 20
        """Seconds to wait for an answer of the API."""

    def __init__(self, settings: "GitLab.Settings", us: Us) -> None:
        self._signing, self._settings = _tokens(settings.signing_token), settings
        super().__init__(settings, next(iter(self._signing), settings.webhook_secret), settings.token)
        self._web = _web(settings)
        self._api = Api(self._web, settings.timeout)
        login = settings.bot_username.strip().removeprefix("@")
        self._us = webhook.Us(us.handle, us.label, us.public_url, login, _allowed(settings.allow))

    @staticmethod
    async def set_up(settings: "GitLab.Settings", public_url: str, arguments: Sequence[str]) -> list[str]:
        """Register the webhook in projects and groups, named by their paths. Raises ConfigError, ProviderError."""
        if not settings.token:
            raise ConfigError("no token; set ONHAND_GITLAB__TOKEN")
        if urlsplit(public_url).hostname in _HERE and urlsplit(settings.url).hostname not in _HERE:
            raise ConfigError(
                f"ONHAND_PUBLIC_URL: expected the address at which GitLab reaches onhand, found {public_url}"
            )
        api = Api(_web(settings), settings.timeout)
        try:
            signing = next(iter(_tokens(settings.signing_token)), None)
            return await hooks.register(api, settings.token, signing, settings.webhook_secret, public_url, arguments)
        finally:
            api.close()

    # --- what comes in --------------------------------------------------------------------------------------------

    def secrets(self) -> Sequence[Secret]:
        return [*self._signing, *super().secrets()]

    def verify(self, inbound: Inbound, now: float) -> Verified:
        return webhook.verify(inbound, self._signing, self._settings.webhook_secret, now)

    def parse(self, verified: Verified) -> Delivery:
        return webhook.parse(verified, self._us)

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        self.webhook_secret()  # one of the two has to be there
        headers = {
            "content-type": "application/json",
            "user-agent": "GitLab/onhand",
            "x-gitlab-event": _HOOKS.get(event, event.replace("_", " ")),
            "idempotency-key": delivery_id,
        }
        if secret := self._settings.webhook_secret:
            headers["x-gitlab-token"] = secret.reveal()
        if self._signing:
            timestamp = f"{now:.0f}"
            signature = standard_webhooks.signature(signing_keys(self._signing[0])[0], delivery_id, timestamp, body)
            headers |= {"webhook-id": delivery_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
        return headers

    # --- what goes out --------------------------------------------------------------------------------------------

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        return replies.render(trigger, status, topic, self._us.handle)

    def propose(self, proposal: Proposal) -> list[Call]:
        return replies.propose(proposal)

    async def check(self) -> str:
        if not self._token:
            raise ConfigError("no token; set ONHAND_GITLAB__TOKEN, or link people with tokens")
        us = await self.identify(self._token)
        if self._us.login and not self._us.named(us.login):
            raise ConfigError(f"gitlab.bot_username is {self._us.login!r}, and the token is that of {us.login!r}")
        return f"acts as {us.login}"

    async def catch_up(self, since: float) -> CaughtUp:
        token = self._token
        if not token or not self.receives:
            return CaughtUp()
        own_id = (await self.identify(token)).id
        return await missed.read(self._api, token, self._us, own_id, since, time.time())

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        match call:
            case React():
                return await self._react(call, token)
            case Say():
                return await self._say(call, receipt, token)
            case OpenChange():
                return await self._open_change(call, receipt, token)
        raise ProviderError("invalid", f"GitLab has no {type(call).__name__}")

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        match call:
            case Say():
                return await notes.find(self._api, token, self._web, call, await self.identify(token))
            case OpenChange():
                changes = await self._changes(call, "all", token)
                ours = (change for change in changes if mark(call.topic) in (change.description or ""))
                return next(map(_receipt, ours), None)
        return None  # a reaction made twice is one

    async def _react(self, call: React, token: Secret) -> Receipt:
        origin = call.origin
        item = items_of(call.thread.place, call.thread.item)
        target = item if origin.kind in ("issue", "change") else f"{item}/notes/{number_in(origin.id)}"
        try:
            made = await self._api.request(token, "post", f"{target}/award_emoji", Note, body={"name": call.emoji})
        except ProviderError as error:
            if "already been taken" in error.detail:  # GitLab says 404 to a second one
                return Receipt("")
            raise
        return Receipt(str(made.id))

    async def _say(self, call: Say, receipt: Receipt | None, token: Secret) -> Receipt:
        edit = partial(notes.edit, self._api, token, self._web, call)
        there = await edited(receipt, edit, lambda: self.find(call, token))
        return there or await notes.say(self._api, token, self._web, call)

    # --- merge requests -------------------------------------------------------------------------------------------

    async def _open_change(self, call: OpenChange, receipt: Receipt | None, token: Secret) -> Receipt:
        """Open one; where there is one for the branch, that is taken, and renewed where it reads as we wrote it."""
        path = f"{path_of(call.repository.name)}/merge_requests"
        title = _title(call)
        text = {"title": title, "description": noted(title, call.body, call.topic)}
        known = await self._api.get(token, f"{path}/{number_in(receipt.id)}", MergeRequest) if receipt else None
        if known is not None and known.state == "opened":
            return await self._renew(path, known, text, token)
        if known is not None and call.commit and known.sha == call.commit:  # merged or closed with the work in it
            return _receipt(known)
        wanted = {**text, "source_branch": call.head, "target_branch": call.base}
        try:
            return _receipt(await self._api.request(token, "post", path, MergeRequest, body=wanted))
        except ProviderError as error:
            there = next(iter(await self._changes(call, "opened", token)), None) if error.word == "conflict" else None
            if there is None:
                raise
        return await self._renew(path, there, text, token)

    async def _renew(self, path: str, there: MergeRequest, text: dict[str, str], token: Secret) -> Receipt:
        title, body = renewed(text["title"], text["description"], there.title, there.description or "")
        if news := {name: words for name, words in (("title", title), ("description", body)) if words is not None}:
            await self._api.request(token, "put", f"{path}/{there.iid}", MergeRequest, body=news)
        return _receipt(there)

    async def _changes(self, call: OpenChange, state: str, token: Secret) -> list[MergeRequest]:
        query = {"source_branch": call.head, "target_branch": call.base, "state": state, "per_page": 30}
        return await self._api.get(token, f"{path_of(call.repository.name)}/merge_requests", list[MergeRequest], query)

    async def rivals(self, thread: Thread, token: Secret) -> Sequence[str]:
        if thread.item.startswith("!"):
            return ()
        closing = f"{items_of(thread.place, thread.item)}/closed_by"
        us = await self.identify(token)
        changes = await self._api.get(token, closing, list[MergeRequest], {"per_page": 100})
        return [
            change.references.relative or f"!{change.iid}"
            for change in changes
            if change.state == "opened" and not (change.author and str(change.author.id) == us.id)
        ]

    # --- who ------------------------------------------------------------------------------------------------------

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        return True

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        return await notes.before(self._api, token, self._web, trigger)

    async def may_write(self, repository: Repository, account: Account | None, token: Secret) -> bool:
        """Whether both are Developers or more, inherited memberships included; and the person is one, and active."""
        return self._us.works_in(repository.name) and bool(
            await unless(self._may_write(path_of(repository.name), account, token), "missing")
        )

    async def _may_write(self, path: str, account: Account | None, token: Secret) -> bool:
        us = await self.identify(token)
        if not await self._is_developer(path, us.id, token):
            return False
        if account is None:
            return True
        person = await self._api.get(token, f"/users/{number_in(account.id)}", User)
        if person.bot or person.state != "active":
            return False
        return us.id == account.id or await self._is_developer(path, account.id, token)

    async def _is_developer(self, path: str, number: str, token: Secret) -> bool:
        member = await self._api.get(token, f"{path}/members/all/{number_in(number)}", Member)
        return str(member.id) == number and member.writes

    async def owner(self, token: Secret) -> Account:
        return _account(await self._api.get(token, "/user", User))

    async def account(self, login: str, token: Secret) -> Account:
        found = await self._api.get(token, "/users", list[User], {"username": login})
        if not found:
            raise ProviderError("missing", f"GitLab has no user {login!r}")
        return _account(found[0])

    def author(self, account: Account) -> str:
        host = urlsplit(self._web).hostname or "gitlab.com"
        return f"{account.login} <{account.id}-{account.login}@users.noreply.{host}>"

    # --- code -----------------------------------------------------------------------------------------------------

    async def repositories(self, query: str, token: Secret) -> Sequence[Repository]:
        names = (project.path_with_namespace for project in await code.projects(self._api, token, self._us, query))
        return [Repository(self.name, name) for name in names if query.casefold() in name.casefold()]

    def repository_at(self, address: str) -> Repository | None:
        name = code.name_at(self._web, address)
        return Repository(self.name, name) if name else None

    async def source(self, repository: Repository, number: str, token: Secret) -> Source:
        if not self._us.works_in(repository.name):
            raise Refused(
                "not_allowed",
                f"I am not set up to work in {repository.name}. Whoever runs onhand can allow it (ONHAND_GITLAB__ALLOW).",
            )
        return await code.source(self._api, token, self._web, repository, number)

    async def close(self) -> None:
        self._api.close()


def _web(settings: GitLab.Settings) -> str:
    return web_address("gitlab.url", settings.url, "https://gitlab.com").removesuffix("/api/v4")


def _allowed(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().strip("/") for name in text.split(",") if name.strip())
    if wrong := [name for name in names if not webhook.is_project(f"{name}/x")]:
        raise ConfigError(f"gitlab.allow: expected paths of projects or groups, comma separated, found {wrong[0]!r}")
    return names


def _tokens(several: Secret | None) -> list[Secret]:
    return [Secret(token.strip()) for token in (several.reveal() if several else "").split(",") if token.strip()]


def _title(call: OpenChange) -> str:
    return (f"Draft: {call.title}" if call.draft else call.title)[:_LONGEST_TITLE]


def _account(user: User) -> Account:
    return Account(GitLab.name, str(user.id), user.username or "")


def _receipt(change: MergeRequest) -> Receipt:
    return Receipt(str(change.iid), change.web_url)
