"""A small Slack on loopback: Web API, Events API and Socket Mode, with a memory.

    async with SlackServer() as slack:
        slack.hook(f"{onhand}/api/integration/slack/events", "s3cret")
        ts = await slack.say("U0ALICE", "<@U0ONHAND> fix it")
        slack.said_by_us()

What people do is delivered as Slack does it: a mention as `app_mention` and `message`, signed by the vendor's own library,
or over the socket where one is open. Every call is checked against the arguments of slack_sdk's method of that name, and
blocks and chunks against its models; what is wrong with them is in `problems`.
"""

import asyncio
import inspect
import itertools
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from aiohttp import web
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block
from slack_sdk.models.messages.chunk import Chunk
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from bot.testing.github_http import Fault

TEAM, CHANNEL, BOT, APP = "T0ACME", "C0DEV", "U0ONHAND", "A0ONHAND"
TOKEN, APP_TOKEN = "xoxb-of-the-bot", "xapp-of-the-app"
Json = dict[str, Any]


class Refused(Exception):
    """What Slack says no with."""


@dataclass
class Call:
    """One call of the API, without its token; `error` is what was answered, "" for ok."""

    method: str
    arguments: Json
    error: str = ""


@dataclass
class SlackServer:
    """The stand-in. `agents`, `streams`: what the workspace has."""

    token: str = TOKEN
    streams: bool = True
    agents: bool = False
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    messages: dict[str, Json] = field(default_factory=dict)
    """Every message by its time."""
    live: set[str] = field(default_factory=set)
    """The messages that are streams still."""
    reactions: list[tuple[str, str]] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
    users: dict[str, Json] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """What is at /files, by name. `moved` leads to `elsewhere`."""
    elsewhere: str = ""
    reads: list[str] = field(default_factory=list)
    """The files that were asked for."""
    answers: list[httpx.Response] = field(default_factory=list)
    """What came back for the deliveries, in order."""
    acknowledged: dict[str, Any] = field(default_factory=dict)
    """What came back over the socket, by envelope."""

    def __post_init__(self) -> None:
        self._clock = itertools.count(int(time.time() * 1_000_000))
        self._ids = itertools.count(1)
        self._hook: tuple[str, SignatureVerifier] | None = None
        self._sockets: list[web.WebSocketResponse] = []
        self.connected = asyncio.Event()
        for name in (BOT, "U0ALICE", "U0BOB", "U0CAROL"):
            self.person(name)
        self.users[BOT]["is_bot"] = True

    # --- setting the scene ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/api/{method}", self._answer)
        app.router.add_get("/files/{name}", self._file)
        app.router.add_get("/socket", self._socket)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fault in self.faults:
            fault.release()
        for socket in self._sockets:
            await socket.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    def person(self, user: str, **more: Any) -> None:
        """Enrol somebody; `is_restricted` and the like as users.info shows them."""
        self.users[user] = {
            "id": user,
            "team_id": TEAM,
            "name": user.lower(),
            "profile": {"display_name": user[2:].capitalize(), "real_name": f"{user[2:].capitalize()} of Acme"},
            "deleted": False,
            "is_bot": False,
            **more,
        }

    def hook(self, url: str, secret: str) -> None:
        """Deliver what happens to this address from now on, signed with the secret."""
        self._hook = url, SignatureVerifier(secret)

    def fail(
        self,
        method: str,
        error: str = "",
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> Fault:
        """Fail the next `times` calls of a method (a regular expression) with an error of Slack's or an HTTP status."""
        fault = Fault(error, re.compile(method), times, "answer", status, headers or {})
        self.faults.append(fault)
        return fault

    def hang(self, method: str) -> Fault:
        """Leave the next call of a method without an answer, until `release()`."""
        fault = Fault("", re.compile(method), 1, "hang")
        self.faults.append(fault)
        return fault

    # --- looking ----------------------------------------------------------------------------------------------------

    def said_by_us(self, root: str = "") -> list[Json]:
        """Our messages, in a thread or everywhere, oldest first."""
        ours = [m for m in self.messages.values() if m["user"] == BOT]
        return sorted((m for m in ours if root in ("", m.get("thread_ts"))), key=lambda m: m["ts"])

    def called(self, method: str) -> list[Json]:
        """The arguments of every call of a method that was answered with ok."""
        return [call.arguments for call in self.calls if call.method == method and not call.error]

    # --- what people do ---------------------------------------------------------------------------------------------

    async def say(self, user: str, text: str, *, root: str = "", channel: str = CHANNEL, files: Any = None) -> str:
        """Say something in a channel, in a thread, or to us alone (a channel that begins with D); return its time."""
        ts = self._now()
        message = {"type": "message", "user": user, "text": text, "ts": ts, "team": TEAM}
        message |= {"thread_ts": root} if root else {}
        message |= {"files": files, "subtype": "file_share"} if files else {}
        self.messages[ts] = {**message, "channel": channel}
        kind = "im" if channel.startswith("D") else "channel"
        if f"<@{BOT}>" in text and kind == "channel":
            mention = {k: v for k, v in message.items() if k not in ("subtype", "files")}
            await self.event({**mention, "type": "app_mention", "channel": channel, "event_ts": ts})
        await self.event({**message, "channel": channel, "channel_type": kind, "event_ts": ts})
        return ts

    async def edit(self, ts: str, text: str) -> None:
        """Edit what somebody said."""
        message = self.messages[ts]
        old, channel = {**message}, message["channel"]
        message |= {"text": text, "edited": {"user": message["user"], "ts": self._now()}}
        parts = {"message": message, "previous_message": old, "hidden": True, "channel_type": "channel"}
        event = {"type": "message", "subtype": "message_changed", "channel": channel, **parts}
        await self.event({**event, "ts": self._now(), "event_ts": self._now()})

    async def press(self, user: str, ts: str, action_id: str, **more: Any) -> None:
        """Press a button of a message, or choose from its menu (`selected_option`)."""
        assert action_id in json.dumps(self.messages[ts]["blocks"]), f"there is no {action_id} in {self.messages[ts]}"
        action = {"action_id": action_id, "type": "button", "action_ts": self._now(), **more}
        await self.interact("block_actions", user, ts, actions=[action])

    async def interact(self, kind: str, user: str, ts: str, **more: Any) -> None:
        """Send an interaction with a message of ours."""
        message = self.messages[ts]
        place = {"team": {"id": TEAM}, "user": {"id": user, "team_id": TEAM}, "channel": {"id": message["channel"]}}
        container = {"type": "message", "message_ts": ts, "channel_id": message["channel"]}
        await self.deliver("interactive", {"type": kind, **place, "container": container, "message": message, **more})

    async def command(self, user: str, text: str, channel: str = CHANNEL, trigger: str = "") -> None:
        """Use the slash command."""
        where = {"team_id": TEAM, "channel_id": channel, "user_id": user, "command": "/onhand", "text": text}
        await self.deliver("slash_commands", {**where, "trigger_id": trigger or f"1.2.{uuid.uuid4().hex}"})

    async def event(self, event: Json) -> None:
        """Deliver an event as it stands."""
        ours = [
            {"enterprise_id": None, "team_id": TEAM, "user_id": BOT, "is_bot": True, "is_enterprise_install": False}
        ]
        outer = {"type": "event_callback", "team_id": TEAM, "api_app_id": APP, "authorizations": ours}
        await self.deliver("events_api", {**outer, "event_id": f"Ev{uuid.uuid4().hex[:12].upper()}", "event": event})

    async def deliver(self, kind: str, payload: Json) -> None:
        """Send over the open socket, or else to the hook as the body that this kind has there."""
        if self._sockets:
            envelope = {"type": kind, "envelope_id": f"e-{next(self._ids)}", "payload": payload}
            await self._sockets[-1].send_json({**envelope, "accepts_response_payload": kind != "events_api"})
        elif self._hook:
            self.last = kind, payload
            await self.again()

    async def again(self, **headers: str) -> httpx.Response:
        """Send the last delivery (again)."""
        assert self._hook
        kind, payload = self.last
        body = json.dumps(payload)
        if kind != "events_api":
            body = urlencode({"payload": body} if kind == "interactive" else payload)
        media = "application/json" if kind == "events_api" else "application/x-www-form-urlencoded"
        sent = str(int(time.time()))
        signed = self._hook[1].generate_signature(timestamp=sent, body=body) or ""
        usual = {"content-type": media, "x-slack-request-timestamp": sent, "x-slack-signature": signed}
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.post(self._hook[0], content=body, headers={**usual, **headers})
        self.answers.append(answer)
        return answer

    def _now(self) -> str:
        micros = next(self._clock)
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

    # --- the API ----------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        arguments = dict(request.query)
        if request.can_read_body and request.content_type == "application/json":
            arguments |= await request.json()
        elif request.can_read_body:
            arguments |= {name: str(value) for name, value in (await request.post()).items()}
        call = Call(method, arguments)
        self.calls.append(call)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if fault := next((f for f in self.faults if f.times > 0 and f.path.fullmatch(method)), None):
            fault.meet()
            call.error = fault.method or str(fault.status)
            if fault.kind == "hang":
                await fault.wait()
            body = {"ok": False, "error": fault.method} if fault.method else None
            return (
                web.json_response(body, status=fault.status, headers=fault.headers)
                if body
                else web.Response(
                    status=fault.status, headers=fault.headers, text="<html>no</html>", content_type="text/html"
                )
            )
        try:
            found = self._do(method, arguments, token)
        except Refused as refused:
            call.error = str(refused)
            return web.json_response({"ok": False, "error": call.error})
        return web.json_response({"ok": True, **found})

    def _do(self, method: str, arguments: Json, token: str) -> Json:
        if method == "apps.connections.open":
            if token != APP_TOKEN:
                raise Refused("invalid_auth")
            return {"url": f"ws://127.0.0.1:{self.port}/socket"}
        if method == "oauth.v2.access":
            return self._oauth_v2_access(arguments)
        if token != self.token:
            raise Refused("invalid_auth" if token else "not_authed")
        do = getattr(self, f"_{method.replace('.', '_')}", None)
        if do is None:
            raise Refused("unknown_method")
        self.problems += [f"{method}: {problem}" for problem in _problems(method, arguments)]
        found: Json = do(arguments)
        return found

    def _auth_test(self, _: Json) -> Json:
        return {"team": "Acme", "team_id": TEAM, "user": "onhand", "user_id": BOT, "bot_id": "B0ONHAND"}

    @staticmethod
    def _oauth_v2_access(given: Json) -> Json:
        if given.get("code") != "the-code" or not given.get("redirect_uri"):
            raise Refused("invalid_code")
        return {
            "access_token": "xoxb-elsewhere",
            "team": {"id": "T0ELSEWHERE", "name": "Elsewhere"},
            "enterprise": None,
        }

    def _users_info(self, given: Json) -> Json:
        if given["user"] not in self.users:
            raise Refused("user_not_found")
        return {"user": self.users[given["user"]]}

    def _reactions_add(self, given: Json) -> Json:
        self._message(given["timestamp"])
        if (given["timestamp"], given["name"]) in self.reactions:
            raise Refused("already_reacted")
        self.reactions.append((given["timestamp"], given["name"]))
        return {}

    def _chat_postMessage(self, given: Json) -> Json:  # noqa: N802
        root = given.get("thread_ts")
        if root and root not in self.messages:
            raise Refused("thread_not_found")
        ts = self._now()
        said = {"type": "message", "user": BOT, "bot_id": "B0ONHAND", "ts": ts, "channel": given["channel"]}
        self.messages[ts] = {**said, **{k: given[k] for k in ("text", "blocks", "thread_ts") if k in given}}
        return {"channel": given["channel"], "ts": ts}

    def _chat_update(self, given: Json) -> Json:
        if given["ts"] in self.live:
            raise Refused("streaming_state_conflict")
        self._message(given["ts"]).update({k: given[k] for k in ("text", "blocks") if k in given})
        return {"channel": given["channel"], "ts": given["ts"]}

    def _chat_startStream(self, given: Json) -> Json:  # noqa: N802
        if not self.streams:
            raise Refused("unknown_method")
        if not given.get("recipient_user_id") or not given.get("recipient_team_id"):
            raise Refused("missing_recipient_user_id")
        found = self._chat_postMessage({**given, "text": "", "blocks": []})
        self.live.add(found["ts"])
        self._append(found["ts"], given)
        return found

    def _chat_appendStream(self, given: Json) -> Json:  # noqa: N802
        self._append(given["ts"], given)
        return {"channel": given["channel"], "ts": given["ts"]}

    def _chat_stopStream(self, given: Json) -> Json:  # noqa: N802
        self._append(given["ts"], given)
        self._message(given["ts"])["blocks"] += given.get("blocks", [])
        self.live.discard(given["ts"])
        if status := given.get("session_status"):
            self.sessions[self._message(given["ts"]).get("thread_ts", "")] = status
        return {"channel": given["channel"], "ts": given["ts"]}

    def _append(self, ts: str, given: Json) -> None:
        message = self._message(ts)
        if ts not in self.live:
            raise Refused("message_not_in_streaming_state")
        for chunk in given.get("chunks", []):
            if chunk["type"] == "blocks":
                message["blocks"] += chunk["blocks"]
            elif chunk["type"] == "task_update":
                card = {"type": "task_card", "task_id": chunk["id"], "title": chunk["title"], "status": chunk["status"]}
                kept = [b for b in message["blocks"] if b.get("task_id") != chunk["id"]]
                message["blocks"] = [*kept, card]

    def _agents_sessions_setStatus(self, given: Json) -> Json:  # noqa: N802
        if not self.agents:
            raise Refused("not_an_agent")
        self.sessions[given["thread_ts"]] = given["status"]
        return {"status": given["status"]}

    def _conversations_replies(self, given: Json) -> Json:
        root, latest = given["ts"], given.get("latest", "9")
        if root not in self.messages:
            raise Refused("thread_not_found")
        thread = [m for m in self.messages.values() if root in (m["ts"], m.get("thread_ts")) and m["ts"] <= latest]
        first, size = int(given.get("cursor") or 0), int(given.get("limit") or 100)
        page = sorted(thread, key=lambda m: m["ts"])[first : first + size]
        after = str(first + size) if first + size < len(thread) else ""
        return {"messages": page, "has_more": bool(after), "response_metadata": {"next_cursor": after}}

    def _users_conversations(self, _: Json) -> Json:
        channels = sorted({m["channel"] for m in self.messages.values()})
        return {"channels": [{"id": channel} for channel in channels], "response_metadata": {"next_cursor": ""}}

    def _conversations_history(self, given: Json) -> Json:
        if given["channel"] == "C0CLOSED":
            raise Refused("not_in_channel")
        top = [m for m in self.messages.values() if m["channel"] == given["channel"] and "thread_ts" not in m]
        newer = [m for m in top if m["ts"] > given.get("oldest", "")]
        replies = [m.get("thread_ts") for m in self.messages.values()]
        shown = [{**m, "reply_count": replies.count(m["ts"])} for m in reversed(newer)]
        first, size = int(given.get("cursor") or 0), int(given.get("limit") or 100)
        after = str(first + size) if first + size < len(shown) else ""
        return {"messages": shown[first : first + size], "response_metadata": {"next_cursor": after}}

    def _message(self, ts: str) -> Json:
        if ts not in self.messages:
            raise Refused("message_not_found")
        return self.messages[ts]

    # --- files and the socket ---------------------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.reads.append(name)
        if request.headers.get("authorization") != f"Bearer {self.token}" or name == "moved":
            return web.Response(status=302, headers={"location": self.elsewhere or "/login"})
        return web.Response(body=self.files[name]) if name in self.files else web.Response(status=404)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1})
        self._sockets.append(socket)
        self.connected.set()
        async for said in socket:
            answer = json.loads(said.data)
            self.acknowledged[answer["envelope_id"]] = answer.get("payload")
        self._sockets.remove(socket)
        return socket


def _problems(method: str, arguments: Json) -> list[str]:
    """Return what slack_sdk's own method and models find wrong with the arguments."""
    taken = inspect.signature(getattr(AsyncWebClient, method.replace(".", "_"))).parameters
    needed = [n for n, p in taken.items() if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    found = [f"there is no argument {name}" for name in arguments if name not in taken]
    found += [f"{name} is missing" for name in needed if name not in arguments]
    blocks = list(arguments.get("blocks", []))
    for chunk in arguments.get("chunks", []):
        blocks += chunk.get("blocks", [])
        if Chunk.parse(chunk) is None or len(chunk.get("title", "")) > 256:
            found.append(f"chunk {chunk}")
    if len(blocks) > 50:
        found.append(f"{len(blocks)} blocks")
    for block in blocks:
        try:
            parsed = Block.parse(block)
            assert parsed is not None, "no such block"
            parsed.validate_json()
        except (SlackObjectFormationError, AssertionError, TypeError) as error:
            found.append(f"{block}: {error}")
    return found
