"""What the stand-in of GitHub remembers, and the JSON shapes in which GitHub shows it in its API and in webhooks."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


@dataclass
class Person:
    """A user, or with type `Bot` an app."""

    login: str
    id: int
    type: str = "User"


@dataclass
class Pull:
    """What an item has more when it is a pull request."""

    head_repository: str
    """`owner/repo` of the branch; "" when the fork is gone."""
    head: str
    base: str
    draft: bool = False
    maintainer_can_modify: bool = False
    reviewers: list[str] = field(default_factory=list)


@dataclass
class Item:
    """An issue or a pull request."""

    id: int
    number: int
    author: Person
    title: str
    body: str | None
    created_at: str
    updated_at: str
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    pull: Pull | None = None


@dataclass
class Remark:
    """A comment, a remark on code, or a review."""

    id: int
    kind: str
    """issue_comment, review_comment or review."""
    repository: str
    number: int
    author: Person
    body: str | None
    created_at: str
    updated_at: str
    path: str = ""
    line: int = 1
    hunk: str = "@@ -1 +1 @@"
    in_reply_to: int | None = None


@dataclass
class Check:
    """A check run of an App."""

    id: int
    repository: str
    commit: str
    app: int
    slug: str
    shown: Json
    """What its App said: name, status, conclusion, output, actions, ..."""


@dataclass
class Repository:
    """A repository's settings; its code is in the git server."""

    id: int
    name: str
    default_branch: str = "main"
    private: bool = False
    archived: bool = False
    fork: bool = False
    permissions: dict[str, str] = field(default_factory=dict)
    """admin, maintain, write, triage, read or none, by login."""
    items: dict[int, Item] = field(default_factory=dict)

    def permission(self, login: str) -> str:
        """What somebody may do; everybody may read what is not private."""
        return self.permissions.get(login, "none" if self.private else "read")


class State:
    """Everything that the stand-in remembers. `url` is where it is reached, `clock` gives Unix seconds."""

    def __init__(self, url: str, clock: Any) -> None:
        self.web, self.api, self._clock = url, f"{url}/api/v3", clock
        self.people: dict[str, Person] = {}
        self.tokens: dict[str, str] = {}
        """Logins by token."""
        self.repositories: dict[str, Repository] = {}
        self.moved: dict[str, str] = {}
        """Present names of repositories by their earlier ones."""
        self.remarks: dict[int, Remark] = {}
        self.reactions: list[tuple[int, str, str, str]] = []
        """Id, target such as `issues/1` or `issues/comments/7`, content, login."""
        self.checks: dict[int, Check] = {}
        self.shas: dict[tuple[str, str], str] = {}
        """Commit ids by repository and branch, as last seen."""
        self._ids = itertools.count(int(clock() * 100))  # ids are new after a restart too, as GitHub's are

    def new_id(self) -> int:
        """Return an id that nothing else has."""
        return next(self._ids)

    def now(self) -> str:
        """The time as GitHub writes it."""
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def rename(self, old: str, new: str) -> None:
        """Give a repository another name; whoever asks for the old one is sent on."""
        self.repositories[new] = repository = self.repositories.pop(old)
        repository.name, self.moved[old] = new, new
        kept: list[Remark | Check] = [*self.remarks.values(), *self.checks.values()]
        for one in kept:
            one.repository = new if one.repository == old else one.repository

    def by_name(self, path: str) -> str:
        """Return a path of the API as the one below the repository's name, if it goes by its id."""
        for repository in list(self.repositories.values()):
            path = re.sub(rf"^/repositories/{repository.id}(?=/|$)", f"/repos/{repository.name}", path)
        return path

    def sent_on(self, path: str) -> str:
        """Return where GitHub sends a request on that names a repository by an earlier name; "" for all others."""
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)?", path)
        new = self.moved.get(found[1]) if found else None
        return f"{self.api}/repositories/{self.repositories[new].id}{found[2] or ''}" if found and new else ""

    def add_remark(self, kind: str, repository: str, number: int, author: Person, body: str | None) -> Remark:
        """Remember something that was said."""
        remark = Remark(self.new_id(), kind, repository, number, author, body, self.now(), self.now())
        self.remarks[remark.id] = remark
        self.repositories[repository].items[number].updated_at = remark.created_at
        return remark

    def add_item(self, repository: str, author: Person, title: str, body: str | None, pull: Pull | None = None) -> Item:
        """Remember an issue or pull request under the next number."""
        items = self.repositories[repository].items
        number, now = max(items, default=0) + 1, self.now()
        items[number] = Item(self.new_id(), number, author, title, body, now, now, pull=pull)
        return items[number]

    # --- how GitHub shows it --------------------------------------------------------------------------------------

    def person(self, person: Person) -> Json:
        """A simple user."""
        links = ("followers", "subscriptions", "orgs", "repos", "received_events")
        user = f"{self.api}/users/{person.login}"
        return {
            "login": person.login,
            "id": person.id,
            "node_id": f"U_{person.id}",
            "avatar_url": f"{self.web}/avatars/u/{person.id}",
            "gravatar_id": "",
            "url": user,
            "html_url": f"{self.web}/{person.login}",
            "following_url": f"{user}/following{{/other_user}}",
            "gists_url": f"{user}/gists{{/gist_id}}",
            "starred_url": f"{user}/starred{{/owner}}{{/repo}}",
            "events_url": f"{user}/events{{/privacy}}",
            **{f"{link if link != 'orgs' else 'organizations'}_url": f"{user}/{link}" for link in links},
            "type": person.type,
            "site_admin": False,
        }

    def repository(self, repository: Repository, viewer: str = "") -> Json:
        """A repository; with what the viewer may do, if one is named."""
        owner, _, name = repository.name.partition("/")
        shown: Json = {
            "id": repository.id,
            "node_id": f"R_{repository.id}",
            "name": name,
            "full_name": repository.name,
            "private": repository.private,
            "owner": self.person(self.people.get(owner) or Person(owner, 1, "Organization")),
            "html_url": f"{self.web}/{repository.name}",
            "description": None,
            "fork": repository.fork,
            "url": f"{self.api}/repos/{repository.name}",
            "clone_url": f"{self.web}/{repository.name}.git",
            "default_branch": repository.default_branch,
            "archived": repository.archived,
            "disabled": False,
            "visibility": "private" if repository.private else "public",
        }
        if viewer:
            granted = repository.permission(viewer)
            shown["permissions"] = permissions(granted)
        return shown

    def item(self, repository: Repository, item: Item) -> Json:
        """An issue; a pull request seen as an issue has `pull_request`."""
        base = f"{self.api}/repos/{repository.name}/issues/{item.number}"
        kind = "pull" if item.pull else "issues"
        shown = {
            "url": base,
            "repository_url": f"{self.api}/repos/{repository.name}",
            "labels_url": f"{base}/labels{{/name}}",
            "comments_url": f"{base}/comments",
            "events_url": f"{base}/events",
            "html_url": f"{self.web}/{repository.name}/{kind}/{item.number}",
            "id": item.id,
            "node_id": f"I_{item.id}",
            "comments": sum(r.kind == "issue_comment" for r in self.remarks_of(repository.name, item.number)),
            **self._common(item),
        }
        if item.pull:
            pull = f"{self.api}/repos/{repository.name}/pulls/{item.number}"
            shown["pull_request"] = {"url": pull, "html_url": shown["html_url"], "merged_at": None}
        return shown

    def pull(self, repository: Repository, item: Item) -> Json:
        """A pull request."""
        assert item.pull is not None
        url = f"{self.api}/repos/{repository.name}/pulls/{item.number}"
        return {
            "url": url,
            "id": item.id,
            "node_id": f"PR_{item.id}",
            "html_url": f"{self.web}/{repository.name}/pull/{item.number}",
            "issue_url": f"{self.api}/repos/{repository.name}/issues/{item.number}",
            "comments_url": f"{self.api}/repos/{repository.name}/issues/{item.number}/comments",
            "review_comments_url": f"{url}/comments",
            **self._common(item),
            "head": self._side(item.pull.head_repository, item.pull.head),
            "base": self._side(repository.name, item.pull.base),
            "draft": item.pull.draft,
            "merged": False,
            "merged_at": None,
            "maintainer_can_modify": item.pull.maintainer_can_modify,
            "requested_reviewers": [self.person(self.people[login]) for login in item.pull.reviewers],
            "requested_teams": [],
        }

    def remark(self, remark: Remark) -> Json:
        """A comment, a remark on code, or a review."""
        shape = {"issue_comment": self._comment, "review_comment": self._review_comment, "review": self._review}
        return {
            "id": remark.id,
            "node_id": f"C_{remark.id}",
            "user": self.person(remark.author),
            "body": remark.body,
            "author_association": "NONE",
            **shape[remark.kind](remark),
        }

    def label(self, name: str) -> Json:
        """A label."""
        number = sum(name.encode()) + 1
        return {
            "id": number,
            "node_id": f"LA_{number}",
            "url": f"{self.api}/labels/{number}",
            "name": name,
            "color": "ededed",
            "default": False,
            "description": None,
        }

    def remarks_of(self, repository: str, number: int) -> list[Remark]:
        """What was said in a thread, oldest first."""
        return [r for r in list(self.remarks.values()) if (r.repository, r.number) == (repository, number)]

    def _common(self, item: Item) -> Json:
        assignees = [self.person(self.people[login]) for login in item.assignees]
        return {
            "number": item.number,
            "title": item.title,
            "user": self.person(item.author),
            "labels": [self.label(name) for name in item.labels],
            "state": item.state,
            "locked": False,
            "assignee": assignees[0] if assignees else None,
            "assignees": assignees,
            "milestone": None,
            "created_at": item.created_at,
            "updated_at": item.updated_at,
            "closed_at": None,
            "author_association": "NONE",
            "body": item.body,
        }

    def _side(self, repository: str, branch: str) -> Json:
        there = self.repositories.get(repository)
        owner = repository.partition("/")[0]
        return {
            "label": f"{owner}:{branch}",
            "ref": branch,
            "sha": self.shas.get((repository, branch), "0" * 40),
            "user": self.person(self.people.get(owner) or Person(owner, 1, "Organization")) if owner else None,
            "repo": self.repository(there) if there else None,
        }

    def _comment(self, remark: Remark) -> Json:
        base = f"{self.api}/repos/{remark.repository}/issues"
        kind = "pull" if self.repositories[remark.repository].items[remark.number].pull else "issues"
        return {
            "url": f"{base}/comments/{remark.id}",
            "html_url": f"{self.web}/{remark.repository}/{kind}/{remark.number}#issuecomment-{remark.id}",
            "issue_url": f"{base}/{remark.number}",
            "created_at": remark.created_at,
            "updated_at": remark.updated_at,
        }

    def _review_comment(self, remark: Remark) -> Json:
        base = f"{self.api}/repos/{remark.repository}/pulls"
        reply = {} if remark.in_reply_to is None else {"in_reply_to_id": remark.in_reply_to}
        page = f"{self.web}/{remark.repository}/pull/{remark.number}#discussion_r{remark.id}"
        return {
            **reply,
            "url": f"{base}/comments/{remark.id}",
            "html_url": page,
            "pull_request_url": f"{base}/{remark.number}",
            "pull_request_review_id": remark.id,
            "_links": {
                "self": {"href": f"{base}/comments/{remark.id}"},
                "html": {"href": page},
                "pull_request": {"href": f"{base}/{remark.number}"},
            },
            "diff_hunk": remark.hunk,
            "path": remark.path,
            "line": remark.line,
            "original_line": remark.line,
            "position": 1,
            "original_position": 1,
            "side": "RIGHT",
            "commit_id": "0" * 40,
            "original_commit_id": "0" * 40,
            "created_at": remark.created_at,
            "updated_at": remark.updated_at,
        }

    def _review(self, remark: Remark) -> Json:
        return {
            "html_url": f"{self.web}/{remark.repository}/pull/{remark.number}#pullrequestreview-{remark.id}",
            "pull_request_url": f"{self.api}/repos/{remark.repository}/pulls/{remark.number}",
            "submitted_at": remark.created_at,
            "state": "commented",
            "commit_id": "0" * 40,
        }


def permissions(granted: str) -> Mapping[str, bool]:
    """What a permission includes, as a repository shows it."""
    order = ("read", "triage", "write", "maintain", "admin")
    level = order.index(granted) if granted in order else -1
    return {
        "admin": level >= 4,
        "maintain": level >= 3,
        "push": level >= 2,
        "triage": level >= 1,
        "pull": level >= 0,
    }
