"""A working copy into a box: laid over what lies on the shelf where the box can see it, else carried in as a pack."""

import asyncio
from dataclasses import dataclass

from bot.core.errors import Refused, SandboxError
from bot.core.ports import CommandResult, Sandbox
from sandbox import scripts
from sandbox.shelf import Shelf

_SECONDS = 600.0
_MOST_IN = 512 * 1024 * 1024


@dataclass(frozen=True)
class Working:
    """What is a box's own about its working copy. The names and mails come as `Name <mail>`."""

    branch: str
    commit: str
    base: str
    onto: str
    """The base's commit; "" where it is not known."""
    author: str
    co_author: str

    @property
    def trailer(self) -> str:
        """The co-author as a commit names one, or nothing."""
        name, mail = scripts.person(self.co_author)
        return f"{name} <{mail}>" if self.co_author and mail else name if self.co_author else ""


async def lay_over(sandbox: Sandbox, shelf: Shelf, working: Working) -> bool:
    """Lay the box over the shelf's tree. False where it cannot be. Raises SandboxError."""
    rest = shelf.rest
    if not await sandbox.lay_over(shelf.tree, _own(working, rest)):
        return False
    if rest:
        done = await in_box(sandbox, scripts.WRITE_REST)
        if done.exit_code != 0:
            raise SandboxError(f"git could not write all files in the box: {done.output[-1000:]}")
    return True


async def carry_in(sandbox: Sandbox, shelf: Shelf, working: Working, *, anew: bool = False) -> None:
    """Write the shelf's pack into the box, and let the git there lay out the files. Raises Refused, SandboxError.

    `anew`: under the files that are there, whatever repository was.
    """
    if anew:
        await in_box(sandbox, scripts.REMOVE_GIT)
    elif (await in_box(sandbox, scripts.HAS_WORK, working.branch)).exit_code == 0:
        return
    size = shelf.pack.stat().st_size >> 20
    if size > _MOST_IN >> 20:
        raise Refused("large", f"The repository's history is {size} MB; I can work on up to {_MOST_IN >> 20} MB.")
    for kind, place in (("pack", shelf.pack), ("idx", shelf.index)):
        data = await asyncio.to_thread(place.read_bytes)
        await sandbox.write(f"/workspace/.git/objects/pack/pack-{working.commit}.{kind}", data)
    told = (working.branch, working.commit, *scripts.person(working.author), working.trailer)
    done = await in_box(sandbox, scripts.LAY_OUT, *told, working.base, working.onto, "mixed" if anew else "hard")
    if done.exit_code != 0:
        raise SandboxError(f"git could not lay out the working copy in the box: {done.output[-1000:]}")


async def in_box(sandbox: Sandbox, script: str, *arguments: str, stdin: str = "") -> CommandResult:
    """Run a script of ours in the box's workspace, in a shell of its own: the session stays as it is."""
    return await sandbox.run(scripts.command(script, *arguments), timeout=_SECONDS, stdin=stdin)


def _own(working: Working, rest: bytes) -> dict[str, bytes]:
    """Return the files that make a repository of the shelf's tree: on which branch, in whose name."""
    refs = f"{working.commit} refs/heads/{working.branch}\n"
    refs += f"{working.onto} refs/remotes/origin/{working.base}\n" if working.onto else ""
    name, mail = scripts.person(working.author)
    settings = {"user": {"name": name, "email": mail}}
    files = {".git/HEAD": f"ref: refs/heads/{working.branch}\n", ".git/packed-refs": refs}
    if working.trailer:
        settings["onhand"] = {"coAuthor": working.trailer}
        files[".git/hooks/commit-msg"] = scripts.HOOK
    files[".git/config"] = _CORE + "".join(_section(title, values) for title, values in settings.items())
    files[scripts.KEPT_CONFIG] = files[".git/config"]
    made = {path: text.encode() for path, text in files.items()}
    return {**made, scripts.REST: rest} if rest else made


_CORE = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n"


def _section(title: str, values: dict[str, str]) -> str:
    """Return a section of a configuration file (git-config(1), "Syntax")."""
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in values.items()}
    return f"[{title}]\n" + "".join(f'\t{name} = "{value}"\n' for name, value in quoted.items())
