"""A small GitHub for tests and the demo: REST API, git hosting and webhooks on one loopback port, with a memory.

    async with GitHubServer(folder) as github:
        github.person("alice")
        token = github.person("onhand-bot").token
        await github.repository("octo/hello", {"README.md": "Hello"}, {"alice": "write", "onhand-bot": "write"})
        github.hook(f"{onhand}/api/integration/github/events", secret="s3cret")
        number = await github.issue("octo/hello", "alice", "Say goodbye", "@onhand please")

The API is at `api_url`, pages and git at `web_url`, as on GitHub Enterprise Server. Whatever a person does is delivered
to the hooks as GitHub would, and so is what comes in over the API. Every API request is kept in `requests`.
"""

import asyncio
import json
import re
import ssl
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from bot.testing import github_state as shapes
from bot.testing.git_server import Files, Hosting
from bot.testing.github_api import Answered
from bot.testing.github_app import Apps, GitHubApp, Installation
from bot.testing.github_checks import shown_check
from bot.testing.github_http import Fault, Front, Request
from bot.testing.github_state import Check, Item, Json, Pull, Remark, State
from bot.testing.serving import Serving


@dataclass
class Delivery:
    """One webhook delivery: what was sent, and what came back (status 0 when nothing did)."""

    id: str
    event: str
    action: str
    body: bytes
    status: int = 0
    answer: str = ""
    place: str = ""


@dataclass(frozen=True)
class Enrolled:
    """Somebody with an account here, and a token of theirs."""

    login: str
    id: int
    token: str


_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For hooks on loopback: reading every certificate of this machine takes longer than a delivery."""


class GitHubServer:
    """The stand-in. Methods that make or change something are what people do on the pages; they deliver webhooks.

    With `echo` off, what comes in over the API delivers none.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, clock: Callable[[], float] = time.time, echo: bool = True
    ) -> None:
        self._tokens: set[str] = set()
        self._serving = Serving(self._app, port)
        self.git = Hosting(folder, self._tokens)
        """The git server's repositories; its methods block, so call them with `asyncio.to_thread`."""
        self.state = State(self._serving.url, clock)
        self.web_url, self.api_url = self.state.web, self.state.api
        self.apps = Apps(self.state, self.git, self._send_again, clock)
        """The GitHub Apps, their tokens, and every attempt to deliver something."""
        self._hooks: list[tuple[str, Secret]] = []
        self._front = Front(self.state, self.git, self.apps, self._hooks, self._echo_later if echo else _nothing)
        self._echoes: set[asyncio.Task[Any]] = set()
        self.deliveries: list[Delivery] = []
        """Every webhook delivery, oldest first."""

    async def __aenter__(self) -> Self:
        await self._serving.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fault in self._front.faults:
            fault.release()
        await self._serving.__aexit__(kind, error, traceback)

    @property
    def requests(self) -> list[Request]:
        """Every request to the API, oldest first."""
        return self._front.requests

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        await self._front(scope, receive, send)

    # --- setting the scene --------------------------------------------------------------------------------------------

    def person(self, login: str, kind: str = "User") -> Enrolled:
        """Enrol somebody (`kind` is User, Bot, Organization or Mannequin); the token works for the API and for git."""
        person = self.state.people.setdefault(login, shapes.Person(login, self.state.new_id(), kind))
        token = f"ghs_{login.encode().hex()}"
        self.state.tokens[token] = login
        self._tokens.add(token)
        return Enrolled(login, person.id, token)

    def revoke(self, token: str) -> None:
        """Make a token worthless."""
        self.state.tokens.pop(token, None)
        self._tokens.discard(token)
        self.git.narrowed.pop(token, None)

    def install(self, app: GitHubApp, *repositories: str) -> Installation:
        """Install an App for repositories; its bot may then write there, as far as its tokens let it."""
        there = Installation(self.state.new_id(), list(repositories), dict(app.permissions))
        app.installations.append(there)
        for name in repositories:
            self.permit(name, app.bot.login, "write")
        return there

    async def repository(
        self, name: str, files: Files, permissions: Mapping[str, str], *, private: bool = False, branch: str = "main"
    ) -> None:
        """Make a repository with one commit. `permissions` are admin, maintain, write, triage or read by login."""
        self.state.repositories[name] = shapes.Repository(
            self.state.new_id(), name, branch, private, permissions=dict(permissions)
        )
        await asyncio.to_thread(self.git.create, name, files, branch)

    async def fork(self, name: str, fork: str, owner: str) -> None:
        """Make a fork that belongs to somebody."""
        granted = {owner: "admin"}
        self.state.repositories[fork] = shapes.Repository(self.state.new_id(), fork, fork=True, permissions=granted)
        await asyncio.to_thread(self.git.fork, name, fork)

    def permit(self, name: str, login: str, permission: str) -> None:
        """Change what somebody may do in a repository; `none` takes it away."""
        self.state.repositories[name].permissions[login] = permission

    def archive(self, name: str) -> None:
        """Archive a repository."""
        self.state.repositories[name].archived = True

    async def rename(self, old: str, new: str) -> None:
        """Give a repository another name, for people, Apps and git."""
        self.state.rename(old, new)
        self.apps.rename(old, new)
        await asyncio.to_thread(self.git.rename, old, new)

    def hook(self, url: str, secret: str) -> None:
        """Deliver what happens to this address from now on, signed with the secret."""
        self._hooks.append((url, Secret(secret)))

    def fail(
        self,
        method: str,
        path: str,
        *,
        status: int = 500,
        headers: Mapping[str, str] | None = None,
        message: str = "planned failure",
        body: Any = None,
        times: int = 1,
        after: bool = False,
    ) -> Fault:
        """Fail the next `times` requests whose method and whole path (a regular expression) match.

        The answer tells the message, or is `body` as JSON.
        """
        wanted = re.compile(path)
        return self._plan(Fault(method, wanted, times, "answer", status, headers or {}, message, after, body=body))

    def hang(self, method: str, path: str, *, times: int = 1, after: bool = False) -> Fault:
        """Leave the next `times` matching requests without an answer, until `release()`, at most two minutes."""
        return self._plan(Fault(method, re.compile(path), times, "hang", after=after))

    def hold(self, method: str, path: str, *, times: int = 1) -> Fault:
        """Keep the next `times` matching requests waiting until `release()`; then they are carried out and answered."""
        return self._plan(Fault(method, re.compile(path), times, "hold"))

    def drop(self, method: str, path: str, *, times: int = 1, after: bool = False) -> Fault:
        """Close the connection on the next `times` matching requests; with `after`, once they are carried out."""
        return self._plan(Fault(method, re.compile(path), times, "drop", after=after))

    def _plan(self, fault: Fault) -> Fault:
        self._front.faults.append(fault)
        return fault

    # --- looking ------------------------------------------------------------------------------------------------------

    def comments(self, name: str, number: int, kind: str = "issue_comment") -> list[Remark]:
        """What was said in a thread, oldest first; `kind` may be review_comment or review."""
        return [r for r in self.state.remarks_of(name, number) if r.kind == kind]

    def pulls(self, name: str) -> list[Item]:
        """The pull requests of a repository, oldest first."""
        return [item for item in self.state.repositories[name].items.values() if item.pull]

    def checks(self, name: str) -> list[Check]:
        """The check runs of a repository, oldest first."""
        return [check for check in list(self.state.checks.values()) if check.repository == name]

    def reactions(self, target: str) -> list[str]:
        """The reactions to something such as `octo/hello/issues/1` or `octo/hello/issues/comments/7`."""
        return [content for _, key, content, _ in self.state.reactions if key == target]

    # --- what people do -----------------------------------------------------------------------------------------------

    async def issue(
        self,
        name: str,
        author: str,
        title: str,
        body: str | None = None,
        *,
        labels: Iterable[str] = (),
        assignees: Iterable[str] = (),
    ) -> int:
        """Open an issue; return its number. Labels and assignees come as deliveries of their own right after."""
        item = self.state.add_item(name, self.state.people[author], title, body)
        item.labels, item.assignees = list(labels), list(assignees)
        await self._happen("issues", "opened", name, author, issue=item)
        for label in item.labels:
            await self._happen("issues", "labeled", name, author, issue=item, label=self.state.label(label))
        for login in item.assignees:
            await self._happen("issues", "assigned", name, author, issue=item, assignee=self._shown(login))
        return item.number

    async def pull(
        self,
        name: str,
        author: str,
        title: str,
        head: str,
        *,
        body: str | None = None,
        base: str = "main",
        fork: str | None = None,
        maintainer_can_modify: bool = False,
    ) -> int:
        """Open a pull request from a branch (of the repository `fork`; "" for one that is gone); return its number."""
        there = Pull(name if fork is None else fork, head, base, maintainer_can_modify=maintainer_can_modify)
        item = self.state.add_item(name, self.state.people[author], title, body, there)
        await self._happen("pull_request", "opened", name, author, pull_request=item, number=item.number)
        return item.number

    async def comment(self, name: str, number: int, author: str, body: str) -> int:
        """Comment on an issue or pull request; return the comment's id."""
        remark = self.state.add_remark("issue_comment", name, number, self.state.people[author], body)
        await self._say("created", author, remark)
        return remark.id

    async def review_comment(
        self,
        name: str,
        number: int,
        author: str,
        body: str,
        *,
        path: str = "README.md",
        line: int = 1,
        above: int | None = None,
    ) -> int:
        """Remark on a line of a pull request, or answer the remark `above`; return the id."""
        remark = self.state.add_remark("review_comment", name, number, self.state.people[author], body)
        remark.path, remark.line, remark.in_reply_to = path, line, above
        await self._say("created", author, remark)
        return remark.id

    async def review(self, name: str, number: int, author: str, body: str | None) -> int:
        """Submit a review; return its id."""
        remark = self.state.add_remark("review", name, number, self.state.people[author], body)
        await self._say("submitted", author, remark)
        return remark.id

    async def edit_comment(self, comment: int, editor: str, body: str) -> None:
        """Edit anything that was said."""
        remark = self.state.remarks[comment]
        before, remark.body, remark.updated_at = remark.body, body, self.state.now()
        await self._say("edited", editor, remark, changes={"body": {"from": before}})

    async def delete_comment(self, comment: int, sender: str) -> None:
        """Delete anything that was said."""
        remark = self.state.remarks.pop(comment)
        await self._say("deleted", sender, remark)

    async def edit(
        self, name: str, number: int, editor: str, *, title: str | None = None, body: str | None = None
    ) -> None:
        """Edit the title or the body of an issue or pull request."""
        item = self._touched(name, number)
        changes: Json = {}
        if title is not None:
            changes["title"], item.title = {"from": item.title}, title
        if body is not None:
            changes["body"], item.body = {"from": item.body}, body
        await self._about("edited", name, item, editor, changes=changes)

    async def label(self, name: str, number: int, sender: str, label: str) -> None:
        """Set a label."""
        item = self._touched(name, number)
        item.labels.append(label)
        await self._about("labeled", name, item, sender, label=self.state.label(label))

    async def assign(self, name: str, number: int, sender: str, login: str) -> None:
        """Assign somebody."""
        item = self._touched(name, number)
        item.assignees.append(login)
        await self._about("assigned", name, item, sender, assignee=self._shown(login))

    async def press(self, name: str, check: int, sender: str, button: str) -> None:
        """Press a button of a check run; it must be there."""
        there = self.state.checks[check]
        assert button in {action["identifier"] for action in there.shown.get("actions", ())}, there.shown
        pressed = {"check_run": shown_check(self.state, there), "requested_action": {"identifier": button}}
        await self._happen("check_run", "requested_action", name, sender, **pressed)

    async def request_review(self, name: str, number: int, sender: str, login: str) -> None:
        """Request somebody's review of a pull request."""
        item = self._touched(name, number)
        assert item.pull is not None
        item.pull.reviewers.append(login)
        await self._about("review_requested", name, item, sender, requested_reviewer=self._shown(login))

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def payload(self, action: str, name: str, sender: str, **parts: Any) -> Json:
        """Return the payload of an event in a repository, as GitHub would send it."""
        repository = self.state.repositories[name]
        shown = {key: self._part(repository, key, part) for key, part in parts.items()}
        place = self.state.repository(repository)
        return {"action": action, **shown, "repository": place, "sender": self._shown(sender)}

    async def send(self, delivery: Delivery) -> list[httpx.Response]:
        """Post a delivery to every hook, under its own id; sending one again is a redelivery."""
        delivery.status, delivery.answer = 0, ""
        try:
            async with httpx.AsyncClient(timeout=30, trust_env=False, verify=_PLAIN) as client:
                responses = [
                    await client.post(url, content=delivery.body, headers=signed_headers(delivery, secret))
                    for url, secret in self._hooks
                ]
            for response in responses:
                delivery.status, delivery.answer = response.status_code, response.text
        finally:  # 502 is what GitHub notes where it could not connect
            self.apps.note(delivery.id, delivery.event, delivery.action, delivery.status or 502, delivery.place)
        return responses

    async def _say(self, action: str, sender: str, remark: Remark, **more: Any) -> None:
        item = self.state.repositories[remark.repository].items[remark.number]
        key = "review" if remark.kind == "review" else "comment"
        event = remark.kind if remark.kind == "issue_comment" else f"pull_request_{remark.kind}"
        about = "issue" if remark.kind == "issue_comment" else "pull_request"
        await self._happen(event, action, remark.repository, sender, **{key: remark, about: item}, **more)

    async def _about(self, action: str, name: str, item: Item, sender: str, **more: Any) -> None:
        if item.pull:
            await self._happen("pull_request", action, name, sender, number=item.number, pull_request=item, **more)
        else:
            await self._happen("issues", action, name, sender, issue=item, **more)

    async def _happen(self, event: str, action: str, name: str, sender: str, **parts: Any) -> None:
        payload = await asyncio.to_thread(self.payload, action, name, sender, **parts)
        await self._deliver(event, payload)

    async def _deliver(self, event: str, payload: Json) -> None:
        body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
        place = payload["repository"]["full_name"]
        delivery = Delivery(str(uuid.uuid4()), event, payload["action"], body, place=place)
        self.deliveries.append(delivery)
        await self.send(delivery)

    def _part(self, repository: shapes.Repository, key: str, part: Any) -> Any:
        if isinstance(part, Item):
            shape = self.state.pull if key == "pull_request" else self.state.item
            return shape(repository, part)
        return self.state.remark(part) if isinstance(part, Remark) else part

    def _shown(self, login: str) -> Json:
        return self.state.person(self.state.people[login])

    def _touched(self, name: str, number: int) -> Item:
        item = self.state.repositories[name].items[number]
        item.updated_at = self.state.now()
        return item

    def _echo_later(self, answered: Answered, login: str) -> None:
        payload = {
            **answered.payload,
            "repository": self.state.repository(self.state.repositories[answered.repository]),
            "sender": self._shown(login),
        }
        self._quietly(self._deliver(answered.event, payload))

    def _send_again(self, delivery_id: str) -> None:
        """Deliver anew; from any thread."""
        lost = next(delivery for delivery in self.deliveries if delivery.id == delivery_id)
        self._loop.call_soon_threadsafe(lambda: self._quietly(self.send(lost)))

    def _quietly(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(_whatever_comes_back(work))
        self._echoes.add(task)
        task.add_done_callback(self._echoes.discard)


async def _whatever_comes_back(work: Coroutine[Any, Any, Any]) -> None:
    with suppress(httpx.HTTPError):  # the delivery stays in the list with status 0, as at GitHub
        await work


def signed_headers(delivery: Delivery, secret: Secret) -> dict[str, str]:
    """Return the headers under which GitHub sends a delivery."""
    return {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/stand-in",
        "x-github-delivery": delivery.id,
        "x-github-event": delivery.event,
        "x-github-hook-id": "1",
        "x-hub-signature-256": f"sha256={hmac_sha256(secret, delivery.body).hex()}",
    }


def _nothing(answered: Answered, login: str) -> None:
    return
