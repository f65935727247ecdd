"""Where the commits of a run end up: on the branch they are meant for, else on one of our own, else in a patch. Never by force."""

from dataclasses import dataclass
from functools import partial

import msgspec

from bot.core.errors import ProviderError, Refused
from bot.core.outbound import Change, Patch
from bot.core.ports import Checkout, Source
from bot.flows.identity import Token, patiently_with

_PUSHES = 3
"""How often a push is tried on a branch that keeps moving."""

FORK = "I may not push to the fork that this pull request comes from; its author can let me by allowing edits by maintainers."
OUT_OF_REACH = (
    "My token does not reach the fork that this pull request comes from, though edits by maintainers are allowed; its owner can "
    "let me in by inviting my account. An App cannot be invited."
)


@dataclass(frozen=True)
class Landing:
    """What became of a change."""

    change: Change
    """As it was pushed: the same commits, or these rebased."""
    branch: str = ""
    why: str = ""
    """Why it is not where it was meant to be."""
    patch: Patch | None = None
    """The commits as text, where no branch took them."""


async def land(checkout: Checkout, source: Source, change: Change, branch: str, spare: str, token: Token) -> Landing:
    """Push to `branch`, over what others pushed there meanwhile if it does not conflict; else keep it on `spare` or as a patch.

    Raises Refused, ProviderError where there is nothing to be kept, or coming back later helps.
    """
    if not source.pushable:
        return Landing(change, why=FORK, patch=await checkout.patch(source, change))
    try:
        return Landing(await _push(checkout, source, change, branch, token), branch)
    except (Refused, ProviderError) as error:
        why = _why(error, source, branch)
    return await keep(checkout, source, change, spare, token, why)


async def keep(checkout: Checkout, source: Source, change: Change, spare: str, token: Token, why: str) -> Landing:
    """Keep the commits on a branch of our own or as a patch, because of `why`. Raises as `land` does."""
    if not source.head_url:
        try:
            await patiently_with(token, partial(checkout.push, source, change, spare))
            return Landing(change, spare, why)
        except (Refused, ProviderError) as error:
            _why(error, source, spare)
    return Landing(change, why=why, patch=await checkout.patch(source, change))


def _why(error: Refused | ProviderError, source: Source, branch: str) -> str:
    """Return the sentence for an error that leaves another way open; raise it again if it leaves none."""
    if isinstance(error, Refused):
        if error.word == "protected":
            return error.text
        if error.word == "branch":
            return f"Somebody deleted `{branch}` meanwhile."
        raise error
    if error.word == "conflict":
        return f"Somebody else pushed to `{branch}` meanwhile, and my commits do not fit onto theirs."
    if source.head_url and error.word in ("forbidden", "missing", "unauthorized"):
        return OUT_OF_REACH
    if error.word == "forbidden":
        return "My token does not have the right to push here."
    raise error


async def _push(checkout: Checkout, source: Source, change: Change, branch: str, token: Token) -> Change:
    for _ in range(_PUSHES):
        try:
            await patiently_with(token, partial(checkout.push, source, change, branch))
            return change
        except ProviderError as error:
            if error.word != "conflict":
                raise
            rebase = partial(checkout.rebase, source, change, branch)
            moved, conflict = await patiently_with(token, rebase), error
        if moved is None:
            break
        # done again after a crash, nothing is left to move: these commits are there already
        change = msgspec.structs.replace(moved, subjects=moved.subjects or change.subjects, left_out=change.left_out)
    raise conflict
