"""What each operation of the small Linear does, and what the schema leaves open: the content of activities, signals, ids."""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

if TYPE_CHECKING:
    from tests.standins.linear import LinearServer

Json = dict[str, Any]

FIELDS = {
    "thought": {"body"},
    "elicitation": {"body"},
    "response": {"body"},
    "error": {"body"},
    "action": {"action", "parameter"},
}
"""What an activity of each type must say. https://linear.app/developers/agent-interaction#activity-content-payload"""
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Root:
    """What each operation does. Names are the schema's."""

    def __init__(self, server: "LinearServer", viewer: Json) -> None:
        self._server, self.viewer = server, viewer

    def user(self, info: Any, id: str) -> Json:  # noqa: A002
        return _known(self._server.people, id, "User")

    def users(self, info: Any, first: int, filter: Json) -> Json:  # noqa: A002
        login = filter["or"][0]["displayName"]["eqIgnoreCase"].lower()
        return {"nodes": [who for who in self._server.people.values() if who["displayName"] == login]}

    def issue(self, info: Any, id: str) -> Json:  # noqa: A002
        found = _known(self._server.issues, id, "Issue")
        there = [c for c in self._server.comments.values() if c["issue"] is found]
        return {**found, "comments": {"nodes": there}}

    def comment(self, info: Any, id: str) -> Json:  # noqa: A002
        return _known(self._server.comments, id, "Comment")

    def agentActivity(self, info: Any, id: str) -> Json:  # noqa: A002, N802
        return _known(self._server.activities, id, "AgentActivity")

    def agentSessions(self, info: Any, first: int) -> Json:  # noqa: N802
        return {"nodes": list(self._server.sessions.values())}

    def agentActivities(self, info: Any, first: int, filter: Json) -> Json:  # noqa: A002, N802
        prompts = [a for a in self._server.activities.values() if a["content"]["type"] == "prompt"]
        shown = {"__typename": "AgentActivityPromptContent"}
        sessions = self._server.sessions
        return {
            "nodes": [
                {**a, "content": {**a["content"], **shown}, "agentSession": sessions[a["session"]]} for a in prompts
            ]
        }

    def comments(self, info: Any, first: int, filter: Json) -> Json:  # noqa: A002
        word = filter["body"]["containsIgnoreCase"].lower()
        return {"nodes": [c for c in self._server.comments.values() if word in c["body"].lower() and c["user"]["id"]]}

    def issueRepositorySuggestions(self, info: Any, candidateRepositories: list[Json], **_: Any) -> Json:  # noqa: N802, N803
        names = [c["repositoryFullName"] for c in candidateRepositories]
        sure = self._server.suggested
        return {"suggestions": [{"repositoryFullName": n, "confidence": sure[n]} for n in names if n in sure]}

    def agentActivityCreate(self, info: Any, input: Json) -> Json:  # noqa: A002, N802
        _known(self._server.sessions, input["agentSessionId"], "AgentSession")
        self._server.problems += _activity_problems(input)
        self._new_id(self._server.activities, input["id"])
        activity = {**input, "session": input["agentSessionId"], "user": self.viewer, "createdAt": now()}
        activity.setdefault("signal", None)
        self._server.activities[input["id"]] = activity
        return {"success": True, "agentActivity": activity}

    def agentSessionUpdate(self, info: Any, id: str, input: Json) -> Json:  # noqa: A002, N802
        session = _known(self._server.sessions, id, "AgentSession")
        for step in input.get("plan") or []:
            if set(step) != {"content", "status"} or step["status"] not in (
                "pending",
                "inProgress",
                "completed",
                "canceled",
            ):
                self._server.problems.append(f"no step of a plan: {step}")
        session.update(input)
        return {"success": True, "agentSession": session}

    def commentCreate(self, info: Any, input: Json) -> Json:  # noqa: A002, N802
        issue = _known(self._server.issues, input["issueId"], "Issue")
        if parent := input.get("parentId"):
            _known(self._server.comments, parent, "Comment")
        self._new_id(self._server.comments, input["id"])
        made = self._server.add_comment(issue, self.viewer, input["body"], input["id"], parent)
        return {"success": True, "comment": made}

    def commentUpdate(self, info: Any, id: str, input: Json) -> Json:  # noqa: A002, N802
        comment = _known(self._server.comments, id, "Comment")
        comment["body"], comment["editedAt"] = input["body"], now()
        return {"success": True, "comment": comment}

    def reactionCreate(self, info: Any, input: Json) -> Json:  # noqa: A002, N802
        self._server.reactions[input["id"]] = input
        return {"success": True, "reaction": input}

    def webhooks(self, info: Any, first: int) -> Json:
        return {"nodes": self._server.webhooks}

    def webhookCreate(self, info: Any, input: Json) -> Json:  # noqa: A002, N802
        made = {"id": new(), **input}
        self._server.webhooks.append(made)
        return {"success": True, "webhook": made}

    def issueUpdate(self, info: Any, id: str, input: Json) -> Json:  # noqa: A002, N802
        issue = next(issue for issue in self._server.issues.values() if issue["id"] == id)
        if "stateId" in input:
            issue["state"] = {"id": input["stateId"], "type": "started"}
        if "delegateId" in input:
            issue["delegate"] = self._server.people[input["delegateId"]]
        return {"success": True, "issue": issue}

    def _new_id(self, there: Mapping[str, Json], made: str) -> None:
        if not _UUID4.fullmatch(made):
            self._server.problems.append(f"no UUID of version 4: {made}")
        if made in there:
            raise GraphQLError("Entity already exists", extensions={"code": "INVALID_INPUT", "type": "invalid input"})


def _activity_problems(given: Json) -> list[str]:
    content, signal = given["content"], given.get("signal")
    kind = content.get("type", "")
    problems = [] if kind in FIELDS else [f"no type of an activity: {kind!r}"]
    if set(content) - {"type", "result"} != FIELDS.get(kind, set()) or not all(map(str.strip, content.values())):
        problems.append(f"no content of an activity: {content}")
    if given.get("ephemeral") and kind not in ("thought", "action"):
        problems.append(f"{kind} cannot be ephemeral")
    if signal and kind != "elicitation":
        problems.append(f"{kind} has no signal")
    if signal == "select" and not all(option.get("value") for option in given["signalMetadata"]["options"]):
        problems.append("an option without a value")
    if signal == "auth" and not given["signalMetadata"].get("url"):
        problems.append("auth without an address")
    return problems


def _known(there: Mapping[str, Json], key: str, kind: str) -> Json:
    if key not in there:
        raise GraphQLError(f"Entity not found: {kind}", extensions={"code": "INPUT_ERROR", "type": "invalid input"})
    return there[key]


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def new() -> str:
    return str(uuid.uuid4())
