"""Where code lives on GitHub: the repository, the pull request's branch here or in a fork, the description's template."""

from base64 import b64decode
from contextlib import suppress
from urllib.parse import quote

from msgspec import UNSET, structs

from bot.core.errors import Refused
from bot.core.inbound import Repository
from bot.core.platform import number_in, path_at
from bot.core.ports import Source
from bot.core.refusals import unless
from bot.core.secret import Secret
from integrations.github import webhook
from integrations.github.answers import Branch, Content, Pull, Repo
from integrations.github.api import Api

_TEMPLATE_FOLDERS = (".github", "", "docs")
_TEMPLATE_NAMES = ("pull_request_template.md", "pull_request_template.txt", "pull_request_template")
_TEMPLATE_LARGEST = 64 * 1024


async def source(api: Api, token: Secret, web: str, repository: Repository, number: str) -> Source:
    """Describe a repository, and the pull request `number` in it ("" for none). Raises ProviderError, Refused."""
    place = path_of(repository.name)
    repo = (await api.get(token, place)).read(Repo)
    if repo.archived or repo.disabled:
        state = "archived" if repo.archived else "disabled"
        raise Refused("archived", f"The repository {repository.name} is {state}, so nothing can be pushed to it.")
    pull = (await api.get(token, f"{place}/pulls/{number_in(number)}")).read(Pull) if number else None
    if pull is not None and pull.state == "open":
        return _source_of_pull(web, repository, repo, pull)
    base = pull.base.ref if pull is not None else repo.default_branch
    there = await branch(api, token, place, base)
    named, commit = (there.name, there.commit.sha) if there else (base, "")
    return Source(repository, _git(web, repo.full_name), named, commit=commit)


def _source_of_pull(web: str, repository: Repository, repo: Repo, pull: Pull) -> Source:
    """Describe where an open pull request's branch is: here, or in a fork to which maintainers may be let in.

    The branch of a fork is read from the repository itself, which has it also when the fork is private or gone.
    """
    ours = Source(repository, _git(web, repo.full_name), pull.base.ref, head=pull.head.ref)
    head = repo if pull.head.repo is UNSET else pull.head.repo
    if isinstance(head, Repo) and head.full_name.casefold() == repo.full_name.casefold():
        return ours
    fork = _git(web, head.full_name) if isinstance(head, Repo) else ""
    pushable = bool(isinstance(head, Repo) and pull.maintainer_can_modify and not head.archived)
    return structs.replace(ours, head_url=fork, head_ref=f"refs/pull/{pull.number}/head", pushable=pushable)


def path_of(name: str) -> str:
    """Return the path of a repository in the API. Names come from payloads: what is none goes into no address."""
    if not webhook.is_repository(name):
        raise Refused("repository", "That is not the name of a repository; expected owner/repo.")
    return f"/repos/{name}"


def name_at(web: str, address: str) -> str:
    """Return `owner/repo` of an address on this GitHub (a page, or for git over HTTP or SSH); "" for any other."""
    owner, _, rest = path_at(web, address).partition("/")
    name = f"{owner}/{rest.partition('/')[0].removesuffix('.git')}"
    return name if webhook.is_repository(name) else ""


def _git(web: str, name: str) -> str:
    path_of(name)
    return f"{web}/{name}.git"


async def branch(api: Api, token: Secret, place: str, name: str) -> Branch | None:
    """Return a branch of the repository at a path, under its new name where it was renamed. Raises ProviderError."""
    found = await unless(api.get(token, f"{place}/branches/{quote(name)}"), "missing")
    return found.read(Branch) if found else None


async def template(api: Api, token: Secret, repository: Repository) -> str:
    """Return the pull request template: the repository's own, else that of its owner's public repository `.github`.

    At most nine requests.
    https://docs.github.com/communities/setting-up-your-project-for-healthy-contributions/creating-a-default-community-health-file
    """
    own, owners = path_of(repository.name), path_of(f"{repository.name.partition('/')[0]}/.github")
    if text := await _template_in(api, token, own):
        return text
    found = await unless(api.get(token, owners), "missing", "forbidden")
    shared = found is not None and not found.read(Repo).private
    return await _template_in(api, token, owners) if shared else ""


async def _template_in(api: Api, token: Secret, place: str) -> str:
    """Return the template from the first of the usual folders that has one."""
    for folder in _TEMPLATE_FOLDERS:
        found = await unless(api.get(token, f"{place}/contents/{folder}"), "missing")
        # a file, a link or a submodule of this name is told as one object
        listed = found is not None and found.text.lstrip().startswith("[")
        for entry in found.read(list[Content]) if found and listed else ():
            name = entry.name.lower()
            if entry.type == "file" and name in _TEMPLATE_NAMES:
                return await _text(api, token, f"{place}/contents/{quote(entry.path)}")
    return ""


async def _text(api: Api, token: Secret, path: str) -> str:
    content = (await api.get(token, path)).read(Content)
    if content.encoding != "base64" or content.size > _TEMPLATE_LARGEST:
        return ""
    with suppress(ValueError):
        return b64decode(content.content or "").decode(errors="replace")
    return ""
