"""The stand-in's check runs: an App makes and renews them on a commit, nobody else may.

https://docs.github.com/rest/checks/runs
"""

from collections.abc import Callable, Iterable
from typing import Any

from bot.testing.git_server import Hosting
from bot.testing.github_api import REPOSITORY, Answered, ApiError, Asked, Handler
from bot.testing.github_app import GitHubApp
from bot.testing.github_state import Check, Json, State

_FIELDS = (
    "name",
    "external_id",
    "details_url",
    "status",
    "conclusion",
    "output",
    "actions",
    "started_at",
    "completed_at",
)
_LONGEST = {"label": 20, "identifier": 20, "description": 40}


class CheckRuns:
    """The routes. `app_of` knows the App that acts under a login."""

    def __init__(self, state: State, git: Hosting, app_of: Callable[[str], GitHubApp | None]) -> None:
        self._state, self._git, self._app_of = state, git, app_of

    def table(self) -> Iterable[tuple[str, str, Handler]]:
        """Method, path and handler of each route."""
        return [
            ("POST", rf"{REPOSITORY}/check-runs", self._create),
            ("PATCH", rf"{REPOSITORY}/check-runs/(?P<number>\d+)", self._update),
            ("GET", rf"{REPOSITORY}/commits/(?P<commit>[^/]+)/check-runs", self._list),
        ]

    def _create(self, asked: Asked, place: str) -> Answered:
        app, commit = self._app(asked), asked.text("head_sha")
        asked.text("name")
        for item in self._state.repositories[place].items.values():
            if item.pull and item.pull.head_repository not in ("", place):
                self._git.show_pull(place, item.number, item.pull.head_repository, item.pull.head)
        if not self._git.knows(place, commit):
            raise ApiError(422, f"No commit found for SHA: {commit}")
        check = Check(self._state.new_id(), place, commit, app.id, app.slug, _said(asked.body))
        self._state.checks[check.id] = check
        return self._answered(201, check, "created")

    def _update(self, asked: Asked, place: str, number: str) -> Answered:
        app, check = self._app(asked), self._state.checks.get(int(number))
        if check is None or check.repository != place:
            raise ApiError(404, "Not Found")
        if check.app != app.id:
            raise ApiError(403, "Invalid app_id: only the App that made a check run may change it")
        check.shown |= _said(asked.body)
        return self._answered(200, check, "completed" if check.shown.get("status") == "completed" else "created")

    def _list(self, asked: Asked, place: str, commit: str) -> Answered:
        name = asked.query.get("check_name")
        there = [c for c in list(self._state.checks.values()) if (c.repository, c.commit) == (place, commit)]
        shown = [shown_check(self._state, c) for c in reversed(there) if name in (None, c.shown["name"])]
        return Answered(200, {"total_count": len(shown), "check_runs": shown})

    def _app(self, asked: Asked) -> GitHubApp:
        if (app := self._app_of(asked.by.login)) is None:
            raise ApiError(403, "You must authenticate via a GitHub App.")
        return app

    def _answered(self, status: int, check: Check, action: str) -> Answered:
        shown = shown_check(self._state, check)
        return Answered(status, shown, "check_run", {"action": action, "check_run": shown}, check.repository)


def shown_check(state: State, check: Check) -> Json:
    """A check run as GitHub shows it."""
    pulls = [
        {"number": item.number, "id": item.id, "head": {"ref": item.pull.head, "sha": check.commit}}
        for item in state.repositories[check.repository].items.values()
        if item.pull and state.shas.get((item.pull.head_repository, item.pull.head)) == check.commit
    ]
    shown = {name: value for name, value in check.shown.items() if name != "actions"}
    return {
        "id": check.id,
        "node_id": f"CR_{check.id}",
        "head_sha": check.commit,
        "url": f"{state.api}/repos/{check.repository}/check-runs/{check.id}",
        "html_url": f"{state.web}/{check.repository}/runs/{check.id}",
        "conclusion": None,
        **shown,
        "app": {"id": check.app, "slug": check.slug, "name": check.slug, "client_id": f"Iv1.{check.app}"},
        "pull_requests": pulls,
    }


def _said(body: Json) -> Json:
    """Return what a body says of a check run. Raises ApiError (422) where GitHub would not take it."""
    actions: list[Any] = body.get("actions", [])
    too_long = any(len(action.get(name, "")) > most for action in actions for name, most in _LONGEST.items())
    if len(actions) > 3 or too_long or (body.get("status") == "completed" and "conclusion" not in body):
        raise ApiError(422, "Validation Failed")
    said = {name: body[name] for name in _FIELDS if name in body}
    return {**said, "status": "completed"} if "conclusion" in body else said
