"""GitHub as an Integration and a Forge: what a worker does there with a token. api.py is the way there."""

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar
from urllib.parse import quote, urlsplit

from msgspec import Struct

from bot.core.errors import ConfigError, ProviderError, Rejected
from bot.core.inbound import Account, Delivery, Inbound, Message, Repository, Thread, Trigger, Verified
from bot.core.marks import carries_mark, mark, marked
from bot.core.outbound import Call, OpenChange, React, Receipt, Say, SetCheck, Status
from bot.core.ports import CaughtUp, Proposal, Source, Us
from bot.core.remembered import Remembered
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from integrations.github import checks, code, replies, rivals, talk, webhook
from integrations.github.answers import Check, Checks, Installed, Pull, Remark, Repo, Standing
from integrations.github.api import Api
from integrations.github.app import App
from integrations.github.code import number_in as _number
from integrations.github.code import path_of as _repo
from integrations.github.deliveries import Hooks
from integrations.github.payloads import Person
from integrations.github.register import Registration

_LONGEST = 65_536
"""Characters that GitHub takes as the body of a comment, an issue or a pull request."""
_PAGES = 5
"""Pages of 100 comments in which a message of ours is looked for, newest first."""
_REPLY = "r"
"""Before the id of a reply to a remark on code, to tell it from a comment on the whole."""


class GitHub:
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
        """Of the GitHub App or OAuth app with which people connect their accounts."""
        client_secret: Secret | None = None
        """Secret of that app."""
        timeout: int = 20
        """Seconds to wait for an answer of the API."""

    def __init__(self, settings: "GitHub.Settings", us: Us) -> None:
        self._settings = settings
        self._web = _address("github.web_url", settings.web_url)
        self._api = Api(_address("github.api_url", settings.api_url), settings.timeout)
        self._app = _app(settings, self._api)
        self._us = webhook.Us(
            us.handle, us.label, settings.bot_login.strip().removeprefix("@"), settings.app_id.strip()
        )
        self._hooks = Hooks(self._api, f"{us.public_url}/api/integration/github/events", time.time)
        self._owners = Remembered[Secret, Account]()

    @staticmethod
    def registration(settings: "GitHub.Settings") -> Registration:
        """Return how the GitHub App is made at the GitHub of these settings."""
        return Registration(settings.api_url, settings.web_url, settings.timeout)

    # --- what comes in --------------------------------------------------------------------------------------------

    def secrets(self) -> Sequence[Secret]:
        s = self._settings
        return [secret for secret in (s.webhook_secret, s.token, s.private_key, s.client_secret) if secret]

    @property
    def receives(self) -> bool:
        return bool(self._settings.webhook_secret)

    def verify(self, inbound: Inbound, now: float) -> Verified:
        return webhook.verify(inbound, self._webhook_secret(), now)

    def parse(self, verified: Verified) -> Delivery:
        return webhook.parse(verified, self._us)

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "user-agent": "GitHub-Hookshot/onhand",
            "x-github-event": event,
            "x-github-delivery": delivery_id,
            "x-hub-signature-256": f"sha256={hmac_sha256(self._webhook_secret(), body).hex()}",
        }

    def _webhook_secret(self) -> Secret:
        if not self._settings.webhook_secret:
            raise Rejected("not_configured", "there is no webhook secret for GitHub", 404)
        return self._settings.webhook_secret

    # --- what goes out --------------------------------------------------------------------------------------------

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        said = replies.render(trigger, status, topic, self._us.handle)
        return [*said, *checks.render(trigger.thread, status, topic, self._us.handle)] if self._app else said

    def propose(self, proposal: Proposal) -> list[Call]:
        return replies.propose(proposal)

    async def token(self, place: str, use: str = "") -> Secret | None:
        if self._app is None:
            return self._settings.token or None
        return await self._app.token(_repo(place).removeprefix("/repos/") if place else "", use)

    async def give_back(self, use: str) -> None:
        if self._app is not None:
            await self._app.give_back(use)

    async def check(self) -> str:
        if self._app is not None:
            return await self._app.check()
        if not self._settings.token:
            raise ConfigError(
                "no token; set ONHAND_GITHUB__TOKEN, or __APP_ID and __PRIVATE_KEY, or link people with tokens"
            )
        return f"acts as {(await self.identify(self._settings.token)).login}"

    async def catch_up(self, since: float) -> CaughtUp:
        """Of the App's webhook, or of the repositories' own where the token may see them."""
        if not self.receives:
            return CaughtUp()
        if self._app is not None:
            return CaughtUp(sent_again=await self._app.send_again(since))
        token = self._settings.token
        return CaughtUp(sent_again=await self._hooks.send_again(token, since) if token else 0)

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        match call:
            case React():
                return await self._react(call, token)
            case Say():
                return await self._say(call, receipt, token)
            case OpenChange():
                return await self._open_change(call, receipt, token)
            case SetCheck():
                return await self._set_check(call, receipt, token)
        raise ProviderError("invalid", f"GitHub has no {type(call).__name__}")

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        match call:
            case Say():
                return await self._find_message(call, token)
            case OpenChange():
                return await self._find_change(call, token)
            case SetCheck():
                return await self._find_check(call, token)
        return None  # a reaction made twice is one

    async def _react(self, call: React, token: Secret) -> Receipt:
        origin = call.origin
        target = {
            "issue": f"issues/{origin.id}",
            "change": f"issues/{origin.id}",
            "comment": f"issues/comments/{origin.id}",
            "review_comment": f"pulls/comments/{origin.id}",
        }.get(origin.kind)
        if target is None:
            return Receipt("")  # GitHub has no reactions to the text of a review
        path = f"{_repo(call.thread.place)}/{target}/reactions"
        made = await self._api.request(token, "POST", path, body={"content": call.emoji})
        return Receipt(str(made.read(Remark).id))

    async def _say(self, call: Say, receipt: Receipt | None, token: Secret) -> Receipt:
        body = {"body": marked(call.text, call.topic, _LONGEST)}
        if receipt is not None:
            try:
                return await self._edit(call, receipt, body, token)
            except ProviderError as error:
                if error.word != "missing":
                    raise  # else somebody has deleted it, and it is said anew
        item = f"{_repo(call.thread.place)}/issues/{_number(call.thread.item)}/comments"
        if not call.beneath:
            return _receipt(await self._post(token, item, body))
        above = f"{_repo(call.thread.place)}/pulls/{_number(call.thread.item)}/comments/{_number(call.beneath)}/replies"
        try:
            return _receipt(await self._post(token, above, body), _REPLY)
        except ProviderError as error:
            if error.word not in ("missing", "invalid"):
                raise  # else the remark is gone, and the answer goes below the whole
        return _receipt(await self._post(token, item, body))

    async def _edit(self, call: Say, receipt: Receipt, body: dict[str, str], token: Secret) -> Receipt:
        kind = "pulls" if receipt.id.startswith(_REPLY) else "issues"
        path = f"{_repo(call.thread.place)}/{kind}/comments/{_number(receipt.id.removeprefix(_REPLY))}"
        edited = await self._api.request(token, "PATCH", path, body=body)
        return _receipt(edited.read(Remark), _REPLY if kind == "pulls" else "")

    async def _post(self, token: Secret, path: str, body: dict[str, str]) -> Remark:
        return (await self._api.request(token, "POST", path, body=body)).read(Remark)

    async def _find_message(self, call: Say, token: Secret) -> Receipt | None:
        """Look for our message among the newest ones. One that somebody else has put our mark on is not ours."""
        us = await self.identify(token)
        place, number = _repo(call.thread.place), _number(call.thread.item)
        if call.beneath and (found := await self._search(token, f"{place}/pulls/{number}/comments", call.topic, us)):
            return _receipt(found, _REPLY)
        found = await self._search(token, f"{place}/issues/{number}/comments", call.topic, us)
        return _receipt(found) if found else None

    async def _search(self, token: Secret, path: str, topic: str, us: Account) -> Remark | None:
        """Return the last message of this topic. The list comes oldest first, so its last pages are read."""
        first = await self._api.get(token, path, {"per_page": 100})
        for page in range(first.last_page, max(0, first.last_page - _PAGES), -1):
            answer = first if page == 1 else await self._api.get(token, path, {"per_page": 100, "page": page})
            for remark in reversed(answer.read(list[Remark])):
                if mark(topic) in (remark.body or "") and remark.user and str(remark.user.id) == us.id:
                    return remark
        return None

    async def _open_change(self, call: OpenChange, receipt: Receipt | None, token: Secret) -> Receipt:
        path = f"{_repo(call.repository.name)}/pulls"
        text = {"title": call.title, "body": marked(call.body, call.topic, _LONGEST)}
        if receipt is not None and await self._is_open(path, receipt.id, token):
            return await self._edit_change(path, receipt.id, text, token)
        wanted = {**text, "head": call.head, "base": call.base, "draft": call.draft}
        try:
            made = await self._api.request(token, "POST", path, body=wanted)
        except ProviderError as error:
            if error.word != "invalid":
                raise
            if call.draft and "draft" in error.detail.lower():  # private repositories of free plans have no drafts
                made = await self._api.request(token, "POST", path, body={**wanted, "draft": False})
            else:
                return await self._take_over(call, path, text, token, error)
        return _receipt_of_pull(made.read(Pull))

    async def _take_over(
        self, call: OpenChange, path: str, text: dict[str, str], token: Secret, error: ProviderError
    ) -> Receipt:
        """Return the open pull request that stood in the way of a new one; its text is renewed if it is ours."""
        there = next(iter(await self._pulls(call, path, "open", token)), None)
        if there is None:
            raise error
        if carries_mark(there.body or ""):
            return await self._edit_change(path, str(there.number), text, token)
        return _receipt_of_pull(there)

    async def _is_open(self, path: str, number: str, token: Secret) -> bool:
        """Whether a pull request still takes commits; one that was merged or closed is left as it is, and a new one opened."""
        found = await self._api.get(token, f"{path}/{_number(number)}")
        return found.read(Pull).state == "open"

    async def _edit_change(self, path: str, number: str, text: dict[str, str], token: Secret) -> Receipt:
        edited = await self._api.request(token, "PATCH", f"{path}/{_number(number)}", body=text)
        return _receipt_of_pull(edited.read(Pull))

    async def _find_change(self, call: OpenChange, token: Secret) -> Receipt | None:
        pulls = await self._pulls(call, f"{_repo(call.repository.name)}/pulls", "all", token)
        ours = (pull for pull in pulls if mark(call.topic) in (pull.body or ""))
        return next((_receipt_of_pull(pull) for pull in ours), None)

    async def _pulls(self, call: OpenChange, path: str, state: str, token: Secret) -> list[Pull]:
        owner = call.repository.name.partition("/")[0]
        query = {"head": f"{owner}:{call.head}", "base": call.base, "state": state, "per_page": 30}
        return (await self._api.get(token, path, query)).read(list[Pull])

    async def _set_check(self, call: SetCheck, receipt: Receipt | None, token: Secret) -> Receipt:
        """Show the check where the token may; elsewhere it is left out, and the receipt is empty."""
        if receipt and call.ending is None:
            return receipt  # that it goes on is shown already: GitHub wants few writes
        path, body = f"{_repo(call.thread.place)}/check-runs", checks.body(call, self._us.handle)
        try:
            if not self._may_check(token):
                return Receipt("")
            if receipt and receipt.id:
                made = await self._api.request(token, "PATCH", f"{path}/{_number(receipt.id)}", body=body)
            else:
                made = await self._api.request(token, "POST", path, body={**body, "head_sha": call.commit})
        except ProviderError as error:
            if error.word not in ("forbidden", "missing"):
                raise
            return Receipt("")
        shown = made.read(Check)
        return Receipt(str(shown.id), shown.html_url or "")

    async def _find_check(self, call: SetCheck, token: Secret) -> Receipt | None:
        if not self._may_check(token):
            return None
        path = f"{_repo(call.thread.place)}/commits/{quote(call.commit, safe='')}/check-runs"
        query = {"check_name": checks.name(self._us.handle), "filter": "all", "per_page": 100}
        there = (await self._api.get(token, path, query)).read(Checks).check_runs
        wanted = checks.external_id(call)
        ours = (check for check in there if check.external_id == wanted and self._us.made(check.app))
        return next((Receipt(str(check.id), check.html_url or "") for check in ours), None)

    def _may_check(self, token: Secret) -> bool:
        """Whether the token may make check runs, which only an App's may."""
        minted = self._app.minted(token) if self._app else None
        return minted is not None and minted.permissions.get("checks") == "write"

    # --- who ------------------------------------------------------------------------------------------------------

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        return True

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        return await talk.before(partial(self._api.get, token), trigger)

    async def may_write(self, repository: Repository, account: Account | None, token: Secret) -> bool:
        place = _repo(repository.name)
        try:
            repo = (await self._api.get(token, place)).read(Repo)
            minted = self._app and self._app.minted(token)
            if not (minted.may_push(repository.name) if minted else repo.permissions and repo.permissions.push):
                return False
            if account is None:
                return True
            if repo.owner and repo.owner.type == "User" and str(repo.owner.id) == account.id:
                return True  # a personal repository's owner has every right in it
            path = f"{place}/collaborators/{quote(account.login, safe='')}/permission"
            standing = (await self._api.get(token, path)).read(Standing)
        except ProviderError as error:
            if error.word == "missing":
                return False
            raise
        same_person = standing.user is not None and str(standing.user.id) == account.id  # logins change hands
        return same_person and standing.writes

    async def identify(self, token: Secret) -> Account:
        if self._app is not None and self._app.minted(token):
            return await self._app.bot(token)
        return await self._owners.get(token, lambda: self._owner(token))

    async def _owner(self, token: Secret) -> Account:
        return _account((await self._api.get(token, "/user")).read(Person))

    async def account(self, login: str, token: Secret) -> Account:
        return _account((await self._api.get(token, f"/users/{quote(login, safe='')}")).read(Person))

    def author(self, account: Account) -> str:
        host = urlsplit(self._web).hostname or "github.com"
        return f"{account.login} <{account.id}+{account.login}@users.noreply.{host}>"

    # --- code -----------------------------------------------------------------------------------------------------

    async def repositories(self, query: str, token: Secret) -> Sequence[Repository]:
        if self._app and self._app.minted(token):
            installed = await self._api.get(token, "/installation/repositories", {"per_page": 100})
            repos = installed.read(Installed).repositories
        else:
            repos = (await self._api.get(token, "/user/repos", {"per_page": 100, "sort": "pushed"})).read(list[Repo])
        mine = (repo for repo in repos if repo.permissions is None or repo.permissions.push)
        return [Repository(self.name, repo.full_name) for repo in mine if query.casefold() in repo.full_name.casefold()]

    def repository_at(self, address: str) -> Repository | None:
        name = code.name_at(self._web, address)
        return Repository(self.name, name) if name else None

    async def source(self, repository: Repository, number: str, token: Secret) -> Source:
        return await code.source(partial(self._api.get, token), self._web, repository, number)

    async def rivals(self, thread: Thread, token: Secret) -> Sequence[str]:
        us = await self.identify(token)
        return await rivals.find(partial(self._api.get, token), thread, us)

    async def close(self) -> None:
        if self._app is not None:
            await self._app.close()
        self._api.close()


def _app(settings: GitHub.Settings, api: Api) -> App | None:
    if not settings.app_id and not settings.private_key:
        return None
    if settings.token:
        raise ConfigError("github.token and github.app_id are both set; onhand acts as one of them: remove the other")
    if not settings.app_id or not settings.private_key:
        raise ConfigError("github.app_id and github.private_key belong together; set both, or a token instead")
    return App(api, settings.app_id, settings.private_key, time.time)


def _address(setting: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(f"{setting}: expected an address such as https://github.com, found {url!r}")
    return url.rstrip("/")


def _account(person: Person) -> Account:
    return Account(GitHub.name, str(person.id), person.login)


def _receipt(remark: Remark, prefix: str = "") -> Receipt:
    return Receipt(f"{prefix}{remark.id}", remark.html_url or "")


def _receipt_of_pull(pull: Pull) -> Receipt:
    return Receipt(str(pull.number), pull.html_url)
