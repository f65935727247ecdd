"""A small Jira, Cloud or Data Center, on one loopback port: the REST API and the webhooks, with a memory.

    async with JiraServer(cloud=True) as jira:
        token = jira.person("onhand").token
        jira.hook(f"{onhand}/api/integration/jira/events", "s3cret")
        key = await jira.issue("APP", "alice", "Login is wrong", "[~accountid:...] fix it")

Texts of people are wiki markup, as webhooks carry them. Whatever a person does is delivered, and so is what comes in over
the API. Every API request is kept in `requests`.
"""

import asyncio
import base64
import json
import re
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import httpx

from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from bot.testing.github_http import Fault, Request
from bot.testing.serving import Serving, answer, read_body
from tests.standins.jira_state import STATES, Delivery, Enrolled, Json, Refusal, Said, Ticket, document, plain

_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For hooks on loopback: reading every certificate of this machine takes longer than a delivery."""


class JiraServer:
    """The stand-in. Methods that make or change something are what people do on the pages; they deliver webhooks."""

    def __init__(self, *, cloud: bool = True, port: int = 0, clock: Callable[[], float] = time.time) -> None:
        self.cloud, self._clock = cloud, clock
        self._serving = Serving(self._app, port)
        self.url = self._serving.url
        self.people: dict[str, Enrolled] = {}
        self.issues: dict[str, Ticket] = {}
        self.said: dict[str, Said] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.deliveries: list[Delivery] = []
        self.webhooks: list[Json] = []
        """Those that were registered over the API."""
        self.developments: dict[tuple[str, str, str], Json] | None = {}
        """The development panel, by issue, forge and kind; None where nobody may see it."""
        self._hooks: list[tuple[str, Secret]] = []
        self._last_id = uuid.uuid4().int % 10**9  # ids of one stand-in are not those of another
        self._echoes: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._serving.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fault in self.faults:
            fault.release()
        await self._serving.__aexit__(kind, error, traceback)

    # --- setting the scene ------------------------------------------------------------------------------------------

    def person(self, name: str, kind: str = "atlassian", *, member: bool = True, token: str = "") -> Enrolled:
        """Enrol somebody; `member` says whether issues can be assigned to them."""
        number = name.encode().hex()
        account = f"712020:{number}" if self.cloud else f"JIRAUSER{int(number[:8], 16)}"
        key = token or f"token-of-{name}"
        return self.people.setdefault(
            name, Enrolled(name, account, f"{name}@example.org:{key}" if self.cloud else key, kind, member)
        )

    def hook(self, url: str, secret: str) -> None:
        """Deliver what happens to this address from now on, signed with the secret."""
        self._hooks.append((url, Secret(secret)))

    def deaf(self) -> None:
        """Deliver nothing more."""
        self._hooks.clear()

    def fail(
        self, method: str, path: str, status: int = 500, times: int = 1, after: bool = False, **more: str
    ) -> Fault:
        """Fail the next requests whose method and whole path match; `more` are headers, `retry_after` for Retry-After."""
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        return self._plan(Fault(method, re.compile(path), times, "answer", status, headers, after=after))

    def hang(self, method: str, path: str, *, times: int = 1) -> Fault:
        """Leave the next matching requests without an answer."""
        return self._plan(Fault(method, re.compile(path), times, "hang"))

    def drop(self, method: str, path: str, *, times: int = 1, after: bool = False) -> Fault:
        """Close the connection on the next matching requests; with `after`, once they are carried out."""
        return self._plan(Fault(method, re.compile(path), times, "drop", after=after))

    def _plan(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def attach(self, key: str, name: str, content: bytes, kind: str = "text/plain") -> None:
        """Attach a file."""
        about = {"id": self._new(), "filename": name, "mimeType": kind, "size": len(content), "created": self._now()}
        self.issues[key].files.append((about, content))

    def comments(self, key: str, author: str = "") -> list[Said]:
        """What was said in an issue, oldest first."""
        return [said for said in self.said.values() if said.key == key and author in ("", said.author.name)]

    # --- what people do ---------------------------------------------------------------------------------------------

    async def issue(
        self,
        project: str,
        author: str,
        summary: str,
        description: str = "",
        labels: tuple[str, ...] = (),
        assignee: str = "",
    ) -> str:
        """Make an issue; return its key."""
        key = f"{project}-{1 + sum(k.startswith(f'{project}-') for k in self.issues)}"
        now, number = self._now(), self._new()
        who = self.people[assignee] if assignee else None
        self.issues[key] = Ticket(number, key, self.people[author], summary, description, now, now, list(labels), who)
        await self._deliver("jira:issue_created", key, user=self._shown(self.people[author]))
        return key

    async def comment(self, key: str, author: str, body: str, **more: Any) -> str:
        """Comment on an issue; return the comment's id."""
        said = self._add(key, self.people[author], body)
        said.visibility = more.get("visibility")
        await self._tell("comment_created", said)
        return said.id

    async def edit(self, comment: str, editor: str, body: str) -> None:
        """Edit a comment."""
        said = self.said[comment]
        said.body, said.editor, said.updated = body, self.people[editor], self._now()
        await self._tell("comment_updated", said)

    async def label(self, key: str, who: str, *labels: str) -> None:
        """Set the labels of an issue."""
        issue = self.issues[key]
        before, issue.labels = " ".join(issue.labels), list(labels)
        await self._changed(issue, who, {"field": "labels", "fromString": before, "toString": " ".join(labels)})

    async def assign(self, key: str, who: str, assignee: str) -> None:
        """Assign an issue."""
        issue, person = self.issues[key], self.people[assignee]
        issue.assignee = person
        await self._changed(
            issue,
            who,
            {"field": "assignee", "from": None, "fromString": None, "to": person.id, "toString": person.name},
        )

    async def describe(self, key: str, who: str, description: str) -> None:
        """Change the description of an issue."""
        issue = self.issues[key]
        before, issue.description = issue.description, description
        await self._changed(issue, who, {"field": "description", "fromString": before, "toString": description})

    # --- webhooks ---------------------------------------------------------------------------------------------------

    async def send(self, delivery: Delivery, **headers: str) -> list[httpx.Response]:
        """Post a delivery to every hook, under its own id; sending one again is a retry."""
        responses = []
        async with httpx.AsyncClient(timeout=30, trust_env=False, verify=_PLAIN) as client:
            for url, secret in self._hooks:
                sent = {**signed_headers(delivery, secret, self.cloud), **headers}
                response = await client.post(url, content=delivery.body, headers=sent)
                delivery.status, delivery.answer = response.status_code, response.text
                responses.append(response)
        return responses

    async def _changed(self, issue: Ticket, who: str, item: Json) -> None:
        person = self.people[who]
        item = {"fieldtype": "jira", "fieldId": item["field"], "from": None, "to": None, **item}
        log = {"id": self._new(), "items": [item]}
        issue.updated = self._now()
        issue.histories.append({**log, "author": self._shown(person), "created": issue.updated})
        await self._deliver("jira:issue_updated", issue.key, user=self._shown(person), changelog=log)

    async def _tell(self, event: str, said: Said) -> None:
        """Tell of a comment: as Data Center does, by two events of which the first has no issue."""
        shown = self._comment(said, wiki=True)
        if self.cloud:
            await self._deliver(event, said.key, comment=shown)
            return
        await self._deliver(event, "", comment=shown)
        kind = "issue_commented" if event == "comment_created" else "issue_comment_edited"
        user = self._shown(said.editor or said.author)
        await self._deliver("jira:issue_updated", said.key, issue_event_type_name=kind, user=user, comment=shown)

    async def _deliver(self, event: str, key: str, **parts: Any) -> None:
        payload: Json = {"timestamp": int(self._clock() * 1000), "webhookEvent": event, **parts}
        if key:
            payload["issue"] = self._issue(self.issues[key], wiki=True)
        delivery = Delivery(str(uuid.uuid4()), event, json.dumps(payload, ensure_ascii=False).encode())
        self.deliveries.append(delivery)
        await self.send(delivery)

    # --- the API ----------------------------------------------------------------------------------------------------

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        person = self._who(headers.pop("authorization", ""))
        raw, body = await read_body(receive), None
        with suppress(ValueError):
            body = json.loads(raw) if raw else None
        query = dict(parse_qsl(scope["query_string"].decode()))
        method, path = scope["method"], unquote(scope["path"])
        fault = next((f for f in self.faults if f.times > 0 and f.method == method and f.path.fullmatch(path)), None)
        status, shown, more = 0, None, dict[str, str]()
        if fault is not None:
            fault.meet()
        if fault is None or fault.after:
            try:
                status, shown = self._answer(method, path, query, body, person)
            except Refusal as refused:
                status, shown = refused.status, {"errorMessages": [refused.message], "errors": {}}
        if fault is not None:
            status, shown, more = fault.status, {"errorMessages": [fault.message], "errors": {}}, dict(fault.headers)
        lost = fault is not None and fault.kind != "answer"
        self.requests.append(
            Request(method, path, query, headers, body, person.name if person else "", 0 if lost else status)
        )
        await self._respond(send, fault, status, shown, more)

    async def _respond(self, send: Any, fault: Fault | None, status: int, shown: Any, more: Mapping[str, str]) -> None:
        if fault and fault.kind == "hang":
            await fault.wait()
        if fault and fault.kind == "drop":  # a body shorter than it was said to be makes the server hang up
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            return
        content = shown if isinstance(shown, bytes) else b"" if shown is None else json.dumps(shown).encode()
        await answer(send, status, content, {"content-type": "application/json;charset=UTF-8", **more})

    def _who(self, authorization: str) -> Enrolled | None:
        kind, _, credential = authorization.partition(" ")
        if kind == "Basic":
            credential = base64.b64decode(credential).decode()
        return next((person for person in self.people.values() if person.token == credential), None)

    def _answer(self, method: str, path: str, query: Json, body: Any, person: Enrolled | None) -> tuple[int, Any]:
        if path == "/rest/api/2/serverInfo":
            return 200, {"deploymentType": "Cloud" if self.cloud else "Server", "version": "9.12.0"}
        if person is None:
            raise Refusal(401, "Client must be authenticated to access this resource.")
        for verb, pattern, route in _ROUTES:
            base = f"/rest/api/{3 if self.cloud else 2}/"
            if verb == method and (found := re.fullmatch(pattern.replace("API/", base), path)):
                return route(self, query, body, person, *found.groups())
        raise Refusal(404, "null for uri")

    def _myself(self, query: Json, body: Any, person: Enrolled) -> tuple[int, Any]:
        return 200, self._shown(person)

    def _user(self, query: Json, body: Any, person: Enrolled) -> tuple[int, Any]:
        asked = query.get("accountId") if self.cloud else query.get("key")
        for other in self.people.values():
            if other.id == asked or (not self.cloud and other.name == query.get("username")):
                return 200, self._shown(other)
        raise Refusal(404, "The user does not exist.")

    def _assignable(self, query: Json, body: Any, person: Enrolled) -> tuple[int, Any]:
        self._there(query["issueKey"])
        asked = query.get("accountId") if self.cloud else query.get("username", "")
        able = [
            p for p in self.people.values() if p.member and (p.id == asked if self.cloud else p.name.startswith(asked))
        ]
        return 200, [self._shown(p) for p in able]

    def _show_issue(self, query: Json, body: Any, person: Enrolled, key: str) -> tuple[int, Any]:
        return 200, self._issue(self._there(key))

    def _comments(self, query: Json, body: Any, person: Enrolled, key: str) -> tuple[int, Any]:
        self._there(key)
        found = self.comments(key)[::-1] if query.get("orderBy") == "-created" else self.comments(key)
        shown = [self._comment(said) for said in found[: int(query.get("maxResults", "50"))]]
        return 200, {"startAt": 0, "maxResults": 100, "total": len(found), "comments": shown}

    def _add_comment(self, query: Json, body: Any, person: Enrolled, key: str) -> tuple[int, Any]:
        self._there(key)
        said = self._add(key, person, self._checked(body["body"]))
        said.properties = {p["key"]: p["value"] for p in body.get("properties", [])}
        said.visibility = body.get("visibility")
        self._later("comment_created", said)
        return 201, self._comment(said)

    def _edit_comment(self, query: Json, body: Any, person: Enrolled, key: str, comment: str) -> tuple[int, Any]:
        said = self.said.get(comment)
        if said is None or said.key != key:
            raise Refusal(404, "Can not find a comment for the id.")
        if said.author != person:
            raise Refusal(400, "You do not have the permission to edit this comment.")
        said.body, said.updated, said.visibility = self._checked(body["body"]), self._now(), body.get("visibility")
        self._later("comment_updated", said)
        return 200, self._comment(said)

    def _property(self, query: Json, body: Any, person: Enrolled, comment: str, name: str) -> tuple[int, Any]:
        found = self.said[comment].properties.get(name) if comment in self.said else None
        if found is None:
            raise Refusal(404, "The property does not exist.")
        return 200, {"key": name, "value": found}

    def _transitions(self, query: Json, body: Any, person: Enrolled, key: str) -> tuple[int, Any]:
        here = self._there(key).state
        ways = [{"id": str(n), "name": f"Go to {s}", "to": {"name": s}} for n, s in enumerate(STATES, 11) if s != here]
        return 200, {"expand": "transitions", "transitions": ways}

    def _transit(self, query: Json, body: Any, person: Enrolled, key: str) -> tuple[int, Any]:
        self._there(key).state = STATES[int(body["transition"]["id"]) - 11]
        return 204, None

    def _links(self, query: Json, body: Any, person: Enrolled, key: str) -> tuple[int, Any]:
        return 200, self._there(key).links

    def _link(self, query: Json, body: Any, person: Enrolled, key: str) -> tuple[int, Any]:
        links = self._there(key).links
        known = next((link for link in links if link.get("globalId") == body.get("globalId")), None)
        if known:
            known.update(body)
            return 200, {"id": known["id"], "self": f"{self.url}/x"}
        links.append({"id": int(self._new()), **body})
        return 201, {"id": links[-1]["id"], "self": f"{self.url}/x"}

    def _search(self, query: Json, body: Any, person: Enrolled) -> tuple[int, Any]:
        found = re.fullmatch(r'updated >= "-(\d+)m" ORDER BY updated ASC', query["jql"])
        if found is None:
            raise Refusal(400, "Error in the JQL Query")
        since = self._clock() - 60 * int(found[1])
        all_ = [i for i in self.issues.values() if datetime.fromisoformat(i.updated).timestamp() >= since]
        start = int(query.get("nextPageToken") or query.get("startAt") or 0)
        size = int(query["maxResults"])
        shown = [
            {**self._issue(issue), "changelog": {"histories": issue.histories}} for issue in all_[start : start + size]
        ]
        more = {"nextPageToken": str(start + size)} if start + size < len(all_) else {"isLast": True}
        return 200, {"issues": shown, **(more if self.cloud else {"total": len(all_), "startAt": start})}

    def _developed(self, query: Json, body: Any, person: Enrolled) -> tuple[int, Any]:
        if self.developments is None:
            raise Refusal(403, "You are not authorised to see the development panel.")
        issue = next(i for i in self.issues.values() if i.id == query["issueId"])
        detail = self.developments.get((issue.key, query["applicationType"], query["dataType"]))
        return 200, {"errors": [], "detail": [detail] if detail else []}

    def _content(self, query: Json, body: Any, person: Enrolled, number: str) -> tuple[int, Any]:
        return 200, next(c for i in self.issues.values() for about, c in i.files if about["id"] == number)

    def _hooks_of(self, query: Json, body: Any, person: Enrolled) -> tuple[int, Any]:
        return 200, self.webhooks

    def _add_hook(self, query: Json, body: Any, person: Enrolled) -> tuple[int, Any]:
        self.webhooks.append({key: value for key, value in body.items() if key != "secret"})
        return 201, self.webhooks[-1]

    # --- how things look ----------------------------------------------------------------------------------------------

    def _checked(self, body: Any) -> Any:
        if isinstance(body, dict) is not self.cloud:
            raise Refusal(400, "Comment body is not valid!")
        if len(plain(body)) > 32_767:
            raise Refusal(400, "The entered text is too long. It exceeds the allowed limit of 32,767 characters.")
        return body

    def _shown(self, person: Enrolled) -> Json:
        common = {"displayName": person.name.title(), "active": person.kind != "gone", "timeZone": "GMT"}
        kind = "atlassian" if person.kind == "gone" else person.kind
        if self.cloud:
            return {"accountId": person.id, "accountType": kind, **common}
        return {"name": person.name, "key": person.id, **common}

    def _issue(self, issue: Ticket, wiki: bool = False) -> Json:
        fields = {
            "summary": issue.summary,
            "description": self._body(issue.description, wiki),
            "labels": issue.labels,
            "assignee": self._shown(issue.assignee) if issue.assignee else None,
            "creator": self._shown(issue.author),
            "created": issue.created,
            "updated": issue.updated,
            "status": {"name": issue.state},
            "attachment": [about for about, _ in issue.files],
        }
        if not wiki:
            comments = [self._comment(said) for said in self.comments(issue.key)]
            fields["comment"] = {"comments": comments[:20], "total": len(comments)}
        return {"id": issue.id, "key": issue.key, "fields": fields}

    def _comment(self, said: Said, wiki: bool = False) -> Json:
        shown: Json = {
            "id": said.id,
            "author": self._shown(said.author),
            "updateAuthor": self._shown(said.editor or said.author),
            "body": self._body(said.body, wiki),
            "created": said.created,
            "updated": said.updated,
        }
        if self.cloud:
            shown["jsdPublic"] = not said.properties.get("sd.public.comment", {}).get("internal", False)
        return shown | ({"visibility": said.visibility} if said.visibility else {})

    def _body(self, body: Any, wiki: bool) -> Any:
        """Return a text as the webhooks (wiki markup) or the API (documents on Cloud) show it."""
        if wiki or not self.cloud:
            return plain(body)
        return body if isinstance(body, dict) else document(body or "")

    def _add(self, key: str, author: Enrolled, body: Any) -> Said:
        now = self._now()
        said = Said(self._new(), key, author, body, now, now)
        self.said[said.id] = said
        self.issues[key].updated = now
        return said

    def _there(self, key: str) -> Ticket:
        if key not in self.issues:
            raise Refusal(404, "Issue does not exist or you do not have permission to see it.")
        return self.issues[key]

    def _new(self) -> str:
        self._last_id += 1
        return str(self._last_id)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"

    def _later(self, event: str, said: Said) -> None:
        async def tell() -> None:
            with suppress(httpx.HTTPError):
                await self._tell(event, said)

        task = asyncio.create_task(tell())
        self._echoes.add(task)
        task.add_done_callback(self._echoes.discard)


Route = Callable[..., tuple[int, Any]]

_ROUTES: list[tuple[str, str, Route]] = [
    ("GET", "API/myself", JiraServer._myself),
    ("GET", "API/user", JiraServer._user),
    ("GET", "API/user/assignable/search", JiraServer._assignable),
    ("GET", "API/issue/([A-Z]+-[0-9]+)", JiraServer._show_issue),
    ("GET", "API/issue/([A-Z]+-[0-9]+)/comment", JiraServer._comments),
    ("POST", "API/issue/([A-Z]+-[0-9]+)/comment", JiraServer._add_comment),
    ("PUT", "API/issue/([A-Z]+-[0-9]+)/comment/([0-9]+)", JiraServer._edit_comment),
    ("GET", "API/comment/([0-9]+)/properties/([a-z.]+)", JiraServer._property),
    ("GET", "API/issue/([A-Z]+-[0-9]+)/transitions", JiraServer._transitions),
    ("POST", "API/issue/([A-Z]+-[0-9]+)/transitions", JiraServer._transit),
    ("GET", "API/issue/([A-Z]+-[0-9]+)/remotelink", JiraServer._links),
    ("POST", "API/issue/([A-Z]+-[0-9]+)/remotelink", JiraServer._link),
    ("GET", "API/search(?:/jql)?", JiraServer._search),
    ("GET", "API/attachment/content/([0-9]+)", JiraServer._content),
    ("GET", "/secure/attachment/([0-9]+)/[^/]+", JiraServer._content),
    ("GET", "/rest/dev-status/latest/issue/detail", JiraServer._developed),
    ("GET", "/rest/webhooks/1.0/webhook", JiraServer._hooks_of),
    ("POST", "/rest/webhooks/1.0/webhook", JiraServer._add_hook),
]


def signed_headers(delivery: Delivery, secret: Secret, cloud: bool = True) -> dict[str, str]:
    """Return the headers under which Jira sends a delivery."""
    own = {"x-atlassian-webhook-identifier": delivery.id, "x-atlassian-webhook-flow": "Primary"} if cloud else {}
    digest = hmac_sha256(secret, delivery.body).hex()
    return {"content-type": "application/json; charset=UTF-8", "x-hub-signature": f"sha256={digest}", **own}
