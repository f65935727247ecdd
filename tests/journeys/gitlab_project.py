"""A project at the stand-in of GitLab, with people in it and the service behind its hook; for journeys that end there too."""

import asyncio
import uuid
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.journeys.conftest import Place, Service
from tests.journeys.steps import CANARIES, SAMPLE
from tests.standins.gitlab import GitLabServer

FILES = {path: text for path, text in SAMPLE.items() if not path.startswith(".github/")}
TEMPLATE = SAMPLE[".github/PULL_REQUEST_TEMPLATE.md"]


class GitLabProject(Place):
    """As Place; threads are `12` for an issue and `!7` for a merge request."""

    def __init__(self, service: Service, gitlab: GitLabServer) -> None:
        self.service, self.gitlab, self.github = service, gitlab, gitlab
        self.name = f"acme/shop/app-{uuid.uuid4().hex[:8]}"
        self.client = httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=30)

    @staticmethod
    def port(service: Service) -> int:
        """Where the service takes GitLab to be."""
        return urlsplit(service.environment["ONHAND_GITLAB__URL"]).port or 0

    async def set_up(self) -> None:
        for username in ("alice", "carol", "mallory"):
            self.gitlab.person(username)
        assert self.gitlab.person("onhand-bot", bot=True).token == CANARIES["gitlab"]
        self.gitlab.person("project_9_bot_0f", bot=True)
        members = {"alice": 30, "carol": 40, "mallory": 20, "onhand-bot": 30, "project_9_bot_0f": 40}
        await self.gitlab.project(self.name, FILES, members, template=TEMPLATE)
        self.listen()

    def listen(self) -> None:
        address = f"{self.service.url}/api/integration/gitlab/events"
        self.gitlab.hook(address, signing_token=CANARIES["gitlab signing"])

    def key(self, item: Any) -> str:
        return f"gitlab:{self.name}#{item}"

    async def issue(self, body: str = "`add` is wrong. @onhand please fix it", who: str = "alice") -> Any:
        return await self.gitlab.issue(self.name, who, f"add is wrong in {self.name}", body)

    async def settled(self) -> None:
        await asyncio.gather(*self.gitlab.echoes)

    def said(self, item: Any, kind: str = "") -> list[str]:
        notes = self.gitlab.notes(self.name, item)
        return [note["body"] for note in notes if note["author"]["username"] == "onhand-bot"]

    def pulls(self) -> list[Any]:
        """The merge requests that are ours."""
        made = self.gitlab.merge_requests(self.name)
        return [change for change in made if change["author"]["username"] == "onhand-bot"]
