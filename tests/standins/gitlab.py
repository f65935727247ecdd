"""A small GitLab for tests: REST API, git hosting and webhooks on one loopback port, with a memory.

    async with GitLabServer(folder) as gitlab:
        gitlab.person("alice")
        token = gitlab.person("onhand").token
        await gitlab.project("acme/shop/web", {"README.md": "Hello"}, {"alice": 30, "onhand": 30})
        gitlab.hook(f"{onhand}/api/integration/gitlab/events", signing_token="whsec_...")
        number = await gitlab.issue("acme/shop/web", "alice", "Say goodbye", "@onhand please")

Whatever a person does is delivered to the hooks as GitLab would, and so is what comes in over the API. Every API request
is kept in `requests`; `check_requests(server.requests, API)` holds them against gitlab_api.json.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import httpx

from bot.testing.git_server import Files, Hosting
from bot.testing.github_http import Fault
from bot.testing.serving import Serving, answer, read_body
from tests.standins.gitlab_api import ApiError, Asked, Routes
from tests.standins.gitlab_state import Json, Project, State, label

API: Json = json.loads((Path(__file__).parent / "gitlab_api.json").read_text())
"""The operations that onhand uses, written by hand after GitLab's own description of its API."""

_PREFIX = "/api/v4"
MOVED = "405 Non GET methods are not allowed for moved projects"
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For hooks on loopback: reading every certificate of this machine takes longer than a delivery."""
_EVENTS = {"issue": "Issue Hook", "merge_request": "Merge Request Hook", "note": "Note Hook"}


@dataclass(frozen=True)
class Request:
    """One request to the API as it came, without its token."""

    method: str
    path: str
    """Without the prefix, as it was sent: the slashes in a project's path are `%2F`."""
    query: dict[str, str]
    body: Any
    by: str


@dataclass
class Delivery:
    """One webhook delivery: what was sent, and what came back (status 0 when nothing did)."""

    id: str
    event: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    answer: str = ""


@dataclass(frozen=True)
class Enrolled:
    """Somebody with an account here, and a token of theirs."""

    username: str
    id: int
    token: str


@dataclass(frozen=True)
class Hook:
    """Where deliveries go, and with which secrets."""

    url: str
    signing_token: str = ""
    secret: str = ""


class GitLabServer:
    """The stand-in. Methods that make or change something are what people do on the pages; they deliver webhooks."""

    def __init__(self, folder: Path, *, port: int = 0, clock: Callable[[], float] = time.time) -> None:
        self._tokens: set[str] = set()
        self._serving = Serving(self._app, port)
        self.git = Hosting(folder, self._tokens)
        """The git server's repositories; its methods block, so call them with `asyncio.to_thread`."""
        self.url, self._clock = self._serving.url, clock
        self.state = State(self.url, clock)
        self.routes = Routes(self.state, self.git, self._echo)
        self.requests: list[Request] = []
        self.deliveries: list[Delivery] = []
        self.faults: list[Fault] = []
        self.hooks: list[Hook] = []
        self.echoes: set[asyncio.Task[Any]] = set()
        self._moved: dict[str, int] = {}
        """Ids of projects, by the paths that they had before."""

    async def __aenter__(self) -> Self:
        await self._serving.__aenter__()
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fault in self.faults:
            fault.release()
        await self._serving.__aexit__(kind, error, traceback)

    # --- setting the scene --------------------------------------------------------------------------------------------

    def person(self, username: str, *, bot: bool = False, state: str = "active") -> Enrolled:
        """Enrol somebody; the token works for the API and for git."""
        token = f"glpat-{username.encode().hex()}"
        number = zlib.crc32(username.encode()) % 1_000_000 + 1  # the same after a restart too
        pages = {"avatar_url": None, "web_url": f"{self.url}/{username}"}
        self.state.users[username] = {
            "id": number, "username": username, "name": username.title(), "state": state, "bot": bot, **pages,
        }  # fmt: skip
        self.state.tokens[token] = username
        self._tokens.add(token)
        return Enrolled(username, number, token)

    async def project(self, path: str, files: Files, members: Mapping[str, int], *, template: str = "") -> None:
        """Make a project with one commit. `members` are access levels (30 is Developer) by username."""
        self.state.projects[path] = Project(self.state.new_id(), path, dict(members), template=template)
        await asyncio.to_thread(self.git.create, path, files)

    async def fork(self, path: str, fork: str, owner: str) -> None:
        """Make a fork that belongs to somebody."""
        self.state.projects[fork] = Project(self.state.new_id(), fork, {owner: 50})
        await asyncio.to_thread(self.git.fork, path, fork)

    def move(self, path: str, to: str) -> None:
        """Give a project another path: under the old one GitLab leads those who read on, and refuses those who write."""
        there = self.state.projects[to] = self.state.projects.pop(path)
        there.path, self._moved[path] = to, there.id

    def hook(self, url: str, *, signing_token: str = "", secret: str = "") -> None:
        """Deliver what happens to this address from now on."""
        self.hooks.append(Hook(url, signing_token, secret))

    def fail(
        self,
        method: str,
        path: str,
        *,
        status: int = 500,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        after: bool = False,
    ) -> Fault:
        """Fail the next `times` requests whose method and whole path (a regular expression) match."""
        fault = Fault(method, re.compile(path), times, "answer", status, headers or {}, "planned failure", after)
        self.faults.append(fault)
        return fault

    def hang(self, method: str, path: str, *, times: int = 1, after: bool = False) -> Fault:
        """Leave the next `times` matching requests without an answer, until `release()`, at most two minutes."""
        fault = Fault(method, re.compile(path), times, "hang", after=after)
        self.faults.append(fault)
        return fault

    # --- looking ------------------------------------------------------------------------------------------------------

    def notes(self, path: str, item: str) -> list[Json]:
        """What was said in a thread (`12` or `!7`), oldest first."""
        return [note for note in self.state.projects[path].notes if note["_item"] == item]

    def merge_requests(self, path: str) -> list[Json]:
        """The merge requests of a project, oldest first."""
        return [item for name, item in self.state.projects[path].items.items() if name.startswith("!")]

    def awards(self, path: str, target: str) -> list[str]:
        """The emoji on something such as `12` or `12/notes/5`, each as `username:emoji`."""
        return self.state.projects[path].awards.get(target, [])

    # --- what people do -----------------------------------------------------------------------------------------------

    async def issue(
        self, path: str, author: str, title: str, description: str | None = None, *, labels: Iterable[str] = ()
    ) -> str:
        """Open an issue; return its number."""
        item = self.state.add_item(path, author, title, description)
        item["labels"] = list(labels)
        number = str(item["iid"])
        await self._deliver(path, self.state.item_event(path, number, author, "open"))
        return number

    async def merge_request(
        self,
        path: str,
        author: str,
        title: str,
        source_branch: str,
        *,
        description: str = "",
        fork: str = "",
        allow_collaboration: bool = False,
    ) -> str:
        """Open a merge request from a branch (of a fork); return its number with the `!`."""
        here, there = self.state.projects[path], self.state.projects[fork or path]
        heads = await asyncio.to_thread(self.git.branches, there.path)
        base = (await asyncio.to_thread(self.git.branches, path))[here.default_branch]
        refs = {"base_sha": base, "start_sha": base, "head_sha": heads[source_branch]}
        ids = {"source_project_id": there.id, "target_project_id": here.id, "diff_refs": refs, "reviewers": []}
        item = self.state.add_item(
            path, author, title, description, source_branch=source_branch, target_branch=here.default_branch,
            allow_collaboration=allow_collaboration, **ids,
        )  # fmt: skip
        if fork:
            name = f"refs/merge-requests/{item['iid']}/head"
            wanted = f"+refs/heads/{source_branch}:{name}"
            await asyncio.to_thread(self.git.git, path, "fetch", "--quiet", str(self.git.path(fork)), wanted)
        await self._deliver(path, self.state.item_event(path, f"!{item['iid']}", author, "open"))
        return f"!{item['iid']}"

    async def note(self, path: str, item: str, author: str, body: str, **more: Any) -> int:
        """Comment on an issue or merge request (`type`, `position`, `internal`, `discussion` in `more`); return the id."""
        note = self.state.add_note(path, item, author, body, **more)
        await self._deliver(path, self.state.note_event(path, note, author, "create"))
        return int(note["id"])

    async def edit_note(self, path: str, number: int, editor: str, body: str) -> None:
        """Edit a note."""
        note = next(note for note in self.state.projects[path].notes if note["id"] == number)
        note["body"], note["updated_at"] = body, self.state.now()
        await self._deliver(path, self.state.note_event(path, note, editor, "update"))

    async def label(self, path: str, item: str, sender: str, title: str) -> None:
        """Set a label."""
        labels = self.state.projects[path].items[item]["labels"]
        changed = {"previous": [label(one) for one in labels], "current": [label(one) for one in [*labels, title]]}
        labels.append(title)
        await self._changed(path, item, sender, labels=changed)

    async def assign(self, path: str, item: str, sender: str, username: str, role: str = "assignees") -> None:
        """Assign somebody, or with the role `reviewers` ask for a review."""
        people = self.state.projects[path].items[item][role]
        before = self.state.people(person["username"] for person in people)
        people.append(self.state.user(username))
        await self._changed(
            path, item, sender, **{role: {"previous": before, "current": [*before, *self.state.people([username])]}}
        )

    async def _changed(self, path: str, item: str, sender: str, **changes: Any) -> None:
        self.state.projects[path].items[item]["updated_at"] = self.state.now()
        await self._deliver(path, self.state.item_event(path, item, sender, "update", changes))

    # --- webhooks -----------------------------------------------------------------------------------------------------

    async def send(self, delivery: Delivery) -> list[httpx.Response]:
        """Post a delivery to every hook, under its own id; sending one again is a redelivery."""
        delivery.status, delivery.answer = 0, ""
        async with httpx.AsyncClient(timeout=30, trust_env=False, verify=_PLAIN) as client:
            responses = [
                await client.post(hook.url, content=delivery.body, headers=self.headers(delivery, hook))
                for hook in self.hooks
            ]
        for response in responses:
            delivery.status, delivery.answer = response.status_code, response.text
        return responses

    def headers(self, delivery: Delivery, hook: Hook, at: float | None = None) -> dict[str, str]:
        """Return the headers under which GitLab sends a delivery through a hook."""
        headers = {
            "content-type": "application/json",
            "user-agent": "GitLab/18.4.1-ee",
            "idempotency-key": delivery.id,
            "x-gitlab-event": delivery.event,
            "x-gitlab-webhook-uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, hook.url)),
            "x-gitlab-instance": self.url,
        }
        if hook.secret:
            headers["x-gitlab-token"] = hook.secret
        if hook.signing_token:
            when = f"{self._clock() if at is None else at:.0f}"
            key = base64.b64decode(hook.signing_token.removeprefix("whsec_"))
            digest = hmac.digest(key, f"{delivery.id}.{when}.".encode() + delivery.body, hashlib.sha256)
            signature = f"v1,{base64.b64encode(digest).decode()}"
            headers |= {"webhook-id": delivery.id, "webhook-timestamp": when, "webhook-signature": signature}
        return headers

    async def _deliver(self, path: str, payload: Json) -> None:
        body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
        delivery = Delivery(str(uuid.uuid4()), _EVENTS[payload["object_kind"]], body)
        self.deliveries.append(delivery)
        await self.send(delivery)

    def _echo(self, path: str, payload: Json) -> None:
        """Deliver what came in over the API, from the loop of whoever entered this server."""
        self._loop.call_soon_threadsafe(self._begin_echo, path, payload)

    def _begin_echo(self, path: str, payload: Json) -> None:
        task = asyncio.create_task(self._quietly(path, payload))
        self.echoes.add(task)
        task.add_done_callback(self.echoes.discard)

    async def _quietly(self, path: str, payload: Json) -> None:
        with suppress(httpx.HTTPError):
            await self._deliver(path, payload)

    # --- the server ---------------------------------------------------------------------------------------------------

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        raw = scope.get("raw_path", scope["path"].encode()).decode().partition("?")[0]
        if not raw.startswith(_PREFIX):
            await self._serve_git(scope, receive, send)
            return
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        credential = headers.get("authorization", "").partition(" ")[2]
        by = self.state.tokens.get(credential, "")
        content = await read_body(receive)
        body = json.loads(content) if content else None
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        request = Request(scope["method"], raw.removeprefix(_PREFIX), query, body, by)
        self.requests.append(request)
        fault = self._fault(request.method, request.path)
        more = self._sent_on(raw, scope["query_string"].decode())
        if more is not None:
            status, shown = (301, None) if request.method == "GET" else (405, {"message": MOVED})
        else:
            status, shown = (0, None) if fault and not fault.after else await self._answer(request)
        if fault and fault.kind == "hang":
            await fault.wait()
        if fault:
            status, shown = fault.status, {"message": fault.message}
        headers = {"content-type": "application/json", **(more or {}), **(fault.headers if fault else {})}
        await answer(send, status, json.dumps(shown).encode(), headers)

    def _sent_on(self, raw: str, query: str) -> dict[str, str] | None:
        """Return the headers that lead to where a project is now; None for one that has not moved."""
        kind, name, *rest = [*raw.removeprefix(f"{_PREFIX}/").split("/"), ""]
        number = self._moved.get(unquote(name)) if kind == "projects" else None
        if number is None:
            return None
        path = "/".join([f"{self.url}{_PREFIX}/{kind}/{number}", *rest]).rstrip("/")
        return {"location": f"{path}?{query}" if query else path}

    async def _answer(self, request: Request) -> tuple[int, Any]:
        if not request.by:
            return 401, {"message": "401 Unauthorized"}
        asked = Asked(request.by, request.query, request.body if isinstance(request.body, dict) else {})
        try:
            status, shown = await asyncio.to_thread(self.routes.answer, request.method, request.path, asked)
        except ApiError as error:
            return error.status, error.body
        if isinstance(shown, list):
            size, page = int(request.query.get("per_page", "20")), int(request.query.get("page", "1"))
            shown = shown[(page - 1) * size : page * size]
        return status, shown

    async def _serve_git(self, scope: Any, receive: Any, send: Any) -> None:
        query = scope["query_string"].decode()
        fault = self._fault(scope["method"], f"{scope['path']}?{query}" if query else scope["path"])
        if fault is None:
            await self.git(scope, receive, send)
            return
        await read_body(receive)
        await answer(send, fault.status, b"planned failure", dict(fault.headers))

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and fault.path.fullmatch(path):
                fault.meet()
                return fault
        return None
