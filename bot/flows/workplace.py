"""Where the work on a request goes: which code it starts from, on which branch its commits end, and in whose names."""

import re
from dataclasses import dataclass, replace

import msgspec

from bot.core.conversation import State
from bot.core.errors import Refused
from bot.core.inbound import Repository, Trigger
from bot.core.marks import BRANCH_PREFIX
from bot.core.patience import patiently
from bot.core.ports import Checkout, Forge, Services, Source
from bot.flows.identity import Grant, signed_in
from bot.flows.whereabouts import forge_of, known


@dataclass(frozen=True)
class Workplace:
    """Where a run works: the code, the branch its commits go to, and in whose names."""

    trigger: Trigger
    forge: Forge
    source: Source
    branch: str
    author: str
    co_author: str
    inside_change: bool = False
    """Whether it was asked inside an open change, whose branch then gets the commits."""
    base: str = ""
    """The commit that the working copy started from."""

    def at_head(self, state: State) -> bool:
        """Whether `base` is the head of a change: the one where it was asked, or our own."""
        return bool(self.source.head) and (self.inside_change or f"change:{self.branch}" in state.topics)


async def find_workplace(services: Services, state: State, trigger: Trigger, grant: Grant) -> Workplace:
    """Ask the forge where the work on a trigger goes. Raises Refused, ProviderError."""
    repository = known(state, trigger)
    if repository is None:
        raise Refused("repository", "I do not know which repository you mean. Name it with repo=owner/name.")
    forge = forge_of(services, repository)
    number = trigger.thread.item if _inside(trigger, repository) else ""
    source = await forge.source(repository, number, await grant.code())
    if base := trigger.request.options.get("branch"):
        source = msgspec.structs.replace(source, base=base, commit="")
    branch, inside = source.head, bool(source.head)
    if not branch and state.branch and await _goes_on(forge, source, state, trigger, grant):
        branch = state.branch
        source = msgspec.structs.replace(source, head=branch if state.pushed else "")
    branch = branch or branch_name(trigger, earlier=sum(topic.startswith("change:") for topic in state.topics))
    us = await forge.identify(await grant.code())
    co_author = forge.author(grant.author) if grant.author else ""
    return Workplace(trigger, forge, source, branch, forge.author(us), co_author, inside)


async def _goes_on(forge: Forge, source: Source, state: State, trigger: Trigger, grant: Grant) -> bool:
    """Whether to go on with the last run's branch: not when its change, or the one where it is asked, was merged or closed."""
    if change := state.topics.get(f"change:{state.branch}"):
        return bool((await forge.source(source.repository, change.id, await grant.code())).head)
    return not _inside(trigger, source.repository)


def _inside(trigger: Trigger, repository: Repository) -> bool:
    thread = trigger.thread
    return trigger.change and (thread.service, thread.place) == (repository.service, repository.name)


async def start_from(checkout: Checkout, place: Workplace, grant: Grant) -> Workplace:
    """Fetch, and return the workplace with the commit to start from: where our branch stands, or its base if it is gone."""

    async def fetch(source: Source) -> str:
        return await signed_in(place.forge, grant.code, lambda token: checkout.fetch(source, token))

    source = place.source
    try:
        base = await patiently(lambda: fetch(source))
    except Refused as refused:
        if refused.word != "branch" or place.inside_change or not source.head:
            raise
        source = msgspec.structs.replace(source, head="")
        base = await patiently(lambda: fetch(source))
    return replace(place, source=source, base=base)


def branch_name(trigger: Trigger, earlier: int = 0) -> str:
    """Return the branch for a request, such as `onhand/12-fix-the-login-redirect`, after so many earlier changes of its thread."""
    slug = re.sub(r"[^a-z0-9]+", "-", trigger.title.lower()).strip("-")[:40].rstrip("-")
    name = f"{BRANCH_PREFIX}{_slug(trigger.thread.item)}-{slug}".rstrip("-")
    return f"{name}-{earlier + 1}" if earlier else name


def spare_branch(trigger: Trigger, run_id: str) -> str:
    """Return the branch of a run's own, for work that cannot go where it was meant to."""
    return f"{BRANCH_PREFIX}{_slug(trigger.thread.item)}-{run_id}"


def _slug(item: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", item).strip("-")
