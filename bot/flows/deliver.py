"""From the box to the forge: how a run's commits become a pushed branch and a change."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from bot.core.conversation import State
from bot.core.errors import ProviderError, Refused
from bot.core.events import Draft, Event, Landed, RunEnded
from bot.core.markdown import plain
from bot.core.outbound import Change, Outcome, Patch
from bot.core.ports import Checkout, Proposal, Sandbox, Services, Templated
from bot.core.secret import Secret
from bot.core.wording import summary_of
from bot.flows.identity import Grant, patiently_with, recheck, signed_in
from bot.flows.landing import Landing, keep, land
from bot.flows.report import Reporter
from bot.flows.runlog import ConversationLog
from bot.flows.workplace import Workplace, spare_branch

logger = logging.getLogger(__name__)

CLOSED = "This was merged or closed meanwhile."

MASKED = "Something in it looks like a secret and is masked, so it cannot be applied as it is."

INEXACT = "It cannot be written so that `git am` makes the very same files of it, so it is for reading only."

COMPLETE = ("finished", "limit")
"""Endings whose work is offered to people, rather than only kept."""


@dataclass(frozen=True)
class Delivered:
    """What came of a run in the end."""

    outcome: Outcome
    change_url: str = ""
    patch: str = ""
    """The work as text, where no branch took it."""
    patch_flaw: str = ""
    """Why it cannot be applied as it is, in a sentence."""
    commit: str = ""
    """Where the change stands now, if this run has pushed to it."""


async def hand_out(
    services: Services,
    checkout: Checkout,
    log: ConversationLog,
    place: Workplace,
    box: Sandbox,
    grant: Grant,
    outcome: Outcome,
) -> Landing | None:
    """Take the run's commits out of the box and push them, if there are any and they are wanted; note what became of them.

    Raises Refused, ProviderError, SandboxError.
    """
    if outcome.ending == "refused":
        return None
    if place.inside_change and outcome.ending not in COMPLETE:
        return None
    message = plain(outcome.title or place.trigger.title) or "Work in progress"
    change = await checkout.take(place.source, place.base, place.branch, box, message)
    if change is not None and change.commit:
        await recheck(services, place.source.repository, grant)
        return await _land(checkout, log, place, change, grant)
    if before := _not_proposed_yet(log, place):
        await recheck(services, place.source.repository, grant)
        return before
    return Landing(change) if change else None


def _not_proposed_yet(log: ConversationLog, place: Workplace) -> Landing | None:
    """Return the work of earlier runs that no change shows, where a `retry` started from it and found nothing to add."""
    if place.inside_change or not place.source.head or place.trigger.request.verb != "retry":
        return None
    if log.state.topics.get(f"change:{place.branch}"):
        return None
    landed = _landed_on(place.branch, log.events)
    return next((Landing(done, place.branch) for _, _, done in landed[-1:] if done.commit == place.base), None)


async def _land(checkout: Checkout, log: ConversationLog, place: Workplace, change: Change, grant: Grant) -> Landing:
    run_id = log.state.run.id if log.state.run else ""
    spare = spare_branch(place.trigger, run_id)

    async def token() -> Secret:
        token = await grant.code()
        await log.refresh()  # raises LeaseLost: whoever slept through the lease pushes nothing
        return token

    async def push() -> Landing:
        if await _closed(place, grant):
            return await keep(checkout, place.source, change, spare, token, CLOSED)
        return await land(checkout, place.source, change, place.branch, spare, token)

    landing = await signed_in(place.forge, token, lambda _: push())
    await log.append(Draft(Landed(run=run_id, change=landing.change, branch=landing.branch, why=landing.why)))
    return landing


async def _closed(place: Workplace, grant: Grant) -> bool:
    """Whether the change was merged or closed meanwhile in which the work was asked for: nobody would see what is pushed there."""
    if not place.inside_change:
        return False
    repository, item = place.source.repository, place.trigger.thread.item
    return not (await patiently_with(grant.code, lambda key: place.forge.source(repository, item, key))).head


async def handed_out(checkout: Checkout, state: State, place: Workplace) -> Landing | None:
    """Return what became of the latest run's commits, if that is noted: the box is not needed any more then."""
    landed = state.run.landed if state.run else None
    if landed is None:
        return None
    if landed.branch:
        return Landing(landed.change, landed.branch, landed.why)
    try:
        return Landing(landed.change, why=landed.why, patch=await checkout.patch(place.source, landed.change))
    except (Refused, OSError):  # it was another machine's mirror
        return None


async def deliver(
    services: Services, log: ConversationLog, place: Workplace, landing: Landing | None, grant: Grant, outcome: Outcome
) -> Delivered:
    """Show at the forge what the run made. Doing it again, also from another worker, changes nothing more.

    Finished work becomes a change (or commits in the change where it was asked), work cut short by a limit a draft. Work of a
    run that was stopped or failed stays on a branch of ours. Raises Refused, ProviderError.
    """
    if landing is None:
        return Delivered(outcome)
    outcome = _with(_with(outcome, _about_lfs(landing.change)), _about_left_out(landing.change))
    if not landing.change.commit:
        return Delivered(outcome)
    complete = outcome.ending in COMPLETE
    commit = landing.change.commit if landing.branch == place.branch else ""
    if not commit or not complete or place.inside_change:
        patch, flaw = shown_patch(landing.patch, services.redact) if landing.patch else ("", "")
        commit = commit if complete or place.at_head(log.state) else ""
        return Delivered(_with(outcome, _about(landing, complete)), patch=patch, patch_flaw=flaw, commit=commit)
    outcome = _with(outcome, _about_rivals(await _rivals(place, grant)))
    url = await _propose(services, log, place, landing.change, grant, outcome)
    return Delivered(outcome, url, commit=commit)


def shown_patch(patch: Patch, redact: Callable[[str], str]) -> tuple[str, str]:
    """Return the text of the patch for people, and why it cannot be applied as it is, if so. No secret hides in what is encoded."""
    masked = redact(patch.readable)
    if masked != patch.readable:
        return masked, MASKED
    return (patch.exact, "") if patch.exact and redact(patch.exact) == patch.exact else (masked, INEXACT)


def _with(outcome: Outcome, note: str) -> Outcome:
    return msgspec.structs.replace(outcome, text=f"{outcome.text}\n\n{note}".strip()) if note else outcome


def _about(landing: Landing, complete: bool) -> str:
    if landing.patch:
        return f"{landing.why} So the work is in a patch, in a message of its own."
    if landing.why:
        return f"{landing.why} I never overwrite work: mine is on the branch `{landing.branch}`."
    if not complete:
        return f"The work so far is on the branch `{landing.branch}`."
    count = len(landing.change.subjects)
    return f"Pushed {count} commit{'s' if count != 1 else ''} to `{landing.branch}`."


def _about_lfs(change: Change) -> str:
    if not change.lfs:
        return ""
    return (
        f"The repository keeps {_some(change.lfs)} in Git LFS, from where I fetch only pointers and where I upload nothing. "
        "Please look at these files before merging."
    )


def _about_left_out(change: Change) -> str:
    if not change.left_out:
        return ""
    why = "git cannot store it, it lies in a stash or on another branch, or it is a repository of its own"
    return f"Not taken along, because {why}: {_some(change.left_out)}."


def _some(paths: Sequence[str]) -> str:
    named = ", ".join(f"`{path.strip('`')}`" for path in paths[:5])
    return named + (" and others" if len(paths) > 5 else "")


def _about_rivals(names: Sequence[str]) -> str:
    return f"There is already {' and '.join(names)} for this issue." if names else ""


async def _rivals(place: Workplace, grant: Grant) -> Sequence[str]:
    """Return what others have open for the issue. To know it is a courtesy: a forge that does not say is no reason to stop."""
    thread = place.trigger.thread
    if thread.service != place.source.repository.service:
        return ()
    try:
        return await place.forge.rivals(thread, await grant.token())
    except ProviderError as error:
        logger.warning("what others have open for %s is not known: %s", thread.key, error)
        return ()


async def _template(place: Workplace, grant: Grant) -> str:
    """Return the form of a description. Without it a change is one all the same: a forge that does not say is no reason to stop."""
    forge = place.forge
    if place.inside_change or not isinstance(forge, Templated):
        return place.source.template
    try:
        return await patiently_with(grant.code, lambda key: forge.template(place.source.repository, key))
    except ProviderError as error:
        logger.warning("the template of %s cannot be read: %s", place.source.repository.name, error)
        return ""


async def _propose(
    services: Services, log: ConversationLog, place: Workplace, change: Change, grant: Grant, outcome: Outcome
) -> str:
    """Show a pushed branch as a change, described by all runs that it has; return its address. Raises ProviderError, Refused."""
    place = replace(place, source=msgspec.structs.replace(place.source, template=await _template(place, grant)))
    reporter = Reporter(log, place.forge, grant.code, services.clock)
    receipts = [await reporter.perform(call) for call in place.forge.propose(_proposal(log, place, change, outcome))]
    return receipts[-1].url if receipts else ""


def _proposal(log: ConversationLog, place: Workplace, change: Change, outcome: Outcome) -> Proposal:
    trigger = place.trigger
    run_id = log.state.run.id if log.state.run else ""
    landed = _landed_on(place.branch, log.events)
    before = [(ended, done) for run, ended, done in landed if run != run_id and ended.ending == "finished"]
    told = [*(_with(ended, _about_left_out(done)) for ended, done in before), outcome]
    return Proposal(
        topic=f"change:{place.branch}",
        thread=trigger.thread,
        source=place.source,
        branch=place.branch,
        change=msgspec.structs.replace(change, subjects=tuple(s for *_, done in landed for s in done.subjects)),
        title=next((ended.title for ended in told if ended.title), trigger.title),
        summary=summary_of([ended.text for ended in told]),
        requested_by=trigger.actor.shown,
        request_url=trigger.url,
        run_id=run_id,
        draft=outcome.ending == "limit",
        asked_in_change=trigger.change,
    )


def _landed_on(branch: str, events: Sequence[Event]) -> list[tuple[str, Outcome, Change]]:
    """Return the runs that pushed to the branch, how they ended, and what they pushed, oldest first."""
    ended = {event.fact.run: event.fact.outcome for event in events if isinstance(event.fact, RunEnded)}
    landed = {event.fact.run: event.fact for event in events if isinstance(event.fact, Landed)}
    return [(run, ended[run], there.change) for run, there in landed.items() if there.branch == branch and run in ended]
