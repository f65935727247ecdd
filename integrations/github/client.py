"""GitHub as an Integration and a Forge: what a worker does there with a token. api.py is the way there."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar
from urllib.parse import quote, urlsplit

from msgspec import Struct

from bot.core.errors import ConfigError, ProviderError
from bot.core.inbound import Account, Delivery, Inbound, Message, Repository, Thread, Trigger, Verified
from bot.core.marks import mark, marked
from bot.core.outbound import Call, OpenChange, React, Receipt, Say, SetCheck, Status
from bot.core.platform import Platform, edited, endpoint, number_in, web_address
from bot.core.ports import CaughtUp, Proposal, Source, Us
from bot.core.refusals import unless
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from integrations.github import checks, code, pulls, replies, threads, webhook
from integrations.github.answers import Answer, Check, Repo, Standing
from integrations.github.api import Api
from integrations.github.app import App
from integrations.github.code import path_of
from integrations.github.deliveries import Hooks
from integrations.github.payloads import Comment, Person
from integrations.github.pulls import LONGEST
from integrations.github.register import Registration

_PAGES = 5
"""Pages of 100 comments in which a message of ours is looked for, newest first."""
_UNSEEN = 10.0
"""Seconds for which a message may be missing that nobody has deleted: it was just made, and not all of GitHub knows of it yet."""
_REACTED = {"issue": "issues", "change": "issues", "comment": "issues/comments", "review_comment": "pulls/comments"}
"""Where in the API what can be reacted to is, by the kind of what was said."""
_REPLY = "r"
"""Before the id of a reply to a remark on code, to tell it from a comment on the whole."""


class GitHub(Platform):
    """GitHub.com or GitHub Enterprise Server, built as `GitHub(settings, us)`.

    Raises ConfigError for settings that cannot work.
    """

    name: ClassVar[str] = "github"
    library = "github"

    class Settings(Struct, frozen=True):
        """The settings under `[github]`, or `ONHAND_GITHUB__...`."""

        webhook_secret: Secret | None = None
        """The secret of the webhook, the same as at GitHub. Without one there is no endpoint."""
        api_url: str = "https://api.github.com"
        """Address of the REST API; for GitHub Enterprise Server `https://HOST/api/v3`."""
        web_url: str = "https://github.com"
        """Address of the pages, and of git at `/owner/repo.git` below it."""
        token: Secret | None = None
        """Token of the bot's account, fine-grained or classic. README.md here lists what it must be allowed."""
        app_id: str = ""
        """Number (or client id) of the GitHub App, instead of a token."""
        private_key: Secret | None = None
        """Private key of the GitHub App, as PEM text; line breaks may be written as `\\n`."""
        bot_login: str = ""
        """Login of the bot's account: with it assignments, review requests and `@login` count; a GitHub App's ends in
        `[bot]`. Leave it empty where the token is that of a person who also asks; onhand then knows its own messages by
        their hidden mark alone."""
        client_id: str = ""
        """Of the GitHub App, as `onhand init github` writes it down; nothing needs it yet."""
        client_secret: Secret | None = None
        """Secret that belongs to the client id."""
        timeout: int = 20
        """Seconds to wait for an answer of the API."""

    def __init__(self, settings: "GitHub.Settings", us: Us) -> None:
        super().__init__(settings, settings.webhook_secret, settings.token)
        self._web = web_address("github.web_url", settings.web_url, "https://github.com")
        self._api = Api(web_address("github.api_url", settings.api_url, "https://api.github.com"), settings.timeout)
        self._app = _app(settings, self._api)
        self._missing: dict[str, float] = {}
        """Since when messages are missing, by their ids."""
        login = settings.bot_login.strip().removeprefix("@")
        self._us = webhook.Us(us.handle, us.label, us.public_url, login, settings.app_id.strip())
        self._hooks = Hooks(self._api, endpoint(us.public_url, "github"), time.time)

    @staticmethod
    def registration(settings: "GitHub.Settings") -> Registration:
        """Return how the GitHub App is made at the GitHub of these settings."""
        return Registration(settings.api_url, settings.web_url, settings.timeout)

    # --- what comes in --------------------------------------------------------------------------------------------

    def verify(self, inbound: Inbound, now: float) -> Verified:
        return webhook.verify(inbound, self.webhook_secret())

    def parse(self, verified: Verified) -> Delivery:
        return webhook.parse(verified, self._us)

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "user-agent": "GitHub-Hookshot/onhand",
            "x-github-event": event,
            "x-github-delivery": delivery_id,
            "x-hub-signature-256": f"sha256={hmac_sha256(self.webhook_secret(), body).hex()}",
        }

    # --- what goes out --------------------------------------------------------------------------------------------

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        said = replies.render(trigger, status, topic, self._us.handle)
        return [*said, *checks.render(trigger.thread, status, topic, self._us.handle)] if self._app else said

    def propose(self, proposal: Proposal) -> list[Call]:
        return replies.propose(proposal)

    async def token(self, place: str, use: str = "") -> Secret | None:
        if self._app is None:
            return self._token
        return await self._app.token(path_of(place).removeprefix("/repos/") if place else "", use)

    async def give_back(self, use: str) -> None:
        if self._app is not None:
            await self._app.give_back(use)

    async def renew(self, token: Secret) -> Secret | None:
        return await self._app.renew(token) if self._app else None

    async def check(self) -> str:
        if self._app is not None:
            return await self._app.check()
        if not self._token:
            raise ConfigError(
                "no token; set ONHAND_GITHUB__TOKEN, or __APP_ID and __PRIVATE_KEY, or link people with tokens"
            )
        return f"acts as {(await self.identify(self._token)).login}"

    async def catch_up(self, since: float) -> CaughtUp:
        """Of the App's webhook, or of the repositories' own where the token may see them."""
        if self.receives and self._app is not None:
            return CaughtUp(sent_again=await self._app.send_again(since))
        if self.receives and self._token:
            return CaughtUp(sent_again=await self._hooks.send_again(self._token, since))
        return CaughtUp()

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        match call:
            case React():
                return await self._react(call, token)
            case Say():
                return await self._say(call, receipt, token)
            case OpenChange():
                return await pulls.propose(self._api, token, call, receipt)
            case SetCheck():
                return await self._set_check(call, receipt, token)
        raise ProviderError("invalid", f"GitHub has no {type(call).__name__}")

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        match call:
            case Say():
                return await self._find_message(call, token)
            case OpenChange():
                return await pulls.find(self._api, token, call)
            case SetCheck():
                return await self._find_check(call, token)
        return None  # a reaction made twice is one

    async def _react(self, call: React, token: Secret) -> Receipt:
        if call.origin.kind not in _REACTED:
            return Receipt("")  # GitHub has no reactions to the text of a review
        path = f"{path_of(call.thread.place)}/{_REACTED[call.origin.kind]}/{call.origin.id}/reactions"
        return Receipt((await self._write(token, "POST", path, {"content": call.emoji})).id)

    async def _say(self, call: Say, receipt: Receipt | None, token: Secret) -> Receipt:
        place, number = path_of(call.thread.place), number_in(call.thread.item)
        body = {"body": marked(call.text, call.topic, LONGEST)}
        edit = partial(self._edit, token, call, body)
        # what is found may also have moved to another repository with its issue
        if there := await edited(receipt, edit, lambda: self._find_message(call, token)):
            return there
        if receipt:
            self._wait_for(receipt)
        if call.beneath:  # else somebody has deleted it, and it is said anew
            above = f"{place}/pulls/{number}/comments/{number_in(call.beneath)}/replies"
            if said := await unless(self._write(token, "POST", above, body, _REPLY), "missing", "invalid"):
                return said  # else the remark is gone, and the answer goes below the whole
        return await self._write(token, "POST", f"{place}/issues/{number}/comments", body)

    def _wait_for(self, said: Receipt) -> None:
        """Raise ProviderError for a message that is missing only since a moment: whether made here or elsewhere."""
        now = time.monotonic()
        self._missing = {known: since for known, since in self._missing.items() if now - since < 2 * _UNSEEN}
        rest = self._missing.setdefault(said.id, now) + _UNSEEN - now
        if rest > 0:
            raise ProviderError("unavailable", f"message {said.id} cannot be seen, perhaps not yet", retry_after=rest)

    async def _edit(self, token: Secret, call: Say, body: dict[str, str], receipt: Receipt) -> Receipt:
        kind, prefix = ("pulls", _REPLY) if receipt.id.startswith(_REPLY) else ("issues", "")
        place = path_of(code.name_at(self._web, receipt.url) or call.thread.place)
        path = f"{place}/{kind}/comments/{number_in(receipt.id.removeprefix(_REPLY))}"
        return await self._write(token, "PATCH", path, body, prefix)

    async def _write(self, token: Secret, verb: str, path: str, body: dict[str, str], prefix: str = "") -> Receipt:
        return _receipt((await self._api.request(token, verb, path, body=body)).read(Comment), prefix)

    async def _find_message(self, call: Say, token: Secret) -> Receipt | None:
        """Look for our message among the newest ones. One that somebody else has put our mark on is not ours."""
        us = await self.identify(token)
        place, number = path_of(call.thread.place), number_in(call.thread.item)
        for kind, prefix in ([("pulls", _REPLY)] if call.beneath else []) + [("issues", "")]:
            async for comment in self._api.newest(token, f"{place}/{kind}/{number}/comments", Comment, _PAGES):
                if mark(call.topic) in (comment.body or "") and comment.user and str(comment.user.id) == us.id:
                    return _receipt(comment, prefix)
        return None

    # --- checks ---------------------------------------------------------------------------------------------------

    async def _set_check(self, call: SetCheck, receipt: Receipt | None, token: Secret) -> Receipt:
        """Show the check where the token may; elsewhere it is left out, and the receipt is empty."""
        if receipt and call.ending is None:
            return receipt  # that it goes on is shown already: GitHub wants few writes
        path, body = f"{path_of(call.thread.place)}/check-runs", checks.body(call, self._us.handle)
        if not self._may_check(token):
            return Receipt("")
        if receipt and receipt.id:
            shown = self._api.request(token, "PATCH", f"{path}/{number_in(receipt.id)}", body=body)
        else:
            shown = self._api.request(token, "POST", path, body={**body, "head_sha": call.commit})
        made = await unless(shown, "forbidden", "missing")
        return _receipt(made.read(Check)) if made else Receipt("")

    async def _find_check(self, call: SetCheck, token: Secret) -> Receipt | None:
        if not self._may_check(token):
            return None
        path = f"{path_of(call.thread.place)}/commits/{quote(call.commit, safe='')}/check-runs"
        query = {"check_name": checks.name(self._us.handle), "filter": "all", "per_page": 100}
        there = (await self._api.get(token, path, query)).read(list[Check], "check_runs")
        wanted = checks.external_id(call)
        ours = (check for check in there if check.external_id == wanted and self._us.made(check.app))
        return next(map(_receipt, ours), None)

    def _may_check(self, token: Secret) -> bool:
        """Whether the token may make check runs, which only an App's may."""
        minted = self._app.minted(token) if self._app else None
        return minted is not None and minted.permissions.get("checks") == "write"

    # --- who ------------------------------------------------------------------------------------------------------

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        return True

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        return await threads.before(self._api, token, trigger)

    async def may_write(self, repository: Repository, account: Account | None, token: Secret) -> bool:
        return bool(await unless(self._may_write(repository.name, account, token), "missing"))

    async def _may_write(self, name: str, account: Account | None, token: Secret) -> bool:
        place = path_of(name)
        paths = [place, *([f"{place}/collaborators/{quote(account.login, safe='')}/permission"] if account else [])]
        told = await asyncio.gather(*(self._api.get(token, path) for path in paths), return_exceptions=True)
        repo = _given(told[0]).read(Repo)
        if not self._may_push(name, repo, token):
            return False
        if account is None:
            return True
        if repo.owner and repo.owner.type == "User" and str(repo.owner.id) == account.id:
            return True  # a personal repository's owner has every right in it
        standing = _given(told[1]).read(Standing)
        same_person = standing.user is not None and str(standing.user.id) == account.id  # logins change hands
        return same_person and standing.writes

    def _may_push(self, name: str, repo: Repo, token: Secret) -> bool:
        """Whether the token may. Raises ProviderError where GitHub was asked with one and does not say it."""
        if self._app and (minted := self._app.minted(token)):
            return minted.may_push(name)
        if token and repo.permissions is None:
            raise ProviderError("unavailable", f"GitHub's answer does not say what the token may do in {name}")
        return repo.permissions is not None and repo.permissions.push

    async def identify(self, token: Secret) -> Account:
        app = self._app if self._app and self._app.minted(token) else None
        return await app.bot(token) if app else await super().identify(token)

    async def owner(self, token: Secret) -> Account:
        return _account((await self._api.get(token, "/user")).read(Person))

    async def account(self, login: str, token: Secret) -> Account:
        return _account((await self._api.get(token, f"/users/{quote(login, safe='')}")).read(Person))

    def author(self, account: Account) -> str:
        host = urlsplit(self._web).hostname or "github.com"
        return f"{account.login} <{account.id}+{account.login}@users.noreply.{host}>"

    # --- code -----------------------------------------------------------------------------------------------------

    async def rivals(self, thread: Thread, token: Secret) -> Sequence[str]:
        return await threads.rivals(self._api, token, thread, await self.identify(token))

    async def repositories(self, query: str, token: Secret) -> Sequence[Repository]:
        if self._app and self._app.minted(token):
            mine = await self._app.repositories()
        else:
            repos = (await self._api.get(token, "/user/repos", {"per_page": 100, "sort": "pushed"})).read(list[Repo])
            mine = [repo for repo in repos if repo.permissions is None or repo.permissions.push]
        return [Repository(self.name, repo.full_name) for repo in mine if query.casefold() in repo.full_name.casefold()]

    def repository_at(self, address: str) -> Repository | None:
        name = code.name_at(self._web, address)
        return Repository(self.name, name) if name else None

    async def source(self, repository: Repository, number: str, token: Secret) -> Source:
        return await code.source(self._api, token, self._web, repository, number)

    async def template(self, repository: Repository, token: Secret) -> str:
        return await code.template(self._api, token, repository)

    async def close(self) -> None:
        if self._app is not None:
            await self._app.close()
        self._api.close()


def _given(answer: Answer | BaseException) -> Answer:
    """Return an answer, or raise what came in its place."""
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _app(settings: GitHub.Settings, api: Api) -> App | None:
    if not settings.app_id and not settings.private_key:
        return None
    if settings.token:
        raise ConfigError("github.token and github.app_id are both set; onhand acts as one of them: remove the other")
    if not settings.app_id or not settings.private_key:
        raise ConfigError("github.app_id and github.private_key belong together; set both, or a token instead")
    return App(api, settings.app_id, settings.private_key, time.time)


def _account(person: Person) -> Account:
    return Account(GitHub.name, str(person.id), person.login)


def _receipt(made: Comment | Check, prefix: str = "") -> Receipt:
    return Receipt(f"{prefix}{made.id}", made.html_url or "")
