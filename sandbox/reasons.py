"""What to tell the person where git cannot have or take something, read out of what git says."""

import re
from pathlib import Path

from bot.core.errors import ProviderError, Refused
from bot.core.ports import Source
from bot.core.secret import Secret
from sandbox.git import GitError, git
from sandbox.names import branch_ref


async def why_missing(mirror: Path, source: Source, start: str, token: Secret) -> Refused | ProviderError:
    """Return what it means that git was told of no ref `start`, or of no base: is it not there, or has it only not been told?

    A proxy's page in the place of an answer tells git of nothing at all. What the forge's API knows is there.
    """
    try:
        found = await _refs(mirror, source, token)
    except GitError as failed:
        return failed.for_provider()
    name, base = source.repository.name, branch_ref(source.base)
    if {base, start} <= found or (base not in found and source.commit) or (not found and source.head):
        return ProviderError("unavailable", f"{source.url} did not answer as git does: it told nothing of {start}")
    if not found:
        return Refused("empty", f"The repository {name} is empty; push a first commit and ask again.")
    missing = source.base if base not in found else source.head
    return Refused("branch", f"The repository {name} has no branch {missing}; name one with branch= and ask again.")


async def _refs(mirror: Path, source: Source, token: Secret) -> set[str]:
    """Return the branches that the repository shows, and `head_ref` if it does. Raises GitError."""
    key = (source.url, source.username, token)
    kind = () if source.head_ref else ("--heads",)
    wanted = ("refs/heads/*", source.head_ref) if source.head_ref else ()
    told = await git(mirror, "ls-remote", *kind, "--", source.url, *wanted, key=key, seconds=60.0)
    return {ref for row in told.decode(errors="replace").splitlines() if (ref := row.partition("\t")[2])}


def unsafe(failed: GitError, source: Source) -> Refused:
    """Return what to tell the person whose repository holds what git takes for an attack (git-fsck(1))."""
    name = source.repository.name
    return Refused("unsafe", f"git takes the repository {name} for unsafe: {_faults(failed)}. I work on none such.")


def unsafe_work(failed: GitError) -> Refused:
    """Return what to tell the person about work out of a box that holds such; the repository is as it was."""
    return Refused("unsafe", f"git takes the work itself for unsafe: {_faults(failed)}. I took nothing of it.")


def _faults(failed: GitError) -> str:
    return ", ".join(dict.fromkeys(re.findall(r": (\w+: [^\n]{1,100})", failed.said))) or "see git fsck"


_NO_FILE = re.compile(
    r"File name too long|unable to create file|cannot create directory"
)  # git cuts what it says at 4 KB


def not_laid_out(error: GitError | OSError, source: Source) -> Exception:
    """Return what to tell the person whose repository has names that no file can have here, else the error."""
    if not _NO_FILE.search(error.said if isinstance(error, GitError) else str(error)):
        return error
    return Refused("names", f"The repository {source.repository.name} has paths that cannot be written as files here.")


_STANDS_IN_THE_WAY = re.compile(r"directory file conflict|'refs/heads/([^']+)' exists; cannot create")
_RULES = re.compile(r"GH006|GH013|protected branch|repository rule", re.IGNORECASE)
_SECRETS = re.compile(r"push protection|push cannot contain secrets", re.IGNORECASE)
_REJECTED = re.compile(r"^ ! \[remote rejected\] .*? \((.+)\)$", re.MULTILINE)
_REMOTE = re.compile(r"^remote:[ \t]*(?:error:[ \t]*)?(\S.*)$", re.MULTILINE)


def why_not_pushed(failed: GitError, source: Source, branch: str) -> ProviderError | Refused:
    """Return what a refused push means. A rule of the forge is said in the forge's own words.

    https://docs.github.com/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets
    """
    told = " ".join(" ".join(_REMOTE.findall(failed.said)).split())[:300].rstrip(". ")
    if "was archived" in failed.said:
        return Refused(
            "archived", f"The repository {source.repository.name} is archived, so nothing can be pushed to it."
        )
    if _SECRETS.search(failed.said):
        return Refused("secrets", f"The forge holds a part of the work for a secret, and took nothing of it: {told}.")
    if _RULES.search(failed.said):
        return Refused("protected", f"The rules of the repository do not let me push to `{branch}`: {told}.")
    if found := _STANDS_IN_THE_WAY.search(failed.said):
        name = found[1] or branch.partition("/")[0]
        text = f"There is a branch `{name}`, beside which git allows no branch `{branch}`; please rename it."
        return Refused("protected", text)
    if "hook declined" in failed.said:
        return Refused("declined", f"A check of the repository declined the push to `{branch}`: {told}.")
    return _why_rejected(failed, branch, told)


def _why_rejected(failed: GitError, branch: str, told: str) -> ProviderError | Refused:
    """Return what a push means that was refused for a reason beside it, such as a right that the token lacks for a file."""
    error = failed.for_provider()
    if error.word == "forbidden" and (found := _REJECTED.search(failed.said)):
        more = f" {told}." if told else ""
        return Refused("protected", f"The forge did not take the push to `{branch}`: {found[1]}.{more}")
    return error
