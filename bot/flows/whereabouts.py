"""Where the code lives that a request is about: named, known, set as the default, read out of the text, or asked for."""

from collections.abc import AsyncIterator, Iterator
from itertools import chain

from bot.core import repositories
from bot.core.conversation import State
from bot.core.errors import ProviderError, Refused, Unclear
from bot.core.inbound import Repository, Thread, Trigger
from bot.core.ports import Forge, Linked, Services
from bot.core.refusals import courtesy

_CHOICES = 10


def known(state: State, trigger: Trigger) -> Repository | None:
    """Return the repository of a conversation as far as it is known without asking anybody."""
    return state.repository or trigger.repository


def forge_of(services: Services, repository: Repository) -> Forge:
    """Return the forge that serves a repository. Raises Refused when there is none."""
    integration = services.integrations.get(repository.service)
    if not isinstance(integration, Forge):
        raise Refused("repository", f"I am not set up to work on repositories of {repository.service}.")
    return integration


async def locate(services: Services, state: State, trigger: Trigger) -> Repository:
    """Return where the code lives.

    The payload and what was settled in the conversation come first, then `repo=`, the default of the channel, project or team,
    what the text names, and what the platform links the thread to. Raises Unclear with a question, Refused, ProviderError.
    """
    named = trigger.request.options.get("repo", "")
    if here := known(state, trigger):
        other = _named(services, named) if named else trigger.repository
        if other and (other.service, other.name.casefold()) != (here.service, here.name.casefold()):
            raise Refused(
                "repository", f"Here I work on {here.name}. Please ask for another repository in another thread."
            )
        return here
    if named:
        return _named(services, named)
    if default := _default(services, trigger.thread):
        return default
    async for text in _texts(services, trigger):
        found = await _reachable(services, text)
        if len(found) == 1:
            return found[0]
        if found:
            raise _unclear(found)
    raise _unclear(await search(services, ""))


async def _texts(services: Services, trigger: Trigger) -> AsyncIterator[str]:
    """Yield what may name a repository, what says it best first; what the platform links the thread to is asked for last."""
    yield trigger.request.text
    yield f"{trigger.title}\n{trigger.body}"
    integration = services.integrations[trigger.thread.service]
    if isinstance(integration, Linked) and (token := await integration.token(trigger.thread.place)):
        yield await integration.links(trigger.thread, token)


async def search(services: Services, query: str) -> list[Repository]:
    """Return repositories that the bot can work on and whose names contain the query. Forges that do not answer give none."""
    found: list[Repository] = []
    for forge in _forges(services):
        try:
            if token := await forge.token(""):
                found += await forge.repositories(query, token)
        except (ProviderError, Refused):
            continue
    return found


def _unclear(choices: list[Repository]) -> Unclear:
    return Unclear("Which repository do you mean?", tuple(_full_name(choice) for choice in choices[:_CHOICES]))


def _full_name(repository: Repository) -> str:
    return f"{repository.service}:{repository.name}"


def _forges(services: Services) -> list[Forge]:
    return [integration for integration in services.integrations.values() if isinstance(integration, Forge)]


def _named(services: Services, text: str) -> Repository:
    """Return the repository of `owner/name` or `gitlab:group/name`; without a service it is the first forge's."""
    service, colon, name = text.partition(":")
    if colon and not name.startswith("//"):
        return Repository(service.lower(), name)
    forges = _forges(services)
    if at := next((found for forge in forges if (found := forge.repository_at(text))), None):
        return at
    if not forges:
        raise Refused(
            "repository", "I am not set up to work on repositories: no platform where code lives is configured."
        )
    return Repository(forges[0].name, text)


def _default(services: Services, thread: Thread) -> Repository | None:
    places = (thread.place, thread.place.rpartition("/")[2])
    keys = (f"{thread.service}:{place}".casefold() for place in places)
    text = next((services.defaults[key] for key in keys if key in services.defaults), "")
    return _named(services, text) if text else None


async def _reachable(services: Services, text: str) -> list[Repository]:
    """Return the repositories that a text names and that the bot can write to: addresses, or else bare names.

    A forge that does not answer matters only where no other knows one of them. Raises ProviderError.
    """
    for candidates in (_addressed(services, text), _bare(services, text)):
        found, away, named = list[Repository](), list[ProviderError](), dict.fromkeys(candidates)
        for candidate in named:
            try:
                found += [candidate] if await _can_write(services, candidate) else []
            except ProviderError as error:
                away.append(error)
        if away and not found:
            raise away[0]
        if named:
            return found
    return []


def _addressed(services: Services, text: str) -> Iterator[Repository]:
    forges = _forges(services)
    found = (forge.repository_at(address) for address in repositories.addresses(text) for forge in forges)
    return (repository for repository in found if repository)


def _bare(services: Services, text: str) -> Iterator[Repository]:
    names = list(repositories.names(text))
    return chain.from_iterable((Repository(forge.name, name) for name in names) for forge in _forges(services))


async def _can_write(services: Services, repository: Repository) -> bool:
    try:
        return bool(await courtesy(_may_write(forge_of(services, repository), repository)))
    except Refused:
        return False


async def _may_write(forge: Forge, repository: Repository) -> bool:
    token = await forge.token(repository.name)
    return token is not None and await forge.may_write(repository, None, token)
