"""What the stand-in of GitLab remembers, in the JSON shapes of its API, and how the same things look in webhooks."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


@dataclass
class Project:
    """A project; its code is in the git server. `members` are access levels by username."""

    id: int
    path: str
    members: dict[str, int]
    default_branch: str = "main"
    archived: bool = False
    template: str = ""
    items: dict[str, Json] = field(default_factory=dict)
    """Issues by `12`, merge requests by `!7`, as the API shows them."""
    notes: list[Json] = field(default_factory=list)
    """As the API shows them; `_item` and `_discussion` say where they belong."""
    awards: dict[str, list[str]] = field(default_factory=dict)
    """`username:emoji` by path, such as `12` or `12/notes/5`."""
    hooks: list[Json] = field(default_factory=list)


class State:
    """Everything that the stand-in remembers. `url` is where it is reached, `clock` gives Unix seconds."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self.url, self._clock = url, clock
        self.users: dict[str, Json] = {}
        self.tokens: dict[str, str] = {}
        """Usernames by token."""
        self.projects: dict[str, Project] = {}
        self.groups: dict[str, Json] = {}
        self._ids = itertools.count(int(clock() * 100))  # ids are new after a restart too, as GitLab's are

    def new_id(self) -> int:
        """Return an id that nothing else has."""
        return next(self._ids)

    def now(self) -> str:
        """The time as GitLab's API writes it."""
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def user(self, username: str) -> Json:
        """A user as the API shows it within other things."""
        return {key: self.users[username][key] for key in ("id", "username", "name", "state", "avatar_url", "web_url")}

    def project(self, project: Project) -> Json:
        """A project as the API shows it."""
        return {
            "id": project.id,
            "name": project.path.rpartition("/")[2],
            "path_with_namespace": project.path,
            "default_branch": project.default_branch,
            "web_url": f"{self.url}/{project.path}",
            "http_url_to_repo": f"{self.url}/{project.path}.git",
            "archived": project.archived,
            "last_activity_at": max((item["updated_at"] for item in project.items.values()), default=self.now()),
            "merge_requests_template": None,
        }

    def add_item(self, path: str, author: str, title: str, description: str | None, **more: Any) -> Json:
        """Remember an issue, or with `source_branch` a merge request, under the next number of its kind."""
        project = self.projects[path]
        sign = "!" if "source_branch" in more else ""
        iid = 1 + sum(name.startswith("!") == bool(sign) for name in project.items)
        kind = "merge_requests" if sign else "issues"
        project.items[f"{sign}{iid}"] = item = {
            "id": self.new_id(),
            "iid": iid,
            "project_id": project.id,
            "title": title,
            "description": description,
            "state": "opened",
            "created_at": self.now(),
            "updated_at": self.now(),
            "author": self.user(author),
            "labels": [],
            "assignees": [],
            "web_url": f"{self.url}/{path}/-/{kind}/{iid}",
            **more,
        }
        return item

    def add_note(self, path: str, item: str, author: str, body: str, discussion: str = "", **more: Any) -> Json:
        """Remember a note; without a discussion it begins one of its own."""
        project = self.projects[path]
        number = self.new_id()
        note = {
            "id": number,
            "type": None,
            "body": body,
            "author": self.user(author),
            "created_at": self.now(),
            "updated_at": self.now(),
            "system": False,
            "internal": False,
            "noteable_type": "MergeRequest" if item.startswith("!") else "Issue",
            "noteable_iid": project.items[item]["iid"],
            "_item": item,
            "_discussion": discussion or f"{number:040x}",
            **more,
        }
        project.notes.append(note)
        project.items[item]["updated_at"] = self.now()
        return note

    # --- how webhooks show it -------------------------------------------------------------------------------------

    def event(self, kind: str, path: str, user: str, attributes: Json, **more: Any) -> Json:
        """The payload of an event in a project."""
        person = self.users[user]
        shown = {"id": person["id"], "name": person["name"], "username": user, "email": "[REDACTED]"}
        project = self.projects[path]
        place = {
            "id": project.id,
            "name": path.rpartition("/")[2],
            "web_url": f"{self.url}/{path}",
            "path_with_namespace": path,
            "default_branch": project.default_branch,
        }
        return {
            "object_kind": kind,
            "event_type": kind,
            "user": shown,
            "project": place,
            "object_attributes": attributes,
            **more,
        }

    def item_event(self, path: str, item: str, user: str, action: str, changes: Json | None = None) -> Json:
        """The payload of something that happened to an issue or merge request."""
        it = self.projects[path].items[item]
        people = {
            key: [self._person(u["username"]) for u in it[key]] for key in ("assignees", "reviewers") if key in it
        }
        labels = [label(title) for title in it["labels"]]
        kind = "merge_request" if item.startswith("!") else "issue"
        attributes = {**self._attributes(it), "action": action, "labels": labels}
        return self.event(kind, path, user, attributes, labels=labels, changes=changes or {}, **people)

    def note_event(self, path: str, note: Json, user: str, action: str) -> Json:
        """The payload of a note that was written or edited."""
        item = note["_item"]
        key = "merge_request" if item.startswith("!") else "issue"
        it = self.projects[path].items[item]
        attributes = {
            name: note.get(name) for name in ("id", "type", "system", "internal", "noteable_type", "position")
        }
        attributes |= {
            "note": note["body"],
            "author_id": note["author"]["id"],
            "discussion_id": note["_discussion"],
            "created_at": note["created_at"].replace("T", " ").replace("Z", " UTC"),
            "updated_at": note["updated_at"].replace("T", " ").replace("Z", " UTC"),
            "url": f"{it['web_url']}#note_{note['id']}",
            "action": action,
        }
        return self.event("note", path, user, attributes, **{key: self._attributes(it)})

    def people(self, usernames: Iterable[str]) -> list[Json]:
        """Users as webhooks show them in lists."""
        return [self._person(name) for name in usernames]

    def _person(self, username: str) -> Json:
        return {key: self.users[username][key] for key in ("id", "name", "username", "avatar_url")}

    def _attributes(self, item: Json) -> Json:
        shown = {key: item[key] for key in ("id", "iid", "title", "description", "state", "project_id")}
        times = {key: item[key].replace("T", " ").replace("Z", " UTC") for key in ("created_at", "updated_at")}
        return {**shown, **times, "author_id": item["author"]["id"], "url": item["web_url"]}


def label(title: str) -> Json:
    """A label as webhooks show it."""
    return {"id": sum(title.encode()), "title": title, "color": "#3e8068", "type": "ProjectLabel"}
