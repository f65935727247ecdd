"""Jira as an Integration: what a worker does there with a token. api.py is the way there."""

import asyncio
import math
import re
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar
from urllib.parse import quote

from msgspec import Struct

from bot.core.deliveries import moment
from bot.core.errors import ConfigError, ProviderError
from bot.core.in_turn import each, given_up
from bot.core.inbound import Account, Delivery, Inbound, Message, Thread, Trigger, Verified
from bot.core.outbound import Call, React, Receipt, Say, Status
from bot.core.platform import Platform, edited, web_address
from bot.core.ports import CaughtUp, Us
from bot.core.refusals import courtesy, read, unless
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from integrations.jira import adf, missed, replies, webhook, wiki
from integrations.jira.answers import LONGEST_FILE, Attachment, Comments, Development, Found, Link, Page, Transition
from integrations.jira.api import Api
from integrations.jira.payloads import Comment, Person, text
from integrations.jira.register import register
from integrations.jira.replies import LinkChange, Move, Progress

_PROPERTY = "onhand"
"""The property of a comment of ours that holds its topic: nobody sees it, and by it the comment is found again."""
_DEVELOPMENT = "/rest/dev-status/latest/issue/detail"
"""What the development panel is made of; undocumented, so it may fail."""
_LOOKED_AT = 20
"""Comments of ours, newest first, among which one is looked for."""
_SEARCHED = "summary,description,labels,assignee,creator,reporter,created,comment"
_FILES = 10
"""Attached texts that a run is given."""
_PAGES = 20
"""Pages of 100 issues that a sweep reads."""


class Jira(Platform):
    """Jira Cloud or Data Center, built as `Jira(settings, us)`. Raises ConfigError for settings that cannot work."""

    name: ClassVar[str] = "jira"
    library = "jira.client"

    class Settings(Struct, frozen=True):
        """The settings under `[jira]`, or `ONHAND_JIRA__...`."""

        webhook_secret: Secret | None = None
        """The secret of the webhook, the same as at Jira."""
        automation_secret: Secret | None = None
        """The secret that an Automation rule sends in the header `X-Onhand-Secret`; without one no rule is heard."""
        url: str = ""
        """Address of Jira's pages: `https://TEAM.atlassian.net`, or that of Data Center."""
        api_url: str = ""
        """Address of the API where it is another one: `https://api.atlassian.com/ex/jira/CLOUD_ID` for scoped tokens."""
        email: str = ""
        """E-mail address of the bot's Atlassian account; empty for a personal access token of Data Center."""
        api_token: Secret | None = None
        """API token of the bot's account, or its personal access token."""
        bot_account_id: str = ""
        """Account id of the bot (`onhand doctor` shows it); on Data Center its username. With it native mentions and
        assignments count, and the bot knows its own comments."""
        state_at_start: str = ""
        """State into which an issue is moved when work begins, such as `In Progress`; empty: it is left where it is."""
        state_at_end: str = ""
        """State into which it is moved when there is a pull request, such as `In Review`."""
        timeout: int = 20
        """Seconds to wait for an answer of the API."""

    def __init__(self, settings: "Jira.Settings", us: Us) -> None:
        super().__init__(settings, settings.webhook_secret or settings.automation_secret, _token(settings))
        self._settings = settings
        web = _address("jira.url", settings.url)
        self._api = Api(_address("jira.api_url", settings.api_url) or web, settings.timeout)
        self._us = webhook.Us(us.handle, us.label, us.public_url, settings.bot_account_id.strip(), web)

    @staticmethod
    async def set_up(settings: "Jira.Settings", public_url: str, arguments: Sequence[str]) -> list[str]:
        """Register the webhook, for the projects of these keys where there are any; return what was done and what is left."""
        client = Jira(settings, Us())
        try:
            acts = await client.check()
            assert client._token is not None  # check() asks for it
            done = await register(client._api, client._token, settings.webhook_secret, public_url, arguments)
        finally:
            await client.close()
        return [acts, *done]

    # --- what comes in --------------------------------------------------------------------------------------------

    def verify(self, inbound: Inbound, now: float) -> Verified:
        self.webhook_secret()  # one of the two has to be there
        return webhook.verify(inbound, self._settings.webhook_secret, self._settings.automation_secret)

    def parse(self, verified: Verified) -> Delivery:
        return webhook.parse(verified, self._us)

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        headers = {"content-type": "application/json", "x-atlassian-webhook-identifier": delivery_id}
        if secret := self._settings.webhook_secret:
            return {**headers, "x-hub-signature": f"sha256={hmac_sha256(secret, body).hex()}"}
        shared = self._settings.automation_secret
        return {**headers, webhook.AUTOMATION_HEADER.lower(): shared.reveal() if shared else ""}

    # --- what goes out --------------------------------------------------------------------------------------------

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        return replies.render(trigger, status, topic, self._us.handle)

    async def check(self) -> str:
        if self._token is None or not self._settings.url:
            raise ConfigError("no token; set ONHAND_JIRA__URL, __API_TOKEN, and on Cloud __EMAIL")
        me = await self._api.get(self._token, "myself", Person)
        kind = "Cloud" if await self._api.cloud(self._token) else "Data Center"
        wanted = self._settings.bot_account_id.strip()
        if wanted and wanted not in me.ids:
            raise ConfigError(f"ONHAND_JIRA__BOT_ACCOUNT_ID: expected that of the token, {me.id}, found {wanted}")
        advice = "" if wanted else f"; set ONHAND_JIRA__BOT_ACCOUNT_ID={text(me.name) or me.id}"
        return f"acts as {me.login} on Jira {kind}{advice}"

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        match call:
            case React():
                return Receipt("")  # Jira's API has no reactions
            case Say():
                return await self._say(call, receipt, token)
            case Move():
                return receipt or await self._move(call, token)
            case LinkChange():
                return await self._link(call, token)
        raise ProviderError("invalid", f"Jira has no {type(call).__name__}")

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        return await self._find_comment(call, token) if isinstance(call, Say) else None  # the rest is harmless twice

    async def _say(self, call: Say, receipt: Receipt | None, token: Secret) -> Receipt:
        cloud, path = await self._api.cloud(token), f"{_issue(call.thread)}/comment"
        body = {"body": adf.document(call.text) if cloud else wiki.markup(call.text), **_circle(call.beneath)}
        quiet = {"notifyUsers": "false"} if cloud and isinstance(call, Progress) else {}

        async def edit(said: Receipt) -> Receipt:
            there = f"{path}/{quote(said.id, safe='')}"
            return self._said(call, await self._api.send(token, "PUT", there, query=quiet, body=body))

        if said := await edited(receipt, edit, lambda: self._find_comment(call, token)):
            return said
        body["properties"] = [{"key": _PROPERTY, "value": {"topic": call.topic}}, *_internal(call.beneath)]
        return self._said(call, await self._api.send(token, "POST", path, body=body))

    def _said(self, call: Say, answer: bytes) -> Receipt:
        if not (number := text(read(answer, Comment, "Jira").id)):
            raise ProviderError("unavailable", "Jira did not say which comment it is")
        return self._receipt(call.thread, number)

    def _receipt(self, thread: Thread, number: str) -> Receipt:
        return Receipt(number, f"{self._us.web}/browse/{thread.item}?focusedCommentId={number}")

    async def _find_comment(self, call: Call, token: Secret) -> Receipt | None:
        us = await self.identify(token)
        ours = [c for c in await self._newest(call.thread, token) if c.author and c.author.id == us.id]
        for comment in ours[:_LOOKED_AT]:
            number = text(comment.id)
            path = f"comment/{quote(number, safe='')}/properties/{_PROPERTY}"
            value: object = await unless(self._api.get(token, path, Any, "value"), "missing")
            if value == {"topic": call.topic}:
                return self._receipt(call.thread, number)
        return None

    async def _newest(self, thread: Thread, token: Secret) -> list[Comment]:
        path = f"{_issue(thread)}/comment"
        return await self._api.get(token, path, list[Comment], "comments", orderBy="-created", maxResults=100)

    async def _move(self, call: Move, token: Secret) -> Receipt:
        """Take the way to the wanted state. Where there is none, or it asks for more than we know, the issue stays: once."""
        wanted = (self._settings.state_at_start if call.when == "start" else self._settings.state_at_end).strip()
        return await courtesy(self._go(call.thread, wanted, token)) or Receipt("")

    async def _go(self, thread: Thread, wanted: str, token: Secret) -> Receipt:
        path = f"{_issue(thread)}/transitions"
        ways = await self._api.get(token, path, list[Transition], "transitions") if wanted else []
        way = next((way for way in ways if way.to.name.casefold() == wanted.casefold()), None)
        if way is None:
            return Receipt("")
        await self._api.send(token, "POST", path, body={"transition": {"id": way.id}})
        return Receipt(way.id)

    async def _link(self, call: LinkChange, token: Secret) -> Receipt:
        """Link by a global id: a link that is there already is renewed."""
        number = call.url.rstrip("/").rpartition("/")[2]
        title = f"Pull request {number}" if "/merge_requests/" not in call.url else f"Merge request {number}"
        body = {"globalId": call.url[:255], "object": {"url": call.url, "title": title[:255]}}
        await self._api.send(token, "POST", f"{_issue(call.thread)}/remotelink", body=body)
        return Receipt(call.url[:255], call.url)

    # --- who ------------------------------------------------------------------------------------------------------

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        """Whether this is an active person to whom the issue could be assigned: the right that a team's members have.

        Who may comment is not enough: help desks and public projects let anybody do so.
        """
        return bool(await unless(self._is_of_the_team(thread, account, token), "missing"))

    async def _is_of_the_team(self, thread: Thread, account: Account, token: Secret) -> bool:
        cloud = await self._api.cloud(token)
        person = await self._user(token, "accountId" if cloud else "key", account.id)
        if not person.human:
            return False
        asked = {"accountId": person.id} if cloud else {"username": text(person.name)}
        able = await self._api.get(
            token, "user/assignable/search", list[Person], issueKey=_key(thread), maxResults=1000, **asked
        )
        return any(other.id == account.id for other in able)

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        """The comments that all who may see the request may see, texts that are attached, and where the issue links to.

        The description as well where the payload had none: Cloud leaves it out when it tells of a comment.
        """
        path, circles = _issue(trigger.thread), ("", trigger.origin.thread_id)
        comments = [c for c in await self._newest(trigger.thread, token) if c.circle in circles]
        fields = (await self._api.get(token, path, Found, fields="attachment,created,description")).fields
        links = await self._api.get(token, f"{path}/remotelink", list[Link])
        said = [self._message(c, trigger.thread) for c in comments if text(c.id) != trigger.origin.id]
        said += await self._texts(fields.attachment or [], token)
        if not trigger.body and (words := self._us.said(fields.description).strip()):
            said.append(Message("description of the issue", words, moment(fields.created)))
        listed = "\n".join(f"{link.object.title}: {link.object.url}" for link in links)
        said += [Message("links of the issue", listed)] if listed else []
        return sorted(said, key=lambda message: -message.at)

    async def links(self, thread: Thread, token: Secret) -> str:
        """The issue's links, what forges have told Jira about it (its development panel), and its description, which Cloud
        leaves out when it tells of a comment.
        """
        remote = await self._api.get(token, f"{_issue(thread)}/remotelink", list[Link])
        issue = await self._api.get(token, _issue(thread), Found, fields="description")
        asked = [
            {"issueId": issue.id, "applicationType": forge, "dataType": kind}
            for forge in ("GitHub", "GitLab")
            for kind in ("pullrequest", "branch")
        ]
        told = await asyncio.gather(
            *(self._api.get(token, _DEVELOPMENT, list[Development], "detail", **query) for query in asked),
            return_exceptions=True,
        )
        seen = [found for answer in told if isinstance(answer, list) for found in answer]
        addresses = [*(link.object.url for link in remote), *(url for found in seen for url in found.addresses)]
        return "\n".join([*addresses, self._us.said(issue.fields.description)])

    def _message(self, comment: Comment, thread: Thread) -> Message:
        author = comment.author.login if comment.author else "somebody"
        address = self._receipt(thread, text(comment.id)).url
        return Message(author, self._us.said(comment.body), moment(comment.created), address)

    async def _texts(self, files: Sequence[Attachment], token: Secret) -> list[Message]:
        """The newest texts among the files; one that we may not see is left out."""
        said: list[Message] = []
        newest = sorted((file for file in files if file.is_text), key=lambda file: -moment(file.created))
        for file in newest[:_FILES]:
            if content := await unless(self._content(file, token), "unauthorized", "forbidden", "missing", "invalid"):
                words = content[:LONGEST_FILE].decode(errors="replace")
                said.append(Message(f"attachment {file.filename[:200]}", words, moment(file.created)))
        return said

    async def _content(self, file: Attachment, token: Secret) -> bytes:
        number = quote(file.id, safe="")
        if await self._api.cloud(token):
            return await self._api.send(token, "GET", f"attachment/content/{number}", query={"redirect": "false"})
        return await self._api.send(token, "GET", f"/secure/attachment/{number}/{quote(file.filename, safe='')}")

    async def owner(self, token: Secret) -> Account:
        return _account(await self._api.get(token, "myself", Person))

    async def account(self, login: str, token: Secret) -> Account:
        if not await self._api.cloud(token):
            return _account(await self._user(token, "username", login))
        shown = re.fullmatch(r".*\(([^()]+)\)", login)  # as `Person.login` writes it, or an account id
        return _account(await self._user(token, "accountId", shown[1] if shown else login))

    async def _user(self, token: Secret, by: str, value: str) -> Person:
        person = await self._api.get(token, "user", Person, **{by: value})
        if not person.id:
            raise ProviderError("unavailable", "Jira told of nobody")
        return person

    # --- what was missed ------------------------------------------------------------------------------------------

    async def catch_up(self, since: float) -> CaughtUp:
        """Read what was said, set and changed since then in every issue that the bot may see."""
        if self._token is None or not self._settings.url:
            return CaughtUp()
        updated = await self._updated(since, self._token)
        found, failed = await each((self._missed(issue, since, self._token) for issue in updated), given_up())
        return CaughtUp(read=tuple(chain(*found)), failed=failed)

    async def _missed(self, issue: Found, since: float, token: Secret) -> tuple[Delivery, ...]:
        here = issue.fields.comment or Comments()
        comments = here.comments
        if here.total > len(comments):
            comments = await self._newest(Thread(self.name, "", issue.key), token)
        by_rules_alone = self._settings.automation_secret and not self._settings.webhook_secret
        return missed.deliveries(issue, comments, since, self._us, labels=not by_rules_alone)

    async def _updated(self, since: float, token: Secret) -> list[Found]:
        minutes = max(1, math.ceil((time.time() - since) / 60) + 1)  # relative: a date would be read in the bot's zone
        query: dict[str, Any] = {
            "jql": f'updated >= "-{minutes}m" ORDER BY updated ASC',
            "fields": _SEARCHED,
            "expand": "changelog",
            "maxResults": 100,
        }
        cloud = await self._api.cloud(token)
        found: list[Found] = []
        for _ in range(_PAGES):
            page = await self._api.get(token, "search/jql" if cloud else "search", Page, **query)
            found += page.issues
            if not page.issues or not (page.next if cloud else page.total > len(found)):
                break
            query |= {"nextPageToken": page.next} if cloud else {"startAt": len(found)}
        return found

    async def close(self) -> None:
        self._api.close()


def _token(settings: Jira.Settings) -> Secret | None:
    """Return with what the bot signs in: on Cloud e-mail address and token, on Data Center a token alone."""
    if not settings.api_token:
        return None
    email = settings.email.strip()
    return Secret(f"{email}:{settings.api_token.reveal()}") if email else settings.api_token


def _address(setting: str, url: str) -> str:
    return web_address(setting, url, "https://team.atlassian.net") if url else ""


def _key(thread: Thread) -> str:
    """Return the issue's key. Raises ProviderError for what is none: it goes into addresses."""
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*-[0-9]+", thread.item):
        raise ProviderError("invalid", "expected an issue's key such as ABC-12")
    return thread.item


def _issue(thread: Thread) -> str:
    return f"issue/{_key(thread)}"


def _circle(beneath: str) -> dict[str, Any]:
    """Return who alone may see an answer: those who may see what was asked."""
    kind, _, value = beneath.partition(":")
    return {"visibility": {"type": kind, "value": value}} if kind in ("role", "group") and value else {}


def _internal(beneath: str) -> list[dict[str, Any]]:
    return [{"key": "sd.public.comment", "value": {"internal": True}}] if beneath == "internal" else []


def _account(person: Person) -> Account:
    return Account(Jira.name, person.id, person.login)
