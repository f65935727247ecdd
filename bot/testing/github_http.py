"""The stand-in's HTTP front: reads requests, keeps them, plans failures, and answers by the routes."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from bot.core.secret import Secret
from bot.testing.git_server import Hosting
from bot.testing.github_api import Answered, ApiError, Asked, Routes
from bot.testing.github_app import Apps
from bot.testing.github_checks import CheckRuns
from bot.testing.github_hooks import RepositoryHooks
from bot.testing.github_state import State
from bot.testing.serving import answer, read_body

PREFIX = "/api/v3"
_HANG_LIMIT = 120.0
_LIMITS = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-reset": "4102444800"}


@dataclass(frozen=True)
class Request:
    """One request to the API as it came, without its token. `path` is without the prefix of Enterprise Server.

    `status` is what was answered, 0 where the answer was lost.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    login: str
    status: int = 0


@dataclass
class Fault:
    """A planned failure of the next `times` requests whose method and whole path match."""

    method: str
    path: re.Pattern[str]
    times: int
    kind: str = "answer"
    """`answer` (with the status), `hang` (no answer until released), `hold` (carried out and answered once released) or `drop`
    (the connection is closed)."""
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "planned failure"
    after: bool = False
    """Whether the request is carried out first, so that only its answer is lost."""
    skip: int = 0
    """How many matching requests pass before."""
    body: Any = None
    """What is answered as JSON instead of the message, if anything."""
    _waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=list)
    _met: threading.Event = field(default_factory=threading.Event)
    _released: bool = False

    async def met(self) -> None:
        """Wait until a request has met this fault, at most two minutes."""
        if not await asyncio.to_thread(self._met.wait, _HANG_LIMIT):
            raise TimeoutError(f"no {self.method} {self.path.pattern} came")

    def meet(self) -> None:
        """Note that a request has met it."""
        self.times -= 1
        self._met.set()

    def release(self) -> None:
        """Let what hangs go on."""
        self._released = True
        for loop, event in self._waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def wait(self) -> None:
        """Wait until released, at most two minutes."""
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        if not self._released:
            with suppress(TimeoutError):
                async with asyncio.timeout(_HANG_LIMIT):
                    await event.wait()


class Front:
    """The ASGI app. `happened` is told of every change that came in over the API, and by whom."""

    def __init__(
        self,
        state: State,
        git: Hosting,
        apps: Apps,
        hooks: Sequence[tuple[str, Secret]],
        happened: Callable[[Answered, str], None],
    ) -> None:
        self._state, self._git, self._apps, self._happened = state, git, apps, happened
        self._routes = Routes(
            state, git, [*CheckRuns(state, git, apps.of_bot).table(), *RepositoryHooks(state, apps, hooks).table()]
        )
        self.requests: list[Request] = []
        self.faults: list[Fault] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request: git's to the git server, all others by the API."""
        if git := re.match(r"/([\w.-]+/[\w.-]+)\.git/", scope["path"]):
            await asyncio.to_thread(self._show_pulls, git[1])
            await self._serve_git(scope, receive, send)
            return
        if not scope["path"].startswith(PREFIX):
            await self._page(scope, receive, send)
            return
        request, asked, credential = await self._read(scope, receive)
        fault = await self._held(self._fault(request.method, request.path))
        status, body = 0, None
        headers: dict[str, str] = {}
        if fault is None or fault.after:
            status, body, headers = await self._answer(request, asked, credential)
        if fault is not None:
            status, body, headers = fault.status, {"message": fault.message}, dict(fault.headers)
            body = fault.body if fault.body is not None else body if status >= 300 else fault.message
        lost = fault is not None and fault.kind != "answer"
        self.requests.append(request if lost else replace(request, status=status))
        await self._respond(send, fault, status, body, headers)

    def _show_pulls(self, name: str) -> None:
        there = self._state.repositories.get(name)
        for number, item in there.items.items() if there else ():
            if item.pull and item.pull.head_repository not in ("", name):
                self._git.show_pull(name, number, item.pull.head_repository, item.pull.head)

    async def _serve_git(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the git server answer. A fault sees the query as part of the path: it tells a fetch from a push."""
        query = scope["query_string"].decode()
        path = f"{scope['path']}?{query}" if query else scope["path"]
        fault = await self._held(self._fault(scope["method"], path))
        if fault is None:
            await self._git(scope, receive, send)
            return
        if fault.after:
            await self._git(scope, receive, _unheard)
        else:
            await read_body(receive)
        await self._respond(send, fault, fault.status, {"message": fault.message}, dict(fault.headers))

    @staticmethod
    async def _held(fault: Fault | None) -> Fault | None:
        """Wait for a request's release, if that is all that was planned for it."""
        if fault is None or fault.kind != "hold":
            return fault
        await fault.wait()
        return None

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as the pages do: only the one that takes an App's manifest is there."""
        query = dict(parse_qsl(scope["query_string"].decode()))
        back = self._apps.page(scope["path"], query, await read_body(receive)) if scope["method"] == "POST" else None
        await answer(send, 302 if back else 404, b"", {"location": back} if back else {})

    async def _read(self, scope: Any, receive: Any) -> tuple[Request, Asked | None, str]:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        credential = headers.pop("authorization", "").partition(" ")[2]
        app = self._apps.by_jwt(credential)
        login = app.slug if app else self._state.tokens.get(credential, "")
        raw, body = await read_body(receive), None
        with suppress(ValueError):
            body = json.loads(raw) if raw else None
        query = dict(parse_qsl(scope["query_string"].decode()))
        path = self._state.by_name(unquote(scope["path"]).removeprefix(PREFIX))
        request = Request(scope["method"], path, query, headers, body, login)
        person = self._state.people.get(login)
        return request, Asked(person, query, body if isinstance(body, dict) else {}) if person else None, credential

    async def _answer(self, request: Request, asked: Asked | None, credential: str) -> tuple[int, Any, dict[str, str]]:
        if moved := self._state.sent_on(request.path):
            query = f"?{urlencode(request.query)}" if request.query else ""
            return 301, {"message": "Moved Permanently"}, {"location": f"{moved}{query}"}
        try:
            of_apps = self._apps.answer(credential, request.method, request.path, request.query, request.body)
            if of_apps is not None:
                return self._paged(request, of_apps)
            self._apps.check(credential, request.method, request.path)
            if asked is None or credential not in self._state.tokens:
                raise ApiError(401, "Bad credentials")
            answered = await asyncio.to_thread(self._routes.answer, request.method, request.path, asked)
        except ApiError as error:
            return error.status, error.body, {}
        if answered.event:
            self._happened(answered, request.login)
        return self._paged(request, answered)

    def _paged(self, request: Request, answered: Answered) -> tuple[int, Any, dict[str, str]]:
        base = f"{self._state.api}{request.path}"
        if answered.cursor:
            return answered.status, answered.body, {"link": f'<{base}?{answered.cursor}>; rel="next"'}
        if not isinstance(answered.body, list) or "/contents" in request.path or "/hook/" in request.path:
            return answered.status, answered.body, {}
        size, page = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
        last = max(1, -(-len(answered.body) // size))
        links = {"next": page + 1, "last": last} if page < last else {"first": 1, "prev": page - 1} if page > 1 else {}
        link = ", ".join(f'<{base}?{urlencode({**request.query, "page": n})}>; rel="{rel}"' for rel, n in links.items())
        shown = answered.body[(page - 1) * size : page * size]
        return answered.status, shown, {"link": link} if link else {}

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and fault.path.fullmatch(path):
                if fault.skip == 0:
                    fault.meet()
                    return fault
                fault.skip -= 1
        return None

    async def _respond(self, send: Any, fault: Fault | None, status: int, body: Any, more: dict[str, str]) -> None:
        if fault and fault.kind == "hang":
            await fault.wait()
        if fault and fault.kind == "drop":  # a body shorter than it was said to be makes the server hang up
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            return
        headers = {
            "content-type": "application/json; charset=utf-8",
            "date": formatdate(usegmt=True),
            **_LIMITS,
            **more,
        }
        await answer(send, status, b"" if status == 204 else json.dumps(body).encode(), headers)


async def _unheard(_message: Any) -> None:
    """Take an answer that nobody gets to see."""
