"""The REST API of the stand-in of GitLab: the routes that onhand uses, answered from the state and from the git server."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from bot.testing.git_server import Hosting
from tests.standins.gitlab_state import Json, Project, State

LONGEST = 1_000_000


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: Any) -> None:
        super().__init__(str(message))
        self.status, self.body = status, {"message": message}


MISSING = "404 Not found"


@dataclass(frozen=True)
class Asked:
    """One request to the API: who sent it, its query and its JSON body."""

    by: str
    query: Mapping[str, str]
    body: Json

    def text(self, name: str) -> str:
        """Return a text of the body; raises ApiError (400) as GitLab would."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value.strip():
            raise ApiError(400, f"{name} is missing")
        if len(value) > LONGEST:
            raise ApiError(400, {name: [f"is too long (maximum is {LONGEST} characters)"]})
        return value


class Routes:
    """Answers requests. Blocks where it looks into git, so it is called in a thread. `happened` gets the events that follow."""

    def __init__(self, state: State, hosting: Hosting, happened: Callable[[str, Json], None]) -> None:
        self._state, self._git, self._happened = state, hosting, happened
        self.commands: list[str] = []
        """Quick actions that a text would have made GitLab carry out."""
        self.refuse_positions = False
        """Whether remarks on lines are refused, as when the line is not in the diff any more."""
        self.version = "18.4.1-ee"
        self.knows_signing = True
        project, item = r"/projects/(?P<project>[^/]+)", r"(?P<kind>issues|merge_requests)/(?P<iid>\d+)"
        award = rf"{project}/{item}(?P<note>/notes/\d+)?/award_emoji"
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., tuple[int, Any]]]] = [
            (method, re.compile(path), handler)
            for method, path, handler in (
                ("GET", "/user", self._me),
                ("GET", "/users", self._named_users),
                ("GET", r"/users/(?P<number>\d+)", self._one_user),
                ("GET", "/version", lambda asked: (200, {"version": self.version, "revision": "x"})),
                ("GET", "/projects", self._projects),
                ("GET", project, self._project),
                ("GET", rf"{project}/members/all/(?P<number>\d+)", self._member),
                ("GET", rf"{project}/repository/branches/(?P<branch>[^/]+)", self._branch),
                ("GET", rf"{project}/templates/merge_requests/Default", self._template),
                ("GET", rf"{project}/(?P<kind>issues|merge_requests)", self._items),
                ("POST", rf"{project}/merge_requests", self._open),
                ("GET", rf"{project}/{item}", self._item),
                ("PUT", rf"{project}/merge_requests/(?P<iid>\d+)", self._edit),
                ("GET", rf"{project}/issues/(?P<iid>\d+)/closed_by", self._closed_by),
                ("GET", rf"{project}/{item}/notes", self._notes),
                ("POST", rf"{project}/{item}/notes", self._say),
                ("PUT", rf"{project}/{item}/notes/(?P<number>\d+)", self._edit_note),
                ("GET", rf"{project}/{item}/discussions", self._discussions),
                ("POST", rf"{project}/{item}/discussions", self._discuss),
                ("GET", rf"{project}/{item}/discussions/(?P<discussion>\w+)", self._discussion),
                ("POST", rf"{project}/{item}/discussions/(?P<discussion>\w+)/notes", self._reply),
                ("GET", award, self._awards),
                ("POST", award, self._award),
                ("GET", r"/(?P<owner>groups|projects)/(?P<project>[^/]+)/hooks", self._hooks),
                ("POST", r"/(?P<owner>groups|projects)/(?P<project>[^/]+)/hooks", self._add_hook),
                ("PUT", r"/(?P<owner>groups|projects)/(?P<project>[^/]+)/hooks/(?P<number>\d+)", self._edit_hook),
                ("GET", r"/groups/(?P<project>[^/]+)", self._group),
            )
        ]

    def answer(self, method: str, path: str, asked: Asked) -> tuple[int, Any]:
        """Return status and body. Raises ApiError."""
        for verb, pattern, handler in self._routes:
            if verb == method and (found := pattern.fullmatch(path)):
                return handler(asked, **{name: unquote(value or "") for name, value in found.groupdict().items()})
        raise ApiError(404, f"the stand-in has no {method} {path}")

    # --- people and projects --------------------------------------------------------------------------------------

    def _me(self, asked: Asked) -> tuple[int, Any]:
        return 200, self._state.users[asked.by]

    def _named_users(self, asked: Asked) -> tuple[int, Any]:
        return 200, [
            u for name, u in self._state.users.items() if name.casefold() == asked.query["username"].casefold()
        ]

    def _one_user(self, asked: Asked, number: str) -> tuple[int, Any]:
        return 200, _one(user for user in self._state.users.values() if user["id"] == int(number))

    def _projects(self, asked: Asked) -> tuple[int, Any]:
        least, wanted = int(asked.query.get("min_access_level", 0)), asked.query.get("search", "")
        there = [p for p in self._state.projects.values() if p.members.get(asked.by, 0) >= least and wanted in p.path]
        return 200, [self._state.project(project) for project in there]

    def _find(self, asked: Asked, name: str) -> Project:
        there = self._state.projects.values()
        project: Project = _one(p for p in there if name in (p.path, str(p.id)))
        if not project.members.get(asked.by):
            raise ApiError(404, "404 Project Not Found")
        return project

    def _project(self, asked: Asked, project: str) -> tuple[int, Any]:
        return 200, self._state.project(self._find(asked, project))

    def _group(self, asked: Asked, project: str) -> tuple[int, Any]:
        if project not in self._state.groups:
            raise ApiError(404, "404 Group Not Found")
        return 200, {key: value for key, value in self._state.groups[project].items() if key != "hooks"}

    def _member(self, asked: Asked, project: str, number: str) -> tuple[int, Any]:
        members = self._find(asked, project).members
        name = _one(n for n in members if self._state.users[n]["id"] == int(number) and members[n])
        return 200, {**self._state.user(name), "access_level": members[name], "membership_state": "active"}

    def _branch(self, asked: Asked, project: str, branch: str) -> tuple[int, Any]:
        heads = self._git.branches(self._find(asked, project).path)
        if branch not in heads:
            raise ApiError(404, "404 Branch Not Found")
        return 200, {"name": branch, "commit": {"id": heads[branch]}}

    def _template(self, asked: Asked, project: str) -> tuple[int, Any]:
        if not (text := self._find(asked, project).template):
            raise ApiError(404, MISSING)
        return 200, {"name": "Default", "content": text}

    # --- issues and merge requests --------------------------------------------------------------------------------

    def _items(self, asked: Asked, project: str, kind: str) -> tuple[int, Any]:
        there, sign = self._find(asked, project), kind == "merge_requests"
        counts = Counter(note["_item"] for note in there.notes if not note["system"])
        named = [(name, item) for name, item in there.items.items() if name.startswith("!") == sign]
        found = [{**item, "user_notes_count": counts[name]} for name, item in named]
        for key in ("source_branch", "target_branch"):
            found = [item for item in found if asked.query.get(key) in (None, item.get(key))]
        state, after = asked.query.get("state", "all"), asked.query.get("updated_after", "")
        return 200, [i for i in found if state in ("all", i["state"]) and i["updated_at"] >= after]

    def _item(self, asked: Asked, project: str, kind: str, iid: str) -> tuple[int, Any]:
        return 200, self._named(self._find(asked, project), kind, iid)[1]

    def _closed_by(self, asked: Asked, project: str, iid: str) -> tuple[int, Any]:
        changes = [item for name, item in self._find(asked, project).items.items() if name.startswith("!")]
        closing = re.compile(rf"\bcloses #{iid}\b", re.IGNORECASE)
        return 200, [
            {**c, "references": {"relative": f"!{c['iid']}"}} for c in changes if closing.search(c["description"] or "")
        ]

    def _named(self, project: Project, kind: str, iid: str) -> tuple[str, Json]:
        name = f"!{iid}" if kind == "merge_requests" else iid
        if name not in project.items:
            raise ApiError(404, MISSING)
        return name, project.items[name]

    def _open(self, asked: Asked, project: str) -> tuple[int, Any]:
        there = self._find(asked, project)
        source, target, title = (asked.text(name) for name in ("source_branch", "target_branch", "title"))
        if there.members[asked.by] < 30:
            raise ApiError(403, "403 Forbidden")
        if missing := [name for name in (source, target) if name not in self._git.branches(there.path)]:
            raise ApiError(422, [f"branch {missing[0]} does not exist"])
        for item in there.items.values():
            if item.get("source_branch") == source and item["state"] == "opened":
                raise ApiError(
                    409, [f"Another open merge request already exists for this source branch: !{item['iid']}"]
                )
        text = self._obeyed(asked.body.get("description") or "")
        draft = title.startswith("Draft:")
        ids = {"source_project_id": there.id, "target_project_id": there.id, "reviewers": [], "draft": draft}
        made = self._state.add_item(
            there.path, asked.by, title, text, source_branch=source, target_branch=target, **ids
        )
        self._happened(there.path, self._state.item_event(there.path, f"!{made['iid']}", asked.by, "open"))
        return 201, made

    def _edit(self, asked: Asked, project: str, iid: str) -> tuple[int, Any]:
        there = self._find(asked, project)
        name, item = self._named(there, "merge_requests", iid)
        changes = {
            k: {"previous": item[k], "current": v} for k, v in asked.body.items() if k in ("title", "description")
        }
        item.update({key: asked.body[key] for key in changes}, updated_at=self._state.now())
        self._obeyed(item["description"] or "")
        self._happened(there.path, self._state.item_event(there.path, name, asked.by, "update", changes))
        return 200, item

    # --- what is said ---------------------------------------------------------------------------------------------

    def _notes(self, asked: Asked, project: str, kind: str, iid: str) -> tuple[int, Any]:
        there = self._find(asked, project)
        name, _ = self._named(there, kind, iid)
        notes = [shown(note) for note in there.notes if note["_item"] == name]
        return 200, notes if asked.query.get("sort") == "asc" else notes[::-1]

    def _say(self, asked: Asked, project: str, kind: str, iid: str, **more: Any) -> tuple[int, Any]:
        there = self._find(asked, project)
        name, _ = self._named(there, kind, iid)
        note = self._state.add_note(there.path, name, asked.by, self._obeyed(asked.text("body")), **more)
        self._happened(there.path, self._state.note_event(there.path, note, asked.by, "create"))
        return 201, shown(note)

    def _edit_note(self, asked: Asked, project: str, kind: str, iid: str, number: str) -> tuple[int, Any]:
        there = self._find(asked, project)
        note: Json = _one(note for note in there.notes if note["id"] == int(number))
        if note["author"]["username"] != asked.by:
            raise ApiError(403, "403 Forbidden")
        note["body"], note["updated_at"] = self._obeyed(asked.text("body")), self._state.now()
        self._happened(there.path, self._state.note_event(there.path, note, asked.by, "update"))
        return 200, shown(note)

    def _discuss(self, asked: Asked, project: str, kind: str, iid: str) -> tuple[int, Any]:
        position = asked.body.get("position")
        if position and self.refuse_positions:
            raise ApiError(400, '400 Bad request - Note {:line_code=>["can\'t be blank", "must be a valid line code"]}')
        note_type = "DiffNote" if position else "DiscussionNote"
        status, note = self._say(asked, project, kind, iid, type=note_type, position=position)
        there = self._find(asked, project)
        discussion = next(n["_discussion"] for n in there.notes if n["id"] == note["id"])
        return status, {"id": discussion, "individual_note": False, "notes": [note]}

    def _discussions(self, asked: Asked, project: str, kind: str, iid: str) -> tuple[int, Any]:
        there = self._find(asked, project)
        name, _ = self._named(there, kind, iid)
        ids = dict.fromkeys(note["_discussion"] for note in there.notes if note["_item"] == name)
        return 200, [self._discussion(asked, project, kind, iid, discussion)[1] for discussion in ids]

    def _discussion(self, asked: Asked, project: str, kind: str, iid: str, discussion: str) -> tuple[int, Any]:
        notes = self._of(self._find(asked, project), discussion)
        return 200, {"id": discussion, "individual_note": False, "notes": [shown(note) for note in notes]}

    def _reply(self, asked: Asked, project: str, kind: str, iid: str, discussion: str) -> tuple[int, Any]:
        first = self._of(self._find(asked, project), discussion)[0]
        more = {"type": first["type"] or "DiscussionNote", "internal": first["internal"], "discussion": discussion}
        return self._say(asked, project, kind, iid, **more)

    def _of(self, project: Project, discussion: str) -> list[Json]:
        if not (notes := [note for note in project.notes if note["_discussion"] == discussion]):
            raise ApiError(404, "404 Discussion Not Found")
        return notes

    def _awards(self, asked: Asked, project: str, kind: str, iid: str, note: str) -> tuple[int, Any]:
        there = self._find(asked, project)
        given = there.awards.get(f"{self._named(there, kind, iid)[0]}{note}", [])
        pairs = (award.split(":") for award in given)
        return 200, [{"id": 1, "name": name, "user": self._state.user(who)} for who, name in pairs]

    def _award(self, asked: Asked, project: str, kind: str, iid: str, note: str) -> tuple[int, Any]:
        there, name = self._find(asked, project), asked.text("name")
        given = there.awards.setdefault(f"{self._named(there, kind, iid)[0]}{note}", [])
        if f"{asked.by}:{name}" in given:
            raise ApiError(404, "404 Award Emoji Name has already been taken Not Found")
        given.append(f"{asked.by}:{name}")
        return 201, {"id": self._state.new_id(), "name": name, "user": self._state.user(asked.by)}

    def _obeyed(self, text: str) -> str:
        """Note the quick actions in a text, outside of fences and HTML comments, and return what is left of it."""
        prose = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
        self.commands += re.findall(r"^/(?:close|reopen|merge|assign|label|title|approve)\b.*$", prose, re.MULTILINE)
        return text

    # --- hooks ----------------------------------------------------------------------------------------------------

    def _hooked(self, asked: Asked, owner: str, name: str) -> list[Json]:
        if owner == "groups":
            if name not in self._state.groups:
                raise ApiError(404, "404 Group Not Found")
            hooks: list[Json] = self._state.groups[name].setdefault("hooks", [])
            return hooks
        there = self._find(asked, name)
        if there.members[asked.by] < 40:
            raise ApiError(403, "403 Forbidden")
        return there.hooks

    def _hooks(self, asked: Asked, owner: str, project: str) -> tuple[int, Any]:
        return 200, [self._hook(hook) for hook in self._hooked(asked, owner, project)]

    def _add_hook(self, asked: Asked, owner: str, project: str) -> tuple[int, Any]:
        asked.text("url")
        hook = {"id": self._state.new_id(), "push_events": True, **asked.body}
        self._hooked(asked, owner, project).append(hook)
        return 201, self._hook(hook)

    def _edit_hook(self, asked: Asked, owner: str, project: str, number: str) -> tuple[int, Any]:
        hook: Json = _one(hook for hook in self._hooked(asked, owner, project) if hook["id"] == int(number))
        hook.update(asked.body)
        return 200, self._hook(hook)

    def _hook(self, hook: Json) -> Json:
        """A hook as it is shown: without its secrets."""
        known = {"signing_token_present": bool(hook.get("signing_token"))} if self.knows_signing else {}
        return {**{k: v for k, v in hook.items() if k not in ("token", "signing_token")}, **known}


def shown(note: Json) -> Json:
    """A note as the API shows it."""
    return {key: value for key, value in note.items() if not key.startswith("_")}


def _one(found: Any) -> Any:
    for one in found:
        return one
    raise ApiError(404, MISSING)
