"""Pull requests of ours on GitHub: opened once, found again by their mark, and why one cannot be opened."""

from msgspec import structs

from bot.core.errors import ProviderError, Refused
from bot.core.marks import mark, noted, renewed
from bot.core.outbound import OpenChange, Receipt
from bot.core.patience import patiently
from bot.core.platform import number_in
from bot.core.secret import Secret
from integrations.github import code
from integrations.github.answers import Pull
from integrations.github.api import Api
from integrations.github.code import path_of

LONGEST = 65_536
"""Characters that GitHub takes as the body of a comment, an issue or a pull request."""


async def propose(api: Api, token: Secret, call: OpenChange, receipt: Receipt | None) -> Receipt:
    """Open one; where there is one for the branch, that is taken, and renewed where it reads as we wrote it.

    Raises ProviderError, Refused.
    """
    path = f"{path_of(call.repository.name)}/pulls"
    text = {"title": call.title, "body": noted(call.title, call.body, call.topic, LONGEST)}
    known = (await api.get(token, f"{path}/{number_in(receipt.id)}")).read(Pull) if receipt else None
    if known is not None and known.state == "open":
        return await _renew(api, token, path, known, text)
    if known is not None and call.commit and known.head.sha == call.commit:  # merged or closed with the work in it
        return _receipt(known)
    try:
        return await _open(api, token, path, {**text, "head": call.head, "base": call.base}, call.draft)
    except ProviderError as error:
        if error.word not in ("invalid", "conflict"):  # GitHub documents no 409 here: it tells of no push
            raise
        if (there := next(iter(await _of_the_branch(api, token, call, "open")), None)) is None:
            if (base := await _base_now(api, token, call)) != call.base:
                return await propose(api, token, structs.replace(call, base=base), receipt)
            raise await _why_not(api, token, call, ProviderError("invalid", error.detail)) from None
    return await _renew(api, token, path, there, text)


async def find(api: Api, token: Secret, call: OpenChange) -> Receipt | None:
    """Return the one that was opened for a call, whatever became of it. Raises ProviderError."""
    there = await _of_the_branch(api, token, call, "all")
    return next((_receipt(pull) for pull in there if mark(call.topic) in (pull.body or "")), None)


async def _of_the_branch(api: Api, token: Secret, call: OpenChange, state: str) -> list[Pull]:
    owner = call.repository.name.partition("/")[0]
    query = {"head": f"{owner}:{call.head}", "base": call.base, "state": state, "per_page": 30}
    return (await api.get(token, f"{path_of(call.repository.name)}/pulls", query)).read(list[Pull])


async def _open(api: Api, token: Secret, path: str, wanted: dict[str, str], draft: bool) -> Receipt:
    try:
        made = await api.request(token, "POST", path, body={**wanted, "draft": draft})
    except ProviderError as error:
        if not (draft and error.word == "invalid" and "draft" in error.detail.lower()):
            raise
        return await _open(api, token, path, wanted, False)  # private repositories of free plans have no drafts
    return _receipt(made.read(Pull))


async def _renew(api: Api, token: Secret, path: str, there: Pull, text: dict[str, str]) -> Receipt:
    title, body = renewed(text["title"], text["body"], there.title, there.body or "")
    if news := {name: words for name, words in (("title", title), ("body", body)) if words is not None}:
        await api.request(token, "PATCH", f"{path}/{there.number}", body=news)
    return _receipt(there)


async def _base_now(api: Api, token: Secret, call: OpenChange) -> str:
    """Return how the branch is called today to which a change was meant to go: GitHub leads from an old name to the new."""
    found = await code.branch(api, token, path_of(call.repository.name), call.base)
    if found is None:
        raise Refused("branch", f"There is no branch `{call.base}` any more to propose the work for.")
    return found.name


async def _why_not(api: Api, token: Secret, call: OpenChange, error: ProviderError) -> ProviderError:
    """Return what it means that none was opened and none is to be seen.

    Not all of GitHub knows at once of what was pushed or opened a moment ago: that is `unavailable`. Raises Refused where there is
    nothing to be proposed.
    """
    later = ProviderError("unavailable", error.detail)
    told = error.detail.lower()
    if "no commits between" in told:
        raise Refused("branch", f"The branch `{call.base}` has all that is on `{call.head}` already.")
    if "already exists" in told:
        return later
    if not ('"field":"head"' in told and '"code":"invalid"' in told):
        return error

    async def look() -> None:
        if not await code.branch(api, token, path_of(call.repository.name), call.head):
            raise later

    try:
        await patiently(look)
    except ProviderError as other:
        return error if other is later else other  # there is no such branch
    return later


def _receipt(pull: Pull) -> Receipt:
    return Receipt(str(pull.number), pull.html_url)
