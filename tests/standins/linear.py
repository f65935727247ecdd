"""A small Linear on loopback, with a memory: its GraphQL API over its own schema, and its webhooks.

    async with LinearServer() as linear:
        alice = linear.person("Alice")
        app = linear.person("onhand", app=True)
        linear.hook(f"{onhand}/api/integration/linear/events", "s3cret")
        issue = linear.issue("ENG", "The login redirects")
        session = await linear.mention(issue, alice, "@onhand fix it")

Whatever comes in is run by graphql-core against the part of the published schema that we use; what the schema leaves open
(the content of activities, ids, signals) is held against the documentation. Every request is kept in `requests`, what
was wrong in `problems`.
"""

import asyncio
import json
import re
import ssl
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import httpx
from graphql import build_schema, graphql_sync

from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from bot.testing.serving import Serving, answer, read_body
from tests.standins.linear_api import Root, new, now

Json = dict[str, Any]

SCHEMA = build_schema((Path(__file__).parents[1] / "integrations" / "linear" / "schema.graphql").read_text())
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For hooks on loopback: reading every certificate of this machine takes longer than a delivery."""


@dataclass
class Request:
    """One operation that came in, and how it was answered."""

    name: str
    variables: Json
    token: str
    status: int = 0
    errors: list[Any] = field(default_factory=list)


@dataclass
class Fault:
    """The next `times` operations of this name are answered so; with `after`, once they are carried out."""

    name: str
    status: int
    body: Json | None
    times: int
    headers: dict[str, str]
    after: bool = False
    hang: bool = False


@dataclass
class Delivery:
    """A webhook delivery, and what came back."""

    id: str
    body: bytes
    status: int = 0
    answer: str = ""


class LinearServer:
    """The stand-in. Methods that change something are what people do; they deliver webhooks."""

    def __init__(self, port: int = 0) -> None:
        self._serving = Serving(self._app, port)
        self.url = f"{self._serving.url}/graphql"
        self.people: dict[str, Json] = {}
        self.tokens: dict[str, str] = {}
        self.teams: dict[str, Json] = {}
        self.issues: dict[str, Json] = {}
        self.comments: dict[str, Json] = {}
        self.sessions: dict[str, Json] = {}
        self.activities: dict[str, Json] = {}
        self.reactions: dict[str, Json] = {}
        self.suggested: dict[str, float] = {}
        """How sure Linear is of a repository, by its name."""
        self.webhooks: list[Json] = []
        self.applications: dict[str, tuple[str, str]] = {}
        """The secret and the app's user of each OAuth application, by client id."""
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self.deliveries: list[Delivery] = []
        self.faults: list[Fault] = []
        self._hook: tuple[str, Secret] | None = None

    async def __aenter__(self) -> Self:
        await self._serving.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._serving.__aexit__(kind, error, traceback)

    # --- setting the scene --------------------------------------------------------------------------------------------

    def person(self, name: str, *, app: bool = False, guest: bool = False, active: bool = True) -> Json:
        """Enrol somebody; the token in `token` works for the API."""
        made = str(uuid.UUID(bytes=name.encode().ljust(16, b"-")[:16], version=4))  # known before the server is there
        who = {"id": made, "name": name, "displayName": name.lower(), "app": app, "guest": guest, "active": active}
        self.people[who["id"]] = who
        token = f"lin_oauth_{name.encode().hex()}"
        self.tokens[token] = who["id"]
        return {**who, "token": token}

    def hook(self, url: str, secret: str) -> None:
        """Deliver what happens to this address from now on."""
        self._hook = (url, Secret(secret))

    def issue(self, team: str, title: str, description: str = "") -> Json:
        """Make an issue that is not started."""
        place = self.teams.setdefault(team, self._team(team))
        number = 1 + sum(issue["team"]["key"] == team for issue in self.issues.values())
        made = {
            "id": new(),
            "identifier": f"{team}-{number}",
            "number": number,
            "title": title,
            "description": description,
            "url": f"https://linear.app/octo/issue/{team}-{number}",
            "team": place,
            "state": {"id": "todo", "type": "unstarted"},
            "delegate": None,
            "labels": [],
        }
        self.issues[made["identifier"]] = made
        return made

    def _team(self, key: str) -> Json:
        states = [
            {"id": "review", "type": "started", "position": 2.0},
            {"id": "doing", "type": "started", "position": 1.0},
        ]
        return {"id": new(), "key": key, "name": key, "states": lambda info, **_: {"nodes": states}}

    def fail(self, name: str, code: str = "", *, status: int = 200, times: int = 1, **more: Any) -> None:
        """Answer the next operations of this name with an error of this code, or with a bare HTTP status."""
        kinds = {"code": code, "type": code.lower().replace("_", " "), "userError": more.pop("user_error", False)}
        body = {"data": None, "errors": [{"message": f"planned {code}", "extensions": kinds}]} if code else None
        self.faults.append(Fault(name, status, body, times, more.pop("headers", {}), **more))

    # --- looking ------------------------------------------------------------------------------------------------------

    def said(self, session: Json) -> list[Json]:
        """What the app has said in a session, oldest first."""
        return [
            a for a in self.activities.values() if a["session"] == session["id"] and a["content"]["type"] != "prompt"
        ]

    def shown(self, session: Json) -> list[Json]:
        """What a person sees of it: an ephemeral activity goes when the next one comes."""
        said = self.said(session)
        return [a for place, a in enumerate(said) if not a["ephemeral"] or place == len(said) - 1]

    def comments_of(self, issue: Json, who: Json) -> list[Json]:
        """What somebody has written below an issue."""
        return [c for c in self.comments.values() if c["issue"] is issue and c["user"]["id"] == who["id"]]

    # --- what people do -----------------------------------------------------------------------------------------------

    async def mention(self, issue: Json, who: Json, text: str) -> Json:
        """Mention the app in a comment, which begins a session; return the session."""
        comment = self.add_comment(issue, who, text)
        return await self._begin(issue, who, comment)

    async def delegate(self, issue: Json, who: Json) -> Json:
        """Delegate an issue to the app; return the session."""
        issue["delegate"] = self._app_user()
        nobody = {"id": None, "name": "Linear", "app": True}
        return await self._begin(
            issue, who, self.add_comment(issue, nobody, "This thread is for an agent session with onhand.")
        )

    async def _begin(self, issue: Json, who: Json, comment: Json) -> Json:
        creator = _shown(who)
        session = {
            "id": new(),
            "issue": issue,
            "comment": comment,
            "creator": creator,
            "createdAt": now(),
            "url": None,
        }
        session |= {"plan": None, "externalUrls": [], "sourceComment": None, "status": "pending"}
        self.sessions[session["id"]] = session
        context = f'<issue identifier="{issue["identifier"]}">\n<title>{issue["title"]}</title>\n</issue>'
        await self._session_event("created", session, promptContext=context, previousComments=[], guidance=None)
        return session

    async def prompt(self, session: Json, who: Json, text: str, signal: str | None = None) -> None:
        """Say something in a session, or press stop (`signal`)."""
        activity = {"id": new(), "session": session["id"], "signal": signal, "createdAt": now(), "ephemeral": False}
        activity |= {"content": {"type": "prompt", "body": text}, "user": _shown(who), "sourceComment": None}
        self.activities[activity["id"]] = activity
        shown = {k: activity[k] for k in ("id", "signal", "createdAt", "content", "user")}
        await self._session_event("prompted", session, agentActivity=shown)

    async def comment(self, issue: Json, who: Json, text: str, parent: str | None = None) -> Json:
        """Comment on an issue."""
        comment = self.add_comment(issue, who, text, parent=parent)
        await self._happen("Comment", "create", who, {**self._flat(comment), "issue": self._plain(issue)})
        return comment

    async def label(self, issue: Json, who: Json, name: str) -> None:
        """Set a label."""
        before = [label["id"] for label in issue["labels"]]
        issue["labels"] = [*issue["labels"], {"id": f"label-{name}", "name": name}]
        data = {**self._plain(issue), "labels": issue["labels"], "updatedAt": now()}
        data["labelIds"] = [label["id"] for label in issue["labels"]]
        await self._happen("Issue", "update", who, data, updatedFrom={"labelIds": before})

    # --- webhooks -----------------------------------------------------------------------------------------------------

    async def send(self, body: bytes, delivery_id: str = "", signature: str | None = None) -> Delivery:
        """Post a body as a delivery; the same one again is a retry."""
        assert self._hook is not None
        url, secret = self._hook
        delivery = Delivery(delivery_id or new(), body)
        self.deliveries.append(delivery)
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Linear-Webhook",
            "linear-delivery": delivery.id,
            "linear-signature": hmac_sha256(secret, body).hex() if signature is None else signature,
        }
        async with httpx.AsyncClient(timeout=30, trust_env=False, verify=_PLAIN) as client:
            answered = await client.post(url, content=body, headers=headers)
        delivery.status, delivery.answer = answered.status_code, answered.text
        return delivery

    async def _session_event(self, action: str, session: Json, **more: Any) -> None:
        comment = session["comment"]
        shown = {
            **{k: session[k] for k in ("id", "creator", "url", "createdAt", "status")},
            "sourceCommentId": None,
            "comment": {"id": comment["id"], "body": comment["body"]},
            "issue": self._plain(session["issue"]),
        }
        app = (self._app_user() or {}).get("id")
        await self._deliver(
            {"type": "AgentSessionEvent", "action": action, "appUserId": app, "agentSession": shown, **more}
        )

    async def _happen(self, kind: str, action: str, who: Json, data: Json, **more: Any) -> None:
        actor = {**_shown(who), "type": "oauthClient" if who.get("app") else "user"}
        await self._deliver(
            {"type": kind, "action": action, "actor": actor, "data": data, "url": data.get("url"), **more}
        )

    async def _deliver(self, payload: Json) -> None:
        stamped = {**payload, "createdAt": now(), "webhookTimestamp": int(time.time() * 1000), "webhookId": "w-1"}
        if self._hook is not None:
            await self.send(json.dumps(stamped).encode())

    def add_comment(self, issue: Json, who: Json, text: str, made: str = "", parent: str | None = None) -> Json:
        comment = {"id": made or new(), "body": text, "issue": issue, "user": who, "parentId": parent}
        comment |= {"createdAt": now(), "editedAt": None}
        comment["url"] = f"{issue['url']}#comment-{comment['id'][:8]}"
        self.comments[comment["id"]] = comment
        return comment

    def _flat(self, comment: Json) -> Json:
        kept = ("id", "body", "createdAt", "editedAt", "url", "parentId")
        return {**{k: comment[k] for k in kept}, "updatedAt": now(), "user": _shown(comment["user"])}

    def _plain(self, issue: Json) -> Json:
        kept = ("id", "identifier", "number", "title", "description", "url")
        return {**{k: issue[k] for k in kept}, "team": {k: issue["team"][k] for k in ("id", "key", "name")}}

    def _app_user(self) -> Json | None:
        return next((who for who in self.people.values() if who["app"]), None)

    # --- the API ------------------------------------------------------------------------------------------------------

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/oauth/token":
            await self._grant(send, dict(parse_qsl((await read_body(receive)).decode())))
            return
        asked = json.loads(await read_body(receive))
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        name = re.match(r"(?:query|mutation) (\w+)", asked["query"])
        request = Request(name[1] if name else "", asked.get("variables") or {}, headers.get("authorization", ""))
        self.requests.append(request)
        fault = next((f for f in self.faults if f.times and re.fullmatch(f.name, request.name)), None)
        if fault is not None:
            fault.times -= 1
            if fault.hang:
                await asyncio.sleep(5)  # longer than any patience in a test
        if fault is None or fault.after:
            request.status, body = self._carry_out(request, asked["query"])
        if fault is not None:
            request.status, body = fault.status, fault.body or {}
        data = json.dumps(body).encode() if body else b"<html>planned failure</html>"
        extra = fault.headers if fault is not None else {}
        await answer(send, request.status, data, {"content-type": "application/json", **extra})

    async def _grant(self, send: Any, form: Json) -> None:
        """Grant a token of the app's user; the one before it ends."""
        secret, user = self.applications.get(form.get("client_id", ""), ("", ""))
        if form.get("grant_type") != "client_credentials" or not secret or form.get("client_secret") != secret:
            await answer(send, 401, b'{"error":"invalid_client"}')
            return
        if "app:mentionable" not in form["scope"].split(","):
            self.problems.append(f"scopes: {form['scope']}")
        for token in [token for token, whose in self.tokens.items() if whose == user]:
            del self.tokens[token]
        token = f"lin_oauth_{uuid.uuid4().hex}"
        self.tokens[token] = user
        granted = {"access_token": token, "token_type": "Bearer", "expires_in": 2_591_999, "scope": form["scope"]}
        await answer(send, 200, json.dumps(granted).encode(), {"content-type": "application/json"})

    def _carry_out(self, request: Request, document: str) -> tuple[int, Json]:
        viewer = self.people.get(self.tokens.get(request.token.removeprefix("Bearer "), ""))
        if viewer is None:
            refusal = {"code": "AUTHENTICATION_ERROR", "type": "authentication error", "statusCode": 401}
            return 401, {"errors": [{"message": "Authentication required, not authenticated", "extensions": refusal}]}
        done = graphql_sync(SCHEMA, document, Root(self, viewer), variable_values=request.variables)
        request.errors = list(done.errors or [])
        unplanned = [error for error in request.errors if not (error.extensions or {}).get("code")]
        self.problems += [f"{request.name}: {error.message}" for error in unplanned]
        return (400 if unplanned else 200), done.formatted  # type: ignore[return-value]


def _shown(who: Json) -> Json:
    return {
        "id": who["id"],
        "name": who["name"],
        "email": f"{who['name']}@example.com",
        "url": "https://linear.app/octo",
    }
