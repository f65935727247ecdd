"""The stand-in's REST API: the routes that onhand uses, answered from the state and from the git server."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.testing.git_server import Hosting
from bot.testing.github_state import Item, Json, Person, Pull, Remark, Repository, State, permissions

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")
LONGEST = 65_536


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, errors: list[Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {
            "message": message,
            "documentation_url": "https://docs.github.com/rest",
            "status": str(status),
        }
        if errors is not None:
            self.body["errors"] = errors


@dataclass(frozen=True)
class Asked:
    """One request to the API: who sent it, its query and its JSON body."""

    by: Person
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)

    def text(self, name: str, *, longest: int = LONGEST, required: bool = True) -> str:
        """Return a text of the body; raises ApiError (422) as GitHub would."""
        value = self.body.get(name)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or (required and not value.strip()):
            raise invalid(name, "missing_field")
        if len(value) > longest:
            raise ApiError(422, "Validation Failed", [f"{name} is too long (maximum is {longest} characters)"])
        return value


def invalid(name: str, code: str, message: str = "", resource: str = "PullRequest") -> ApiError:
    """A refusal that names a field, or says a sentence."""
    error = {"resource": resource, "code": code, **({"message": message} if message else {"field": name})}
    return ApiError(422, "Validation Failed", [error])


@dataclass(frozen=True)
class Answered:
    """An answer: the status, the JSON body, and the webhook event that follows from it, if any."""

    status: int
    body: Any
    event: str = ""
    payload: Json = field(default_factory=dict)
    repository: str = ""
    cursor: str = ""
    """The query of the next page, where a list is paged by cursors and not by numbers."""


Handler = Callable[..., Answered]

REPOSITORY = r"/repos/(?P<place>[\w.-]+/[\w.-]+)"
"""A repository's path, as a pattern."""


class Routes:
    """Answers requests. Blocks where it looks into git, so it is called in a thread."""

    def __init__(self, state: State, hosting: Hosting, more: Iterable[tuple[str, str, Handler]] = ()) -> None:
        self._state, self._hosting = state, hosting
        item, repo = r"issues/(?P<number>\d+)", REPOSITORY
        pull = r"pulls/(?P<number>\d+)"
        remark = r"(?P<kind>issues|pulls)/comments/(?P<id>\d+)"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/user", self._user),
            ("GET", "/user/repos", self._own_repositories),
            ("GET", r"/users/(?P<login>[^/]+)", self._person),
            ("GET", repo, self._repository),
            ("GET", rf"{repo}/collaborators/(?P<login>[^/]+)/permission", self._permission),
            ("GET", rf"{repo}/branches/(?P<branch>.+)", self._branch),
            ("GET", rf"{repo}/contents/?(?P<path>.*)", self._contents),
            ("GET", rf"{repo}/{item}", self._issue),
            ("GET", rf"{repo}/{item}/timeline", self._timeline),
            ("GET", rf"{repo}/{item}/comments", self._comments),
            ("POST", rf"{repo}/{item}/comments", self._comment),
            ("GET", rf"{repo}/(?P<target>{item})/reactions", self._reactions),
            ("POST", rf"{repo}/(?P<target>{item})/reactions", self._react),
            ("GET", rf"{repo}/(?P<target>{remark})/reactions", self._reactions),
            ("POST", rf"{repo}/(?P<target>{remark})/reactions", self._react),
            ("GET", rf"{repo}/{remark}", self._remark),
            ("PATCH", rf"{repo}/{remark}", self._edit_remark),
            ("DELETE", rf"{repo}/{remark}", self._delete_remark),
            ("GET", rf"{repo}/pulls", self._pulls),
            ("POST", rf"{repo}/pulls", self._open),
            ("GET", rf"{repo}/{pull}", self._pull),
            ("PATCH", rf"{repo}/{pull}", self._edit_pull),
            ("GET", rf"{repo}/{pull}/comments", self._review_comments),
            ("POST", rf"{repo}/{pull}/comments/(?P<above>\d+)/replies", self._reply),
            *more,
        ]
        self._table = [(method, re.compile(pattern), handler) for method, pattern, handler in table]

    def answer(self, method: str, path: str, asked: Asked) -> Answered:
        """Answer a request. Raises ApiError."""
        for wanted, pattern, handler in self._table:
            if method == wanted and (found := pattern.fullmatch(path)):
                return handler(asked, **found.groupdict())
        raise ApiError(404, "Not Found")

    # --- people and repositories ------------------------------------------------------------------------------------

    def _user(self, asked: Asked) -> Answered:
        return Answered(200, {**self._state.person(asked.by), "name": asked.by.login, "email": None})

    def _person(self, asked: Asked, login: str) -> Answered:
        person = next((p for p in list(self._state.people.values()) if p.login.casefold() == login.casefold()), None)
        if person is None:
            raise ApiError(404, "Not Found")
        return Answered(200, {**self._state.person(person), "name": person.login, "email": None})

    def _repository(self, asked: Asked, place: str) -> Answered:
        return Answered(200, self._state.repository(self._repo(asked, place), asked.by.login))

    def _own_repositories(self, asked: Asked) -> Answered:
        known = [r for r in list(self._state.repositories.values()) if r.permission(asked.by.login) != "none"]
        return Answered(200, [self._state.repository(repository, asked.by.login) for repository in known])

    def _permission(self, asked: Asked, place: str, login: str) -> Answered:
        repository = self._repo(asked, place)
        if not permissions(repository.permission(asked.by.login))["push"]:
            raise ApiError(403, "Must have push access to view collaborator permission.")
        person = self._state.people.get(login)
        if person is None:
            raise ApiError(404, f"{login} is not a user")
        role = repository.permission(login)
        known = {"maintain": "write", "triage": "read"}.get(role, role)
        return Answered(200, {"permission": known, "role_name": role, "user": self._state.person(person)})

    def _branch(self, asked: Asked, place: str, branch: str) -> Answered:
        commit = self._sha(self._repo(asked, place).name, branch)
        if commit is None:
            raise ApiError(404, "Branch not found")
        return Answered(200, {"name": branch, "commit": {"sha": commit, "url": ""}, "protected": False})

    def _contents(self, asked: Asked, place: str, path: str) -> Answered:
        repository = self._repo(asked, place)
        branch = asked.query.get("ref", repository.default_branch)
        if self._sha(place, branch) is None:
            raise ApiError(404, "This repository is empty.")
        files = self._hosting.files(place, branch)
        if path in files:
            raw = files[path].encode()
            encoded = base64.encodebytes(raw).decode()
            return Answered(200, {**self._entry(place, path, raw), "encoding": "base64", "content": encoded})
        start = f"{path.rstrip('/')}/" if path else ""
        names = {p[len(start) :].split("/")[0] for p in files if p.startswith(start)}
        if not names:
            raise ApiError(404, "Not Found")
        entries = ((f"{start}{name}", files.get(f"{start}{name}")) for name in sorted(names))
        return Answered(200, [self._entry(place, p, None if t is None else t.encode()) for p, t in entries])

    def _entry(self, place: str, path: str, raw: bytes | None) -> Json:
        return {
            "type": "dir" if raw is None else "file",
            "name": path.rpartition("/")[2],
            "path": path,
            "size": len(raw or b""),
            "sha": "0" * 40,
            "url": f"{self._state.api}/repos/{place}/contents/{path}",
            "html_url": f"{self._state.web}/{place}/blob/main/{path}",
        }

    # --- issues and what is said in them ----------------------------------------------------------------------------

    def _issue(self, asked: Asked, place: str, number: str) -> Answered:
        repository, item = self._item(asked, place, number)
        return Answered(200, self._state.item(repository, item))

    def _timeline(self, asked: Asked, place: str, number: str) -> Answered:
        """The mentions of an issue in others of its repository, and what was said."""
        repository, about = self._item(asked, place, number)
        mention = re.compile(rf"#{number}(?!\w)")
        mentions = (i for i in list(repository.items.values()) if i is not about and mention.search(i.body or ""))
        shown = self._state.repository(repository)
        events: list[Json] = [
            {"event": "cross-referenced", "source": {"type": "issue", "issue": {**issue, "repository": shown}}}
            for issue in (self._state.item(repository, i) for i in mentions)
        ]
        said = ({"event": "commented", **self._state.remark(r)} for r in self._state.remarks_of(place, about.number))
        return Answered(200, [*events, *said])

    def _comments(self, asked: Asked, place: str, number: str) -> Answered:
        return self._remarks(asked, place, number, "issue_comment")

    def _review_comments(self, asked: Asked, place: str, number: str) -> Answered:
        return self._remarks(asked, place, number, "review_comment")

    def _remarks(self, asked: Asked, place: str, number: str, kind: str) -> Answered:
        _, item = self._item(asked, place, number)
        said = (r for r in self._state.remarks_of(place, item.number) if r.kind == kind)
        return Answered(200, [self._state.remark(r) for r in said])

    def _comment(self, asked: Asked, place: str, number: str) -> Answered:
        repository, item = self._item(asked, place, number)
        remark = self._state.add_remark("issue_comment", place, item.number, asked.by, asked.text("body"))
        return self._said(201, repository, item, remark, "created")

    def _reply(self, asked: Asked, place: str, number: str, above: str) -> Answered:
        repository, item = self._item(asked, place, number)
        first = self._state.remarks.get(int(above))
        if first is None or first.kind != "review_comment" or first.number != item.number:
            raise ApiError(404, "Not Found")
        remark = self._state.add_remark("review_comment", place, item.number, asked.by, asked.text("body"))
        remark.in_reply_to = first.in_reply_to or first.id
        remark.path, remark.line, remark.hunk = first.path, first.line, first.hunk
        return self._said(201, repository, item, remark, "created")

    def _remark(self, asked: Asked, place: str, kind: str, id: str) -> Answered:  # noqa: A002  # GitHub's name
        return Answered(200, self._state.remark(self._said_there(asked, place, kind, id)))

    def _edit_remark(self, asked: Asked, place: str, kind: str, id: str) -> Answered:  # noqa: A002
        remark = self._said_there(asked, place, kind, id)
        self._own_or_write(asked, place, remark.author)
        before, remark.body, remark.updated_at = remark.body, asked.text("body"), self._state.now()
        repository, item = self._item(asked, place, str(remark.number))
        return self._said(200, repository, item, remark, "edited", changes={"body": {"from": before}})

    def _delete_remark(self, asked: Asked, place: str, kind: str, id: str) -> Answered:  # noqa: A002
        remark = self._said_there(asked, place, kind, id)
        self._own_or_write(asked, place, remark.author)
        del self._state.remarks[remark.id]
        return Answered(204, None)

    def _react(self, asked: Asked, place: str, target: str, **_: str) -> Answered:
        self._reactable(asked, place, target)
        content = asked.body.get("content")
        if content not in REACTIONS:
            raise ApiError(422, "Validation Failed")
        key = f"{place}/{target}"
        same = (r for r in self._state.reactions if r[1:] == (key, content, asked.by.login))
        if (there := next(same, None)) is None:
            there = (self._state.new_id(), key, str(content), asked.by.login)
            self._state.reactions.append(there)
            return Answered(201, self._reaction(there))
        return Answered(200, self._reaction(there))

    def _reactions(self, asked: Asked, place: str, target: str, **_: str) -> Answered:
        self._reactable(asked, place, target)
        there = (r for r in self._state.reactions if r[1] == f"{place}/{target}")
        return Answered(200, [self._reaction(r) for r in there])

    def _reaction(self, reaction: tuple[int, str, str, str]) -> Json:
        number, _, content, login = reaction
        user = self._state.person(self._state.people[login])
        return {
            "id": number,
            "node_id": f"REA_{number}",
            "user": user,
            "content": content,
            "created_at": self._state.now(),
        }

    # --- pull requests ----------------------------------------------------------------------------------------------

    def _pulls(self, asked: Asked, place: str) -> Answered:
        repository = self._repo(asked, place)
        wanted = asked.query
        found = []
        for item in sorted(repository.items.values(), key=lambda i: -i.number):
            if item.pull is None or wanted.get("state", "open") not in ("all", item.state):
                continue
            label = f"{item.pull.head_repository.partition('/')[0]}:{item.pull.head}"
            if wanted.get("head", label) == label and wanted.get("base", item.pull.base) == item.pull.base:
                found.append(self._state.pull(repository, item))
        return Answered(200, found)

    def _open(self, asked: Asked, place: str) -> Answered:
        repository = self._repo(asked, place)
        if not permissions(repository.permission(asked.by.login))["push"]:
            raise ApiError(403, "Resource not accessible by personal access token")
        title, body = asked.text("title", longest=256), asked.text("body", required=False)
        head, base = asked.text("head").rpartition(":")[2], asked.text("base")
        self._check_branches(repository, head, base)
        pull = Pull(place, head, base, draft=bool(asked.body.get("draft")))
        item = self._state.add_item(place, asked.by, title, body, pull)
        shown = self._state.pull(repository, item)
        payload = {"action": "opened", "number": item.number, "pull_request": shown}
        return Answered(201, shown, "pull_request", payload, place)

    def _check_branches(self, repository: Repository, head: str, base: str) -> None:
        commits = {name: self._sha(repository.name, name) for name in (head, base)}
        for field_, branch in (("head", head), ("base", base)):
            if commits[branch] is None:
                raise invalid(field_, "invalid")
        for item in list(repository.items.values()):
            if item.pull and item.state == "open" and (item.pull.head, item.pull.base) == (head, base):
                owner = repository.name.partition("/")[0]
                raise invalid("", "custom", f"A pull request already exists for {owner}:{head}.")
        if commits[head] == commits[base]:
            raise invalid("", "custom", f"No commits between {base} and {head}")

    def _pull(self, asked: Asked, place: str, number: str) -> Answered:
        repository, item = self._pull_item(asked, place, number)
        return Answered(200, self._state.pull(repository, item))

    def _edit_pull(self, asked: Asked, place: str, number: str) -> Answered:
        repository, item = self._pull_item(asked, place, number)
        self._own_or_write(asked, place, item.author)
        before = {"title": item.title, "body": item.body}
        if "title" in asked.body:
            item.title = asked.text("title", longest=256)
        if "body" in asked.body:
            item.body = asked.text("body", required=False)
        item.state = str(asked.body.get("state", item.state))
        item.updated_at = self._state.now()
        changes = {name: {"from": was} for name, was in before.items() if was != getattr(item, name)}
        shown = self._state.pull(repository, item)
        payload = {"action": "edited", "number": item.number, "pull_request": shown, "changes": changes}
        return Answered(200, shown, "pull_request", payload, place)

    # --- looking up ---------------------------------------------------------------------------------------------------

    def _repo(self, asked: Asked, place: str) -> Repository:
        repository = self._state.repositories.get(place)
        if repository is None or repository.permission(asked.by.login) == "none":
            raise ApiError(404, "Not Found")
        return repository

    def _item(self, asked: Asked, place: str, number: str) -> tuple[Repository, Item]:
        repository = self._repo(asked, place)
        item = repository.items.get(int(number))
        if item is None:
            raise ApiError(404, "Not Found")
        if item.pull:
            for name, branch in ((item.pull.head_repository, item.pull.head), (place, item.pull.base)):
                self._sha(name, branch)
        return repository, item

    def _pull_item(self, asked: Asked, place: str, number: str) -> tuple[Repository, Item]:
        repository, item = self._item(asked, place, number)
        if item.pull is None:
            raise ApiError(404, "Not Found")
        return repository, item

    def _said_there(self, asked: Asked, place: str, kind: str, number: str) -> Remark:
        self._repo(asked, place)
        remark = self._state.remarks.get(int(number))
        wanted = {"issues": "issue_comment", "pulls": "review_comment"}[kind]
        if remark is None or remark.kind != wanted or remark.repository != place:
            raise ApiError(404, "Not Found")
        return remark

    def _reactable(self, asked: Asked, place: str, target: str) -> None:
        kind, *_, number = target.split("/")
        if "/comments/" in target:
            self._said_there(asked, place, kind, number)
        else:
            self._item(asked, place, number)

    def _own_or_write(self, asked: Asked, place: str, author: Person) -> None:
        granted = permissions(self._state.repositories[place].permission(asked.by.login))
        if asked.by != author and not granted["push"]:
            raise ApiError(403, "Resource not accessible by personal access token")

    def _said(
        self, status: int, repository: Repository, item: Item, remark: Remark, action: str, **more: Any
    ) -> Answered:
        """Answer with what was said, and with the event that GitHub sends about it."""
        shown = self._state.remark(remark)
        payload: Json = {"action": action, "comment": shown, **more}
        if remark.kind == "issue_comment":
            event, payload["issue"] = "issue_comment", self._state.item(repository, item)
        else:
            event, payload["pull_request"] = "pull_request_review_comment", self._state.pull(repository, item)
        return Answered(status, shown, event, payload, repository.name)

    def _sha(self, repository: str, branch: str) -> str | None:
        """Return the commit of a branch, and remember it for what is shown."""
        if repository not in self._state.repositories or not self._hosting.path(repository).is_dir():
            return None
        commit = self._hosting.branches(repository).get(branch)
        if commit:
            self._state.shas[repository, branch] = commit
        return commit
