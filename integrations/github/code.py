"""Where code lives on GitHub: the repository, the pull request's branch here or in a fork, the description's template."""

from base64 import b64decode
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from msgspec import UNSET, structs

from bot.core.errors import ProviderError, Refused
from bot.core.inbound import Repository
from bot.core.ports import Source
from integrations.github import webhook
from integrations.github.answers import Answer, Branch, Content, Pull, Repo

Read = Callable[[str], Awaitable[Answer]]
"""Reads a path of the API. Raises ProviderError."""

_TEMPLATE_FOLDERS = (".github", "", "docs")
_TEMPLATE_LARGEST = 64 * 1024


async def source(read: Read, web: str, repository: Repository, number: str) -> Source:
    """Describe a repository, and the pull request `number` in it ("" for none). Raises ProviderError, Refused."""
    place = path_of(repository.name)
    repo = (await read(place)).read(Repo)
    if repo.archived or repo.disabled:
        state = "archived" if repo.archived else "disabled"
        raise Refused("archived", f"The repository {repository.name} is {state}, so nothing can be pushed to it.")
    pull = (await read(f"{place}/pulls/{number_in(number)}")).read(Pull) if number else None
    if pull is not None and pull.state == "open":
        return _source_of_pull(web, repository, repo, pull)
    base = pull.base.ref if pull is not None else repo.default_branch
    return Source(repository, _git(web, repo.full_name), base, commit=await _stands(read, place, base))


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
    host = urlsplit(web).netloc.casefold()
    there = address.partition("://")[2] if "://" in address else address.replace(":", "/", 1)
    at, _, path = there.rpartition("@")[2].partition("/")
    parts = path.partition("?")[0].partition("#")[0].split("/")
    name = "/".join([*parts[:1], *(part.removesuffix(".git") for part in parts[1:2])])
    return name if at.casefold() == host and webhook.is_repository(name) else ""


def number_in(text: str) -> str:
    """Return the text if it is a number that may stand in an address. Raises ProviderError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ProviderError("invalid", f"expected a number, found {text[:40]!r}")
    return text


def _git(web: str, name: str) -> str:
    path_of(name)
    return f"{web}/{name}.git"


async def _stands(read: Read, place: str, branch: str) -> str:
    """Return the commit of a branch; nothing when there is no such branch."""
    try:
        return (await read(f"{place}/branches/{quote(branch)}")).read(Branch).commit.sha
    except ProviderError as error:
        if error.word == "missing":
            return ""
        raise


async def template(read: Read, repository: Repository) -> str:
    """Return the pull request template from the first of the usual places that has one. At most four requests."""
    place = path_of(repository.name)
    for folder in _TEMPLATE_FOLDERS:
        for entry in await _listing(read, f"{place}/contents/{folder}"):
            name = entry.name.lower()
            if entry.type == "file" and name in ("pull_request_template.md", "pull_request_template.txt"):
                return await _text(read, f"{place}/contents/{quote(entry.path)}")
    return ""


async def _listing(read: Read, path: str) -> list[Content]:
    try:
        return (await read(path)).read(list[Content])
    except ProviderError as error:
        if error.word == "missing":
            return []
        raise


async def _text(read: Read, path: str) -> str:
    content = (await read(path)).read(Content)
    if content.encoding != "base64" or content.size > _TEMPLATE_LARGEST:
        return ""
    try:
        return b64decode(content.content or "").decode(errors="replace")
    except ValueError:
        return ""
