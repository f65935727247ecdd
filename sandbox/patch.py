"""Commits as a text that can be copied out of a comment: git-am(1) makes the very same tree of it, which has been tried.

Comments change line ends, drop characters that nobody sees, and hold no bytes that are not UTF-8. So git writes the files
whose differences have any of these as it writes binary ones, in letters and digits.
"""

import asyncio
import re
from pathlib import Path

from bot.core.errors import Refused
from bot.core.markdown import line
from bot.core.outbound import Patch
from bot.core.untrusted import clean
from bot.core.wording import LONGEST_PATCH
from sandbox.git import GitError, git
from sandbox.mirror import drafting

_PLAIN = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=none", "--no-renames")
_SIGNED = "--signature=onhand"
"""Ends each mail with words: blank lines end a binary file's difference, and at the end of a text they get lost."""

_LARGEST = 16 * 1024 * 1024
"""Bytes of a file of which a difference is made: git holds both versions whole for it."""

_VERSIONS = re.compile(rb"^:[0-7]{6} [0-7]{6} ([0-9a-f]{40}) ([0-9a-f]{40}) ", re.MULTILINE)
_PATTERN_SIGNS = re.compile(rb"\\\\|[*?[]")


async def patch_of(mirror: Path, base: str, commit: str) -> Patch:
    """Return the commits base..commit as text. One that is too long to be shown whole is not tried. Raises GitError, Refused.

    Merges are not in mails, and what stands in a message may be taken for a difference: then all goes into one commit.
    """
    if (largest := await _largest(mirror, base, commit)) > _LARGEST:
        text = f"The work changes a file of {largest >> 20} MB; I write patches of files up to {_LARGEST >> 20} MB."
        raise Refused("large", text)
    readable = ""
    async with drafting(mirror) as drafts:
        for make in (_itself, _as_one):
            try:
                tip = await make(mirror, base, commit)
            except GitError:  # an author whom git does not take
                break
            readable = await _mails(mirror, base, tip, "--text")
            attributes = drafts / "attributes"
            await asyncio.to_thread(attributes.write_bytes, await _encoded(mirror, base, tip))
            exact = await _mails(mirror, base, tip, config={"core.attributesFile": str(attributes)})
            if len(exact) > LONGEST_PATCH or await _makes(mirror, drafts / tip, exact, base, commit):
                return Patch(readable, exact)
    return Patch(readable)


async def _largest(mirror: Path, base: str, commit: str) -> int:
    """Return the size of the largest version of a file, before or after, that the commits change."""
    asked = ("log", "-m", "--raw", "--no-abbrev", "--format=", *_PLAIN, f"{base}..{commit}", "--")
    ids = {one for pair in _VERSIONS.findall(await git(mirror, *asked)) for one in pair}
    sizes = await git(mirror, "cat-file", "--batch-check=%(objectsize)", stdin=b"".join(one + b"\n" for one in ids))
    return max((int(size) for size in sizes.split() if size.isdigit() and len(size) < 20), default=0)


async def _mails(mirror: Path, base: str, tip: str, *options: str, config: dict[str, str] | None = None) -> str:
    arguments = ("format-patch", "--stdout", _SIGNED, *_PLAIN, *options, f"{base}..{tip}", "--")
    return clean((await git(mirror, *arguments, config=config)).decode(errors="replace"))


async def _encoded(mirror: Path, base: str, tip: str) -> bytes:
    """Return gitattributes(5) by which git writes those files as binary whose differences are not plain text.

    A sign that patterns have a meaning for stands for any sign: one file more that is written so does no harm.
    """
    named = ("--src-prefix=/", "--dst-prefix=/")
    printed = await git(mirror, "log", "--format=", "--patch", "--text", *named, *_PLAIN, f"{base}..{tip}", "--")
    rows = set[bytes]()
    for difference in re.split(rb"^diff --git ", printed, flags=re.MULTILINE)[1:]:
        twice = difference.partition(b"\n")[0]
        if not _is_plain(difference):
            path = twice[: len(twice) // 2].removeprefix(b'"').removesuffix(b'"')  # without a quote where it has none
            rows.add(b'"%s" -diff\n' % _PATTERN_SIGNS.sub(b"?", path))
    return b"".join(sorted(rows))


def _is_plain(difference: bytes) -> bool:
    """Whether these lines come out of a comment as they went in."""
    try:
        return difference.decode().replace("\n", "").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        return False


async def _itself(mirror: Path, base: str, commit: str) -> str:
    return commit


async def _as_one(mirror: Path, base: str, commit: str) -> str:
    """Return one commit with the same tree on the base, by the same author, with the first line of its message."""
    asked = "--format=%an%x00%ae%x00%s%x00%(trailers:key=Co-authored-by)"
    said = (await git(mirror, "log", "-1", asked, commit, "--")).decode(errors="replace")
    name, mail, subject, trailers = said.split("\0")
    people = {
        f"GIT_{role}_{part}": v for role in ("AUTHOR", "COMMITTER") for part, v in (("NAME", name), ("EMAIL", mail))
    }
    message = f"{line(subject) or 'Work'}\n\n{clean(trailers)}".strip().encode()
    made = await git(mirror, "commit-tree", f"{commit}^{{tree}}", "-p", base, environment=people, stdin=message)
    return made.decode().strip()


async def _makes(mirror: Path, mails: Path, text: str, base: str, commit: str) -> bool:
    """Whether the text makes the commit's tree of the base's: what git-am(1) does, in an index, without a working tree."""
    own = {"GIT_INDEX_FILE": str(mails.with_suffix(".index"))}
    difference = str(mails.with_suffix(".diff"))
    await asyncio.to_thread(mails.mkdir)
    try:
        await git(mirror, "read-tree", base, environment=own)
        count = int(await git(mirror, "mailsplit", "-b", f"-o{mails}", stdin=text.encode()))
        for number in range(1, count + 1):
            read = await asyncio.to_thread((mails / f"{number:04}").read_bytes)
            await git(mirror, "mailinfo", str(mails.with_suffix(".message")), difference, stdin=read)
            await git(mirror, "apply", "--cached", difference, environment=own)
        made = await git(mirror, "write-tree", environment=own)
    except GitError:
        return False
    return made == await git(mirror, "rev-parse", "--verify", f"{commit}^{{tree}}")
