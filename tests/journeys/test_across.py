"""Asked on one platform, landed on another: what is asked at Jira becomes a merge request at GitLab, with links both ways."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.journeys.steps import CANARIES, MEND_CALC, bash, finish
from tests.journeys.test_jira import Project
from tests.standins.jira import JiraServer

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


@pytest.fixture
async def ticket(project: Any) -> AsyncIterator[Project]:
    """A project at Jira whose code is that of the project at GitLab."""
    port = urlsplit(project.service.environment["ONHAND_JIRA__URL"]).port or 0
    async with JiraServer(port=port) as jira:
        jira.person("alice")
        jira.person("onhand", token=CANARIES["jira"])
        jira.hook(f"{project.service.url}/api/integration/jira/events", CANARIES["jira webhook"])
        yield Project(project, jira)


@pytest.mark.parametrize("how", ["address", "option"])
async def test_asked_at_jira_the_work_lands_at_gitlab_with_links_both_ways(
    ticket: Project, project: Any, tmp_path: Path, how: str
) -> None:
    project.script(bash(MEND_CALC), finish())
    where = (
        f"repo=gitlab:{project.name}" if how == "option" else f"{project.gitlab.url}/{project.name}/-/blob/main/calc.py"
    )
    key = await ticket.issue(f"{ticket.us} please fix it {where}")
    await ticket.ended(key)
    [change] = project.pulls()
    assert project.tests_pass(change["source_branch"], tmp_path)
    assert change["source_branch"].startswith(f"onhand/{key}-")
    assert f"/browse/{key}" in change["description"]
    assert "Closes" not in change["description"]
    [link] = ticket.jira.issues[key].links
    assert link["object"]["url"] == change["web_url"]
    assert "Done" in ticket.said(key)[-1]
