"""The stand-in's webhooks as a repository's administrators see them: where they lead, and what was delivered.

https://docs.github.com/rest/repos/webhooks
"""

from collections.abc import Iterable, Sequence

from bot.core.secret import Secret
from bot.testing.github_api import REPOSITORY, Answered, ApiError, Asked, Handler
from bot.testing.github_app import Apps
from bot.testing.github_state import State, permissions

_HOOK = rf"{REPOSITORY}/hooks/(?P<hook>\d+)"


class RepositoryHooks:
    """The routes. Every webhook belongs to every repository; its id is its place in the list."""

    def __init__(self, state: State, apps: Apps, hooks: Sequence[tuple[str, Secret]]) -> None:
        self._state, self._apps, self._hooks = state, apps, hooks

    def table(self) -> Iterable[tuple[str, str, Handler]]:
        """Method, path and handler of each route."""
        return [
            ("GET", rf"{REPOSITORY}/hooks", self._list),
            ("GET", rf"{_HOOK}/deliveries", self._deliveries),
            ("POST", rf"{_HOOK}/deliveries/(?P<attempt>\d+)/attempts", self._again),
        ]

    def _list(self, asked: Asked, place: str) -> Answered:
        self._administered(asked, place)
        shown = [
            {
                "type": "Repository",
                "id": number,
                "name": "web",
                "active": True,
                "events": ["*"],
                "config": {"url": url, "content_type": "json", "secret": "********"},
            }
            for number, (url, _) in enumerate(self._hooks, 1)
        ]
        return Answered(200, shown)

    def _deliveries(self, asked: Asked, place: str, hook: str) -> Answered:
        self._administered(asked, place, int(hook))
        return self._apps.deliveries(asked.query, [one for one in self._apps.attempts if one.place == place])

    def _again(self, asked: Asked, place: str, hook: str, attempt: str) -> Answered:
        self._administered(asked, place, int(hook))
        return self._apps.again(int(attempt))

    def _administered(self, asked: Asked, place: str, hook: int = 0) -> None:
        there = self._state.repositories.get(place)
        if there is None or not permissions(there.permission(asked.by.login))["admin"] or hook > len(self._hooks):
            raise ApiError(404, "Not Found")
