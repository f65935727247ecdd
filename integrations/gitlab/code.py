"""Where code lives on GitLab: the project, the merge request's branch here or in a fork, the description's template."""

import asyncio
from urllib.parse import quote

from msgspec import structs

from bot.core.errors import Refused
from bot.core.inbound import Repository
from bot.core.platform import number_in, path_at
from bot.core.ports import Source
from bot.core.refusals import unless
from bot.core.secret import Secret
from integrations.gitlab import webhook
from integrations.gitlab.answers import DEVELOPER, MergeRequest, Project
from integrations.gitlab.api import Api

_USERNAME = "oauth2"
"""As whom git signs in; GitLab takes it with tokens of every kind."""
_TEMPLATE_LONGEST = 64 * 1024


async def source(api: Api, token: Secret, web: str, repository: Repository, item: str) -> Source:
    """Describe a project, and the merge request `item` (`!12` or `12`) in it ("" for none). Raises ProviderError, Refused."""
    path = path_of(repository.name)
    project = await api.get(token, path, Project)
    if project.archived:
        raise Refused("archived", f"The project {repository.name} is archived, so nothing can be pushed to it.")
    change = await api.get(token, items_of(repository.name, f"!{item.lstrip('!')}"), MergeRequest) if item else None
    if change is not None and change.state == "opened":
        return await _source_of_change(api, token, web, repository, change)
    base = change.target_branch if change is not None else project.default_branch or "main"
    template, commit = await asyncio.gather(_template(api, token, path, project), _stands(api, token, path, base))
    return Source(repository, _git(web, repository.name), base, commit=commit, template=template, username=_USERNAME)


async def _source_of_change(api: Api, token: Secret, web: str, repository: Repository, change: MergeRequest) -> Source:
    """Describe where an open merge request's branch is: here, or in a fork to which members may be let in.

    The branch of a fork is read from the project itself, which has it also when the fork is private or gone.
    """
    ours = Source(
        repository, _git(web, repository.name), change.target_branch, head=change.source_branch, username=_USERNAME
    )
    if change.source_project_id == change.target_project_id:
        return ours
    fork = await _fork(api, token, change.source_project_id)
    return structs.replace(
        ours,
        head_url=_git(web, fork.path_with_namespace) if fork else "",
        head_ref=f"refs/merge-requests/{change.iid}/head",
        pushable=bool(fork and change.allow_collaboration and not fork.archived),
    )


async def projects(api: Api, token: Secret, us: webhook.Us, query: str = "") -> list[Project]:
    """Return the projects that the token may push to and onhand works in, the last active first; a hundred are looked at."""
    wanted = {"membership": "true", "min_access_level": DEVELOPER, "archived": "false", "simple": "true"}
    named = {"search": query, "search_namespaces": "true"} if query else {}
    order = {"order_by": "last_activity_at", "per_page": 100}
    found = await api.get(token, "/projects", list[Project], {**wanted, **named, **order})
    return [p for p in found if webhook.is_project(p.path_with_namespace) and us.works_in(p.path_with_namespace)]


def name_at(web: str, address: str) -> str:
    """Return `group/project` of an address on this GitLab (a page, or for git over HTTP or SSH); "" for any other."""
    path = path_at(web, address).rstrip("/")
    name = path.partition("/-/")[0].removesuffix("/-").removesuffix(".git")
    return name if webhook.is_project(name) else ""


def path_of(name: str) -> str:
    """Return the path of a project in the API. Names come from payloads: what is none goes into no address."""
    if not webhook.is_project(name):
        raise Refused("repository", "That is not the name of a project; expected group/project.")
    return f"/projects/{quote(name, safe='')}"


def items_of(place: str, item: str) -> str:
    """Return the path of an issue (`12`) or merge request (`!12`) in the API."""
    kind = "merge_requests" if item.startswith("!") else "issues"
    return f"{path_of(place)}/{kind}/{number_in(item.removeprefix('!'))}"


def _git(web: str, name: str) -> str:
    path_of(name)
    return f"{web}/{name}.git"


async def _fork(api: Api, token: Secret, number: int | None) -> Project | None:
    return await unless(api.get(token, f"/projects/{number}", Project), "missing") if number else None


async def _stands(api: Api, token: Secret, path: str, branch: str) -> str:
    """Return the commit of a branch; nothing when there is no such branch."""
    there = f"{path}/repository/branches/{quote(branch, safe='')}"
    return await unless(api.get(token, there, str, at=("commit", "id")), "missing") or ""


async def _template(api: Api, token: Secret, path: str, project: Project) -> str:
    """Return the template that GitLab itself would fill in: that of the project's settings, else `Default`."""
    text = project.merge_requests_template or ""
    if not text.strip():
        default = api.get(token, f"{path}/templates/merge_requests/Default", str, at=("content",))
        text = await unless(default, "missing") or ""
    return text if len(text) <= _TEMPLATE_LONGEST else ""
