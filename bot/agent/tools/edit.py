"""The tool `edit`: view files and folders, create files, change parts of them. It needs only a box's read and write."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from bot.agent.tools.arguments import read, schema
from bot.core.errors import SandboxError, SandboxGone, UserError
from bot.core.events import Action, EditFile, FileContent, FileEdited, Observation, ReadFile
from bot.core.ports import Sandbox

_LARGEST = 4 * 1024 * 1024
_SHOWN_LINES = 2_000
_SHOWN_CHARACTERS = 60_000
_SHOWN_ENTRIES = 400
_AROUND = 4
_NAMED_PLACES = 20
_CR = "\r"
_NOT_LISTED = (".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache")

Lines = Annotated[list[int], Meta(min_length=2, max_length=2)]


class EditArguments(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model says."""

    command: Literal["view", "create", "str_replace", "insert"]
    path: Annotated[
        str, Meta(description="An absolute path, or one relative to /workspace.", min_length=1, max_length=4096)
    ]
    view_range: Annotated[
        Lines | None, Meta(description="For view: first and last line, counted from 1; -1 as last is the end.")
    ] = None
    file_text: Annotated[str | None, Meta(description="For create: the whole content.")] = None
    old_str: Annotated[
        str | None,
        Meta(description="For str_replace: the text to replace, exactly as in the file; it must be there once."),
    ] = None
    new_str: Annotated[str | None, Meta(description="For str_replace and insert: the new text.")] = None
    insert_line: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="For insert: the line after which the text goes; 0 is the beginning."),
    ] = None


_NEEDED = {
    "view": (),
    "create": ("file_text",),
    "str_replace": ("old_str", "new_str"),
    "insert": ("insert_line", "new_str"),
}


class Edit:
    """Views and edits files. What does not match is answered with what is there, so that the next try can."""

    name = "edit"
    description = (
        "View, create and edit text files. `view` shows a file with line numbers, or a folder two levels deep. "
        "`create` writes a file whole and replaces what was there. `str_replace` replaces the one place where "
        "`old_str` stands exactly so, white space included. `insert` puts `new_str` after line `insert_line`."
    )
    parameters = schema(EditArguments)

    def action(self, arguments: Mapping[str, Any]) -> Action:
        said = read(EditArguments, arguments)
        if missing := [name for name in _NEEDED[said.command] if getattr(said, name) is None]:
            raise UserError("arguments", f"`{said.command}` needs {' and '.join(missing)} as well.")
        if said.command == "view":
            return ReadFile(path=said.path, view_range=said.view_range)
        if said.command == "str_replace" and (not said.old_str or said.old_str == said.new_str):
            raise UserError("arguments", "`old_str` must be some text of the file, and `new_str` something else.")
        return EditFile(
            path=said.path,
            command=said.command,
            file_text=said.file_text,
            old_str=said.old_str,
            new_str=said.new_str,
            insert_line=said.insert_line,
        )

    async def execute(self, action: Action, sandbox: Sandbox) -> Observation:
        match action:
            case ReadFile(path=path, view_range=lines):
                return FileContent(path=path, content=await _view(sandbox, path, lines))
            case EditFile(path=path, command="create", file_text=str(text)):
                return await _create(sandbox, path, text)
            case EditFile(path=path, command="str_replace", old_str=str(old), new_str=str(new)):
                return await _change(sandbox, path, lambda before: _replaced(path, before, old, new))
            case EditFile(path=path, command="insert", insert_line=int(after), new_str=str(new)):
                return await _change(sandbox, path, lambda before: _inserted(path, before, after, new))
        raise UserError("arguments", "This edit cannot be carried out; use view, create, str_replace or insert.")


_Change = Callable[[str], tuple[str, int, int]]
"""From the text before to the text after, the first line that changed, and how many follow it."""


async def _view(sandbox: Sandbox, path: str, lines: list[int] | None) -> str:
    try:
        data = await sandbox.read(path, limit=_LARGEST)
    except SandboxGone:
        raise
    except SandboxError:
        if listing := await _folder(sandbox, path):
            return listing
        raise
    return _numbered(path, _text(path, data, "replace"), lines)


async def _folder(sandbox: Sandbox, path: str) -> str:
    """Two levels of a folder; empty when it is none."""
    pruned = " -o ".join(f"-name {name}" for name in _NOT_LISTED)
    find = rf"\find . -mindepth 1 -maxdepth 2 \( {pruned} \) -prune -o"
    where = shlex.quote(path if path.startswith("/") else f"/workspace/{path}")
    result = await sandbox.run(
        f"(\\cd -- {where} && {find} -type d -print | sed 's:$:/:' && {find} ! -type d -print)", timeout=20
    )
    if result.exit_code != 0:
        return ""
    found = sorted(line.removeprefix("./") for line in result.output.splitlines() if line.startswith("./"))
    more = f"\n[{len(found) - _SHOWN_ENTRIES} more are not shown]" if len(found) > _SHOWN_ENTRIES else ""
    return "\n".join([f"{path} holds, two levels deep:", *found[:_SHOWN_ENTRIES]]) + more


def _text(path: str, data: bytes, errors: Literal["replace", "strict"]) -> str:
    if b"\0" in data[:65_536]:
        raise UserError(
            "binary", f"{path} is a binary file ({len(data)} bytes). Look at it with a command that fits its kind."
        )
    try:
        return data.decode("utf-8", errors).replace("\0", "\N{REPLACEMENT CHARACTER}")
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 (byte {error.start}); editing it here would damage it. Use a command instead."
        raise UserError("encoding", message) from error


def _numbered(path: str, text: str, lines: list[int] | None) -> str:
    every = _lines(text)
    first, last = lines or (1, -1)
    last = len(every) if last == -1 else min(last, len(every))
    if lines and not 1 <= first <= max(last, 1):
        raise UserError("arguments", f"{path} has {len(every)} lines; view_range {lines} is not in it.")
    shown, used = [], 0
    for number, line in enumerate(every[first - 1 : min(last, first - 1 + _SHOWN_LINES)], first):
        shown.append(f"{number:6}\t{line[:_SHOWN_CHARACTERS].rstrip(_CR)}")
        used += len(shown[-1])
        if used > _SHOWN_CHARACTERS:
            break
    end = first + len(shown) - 1
    cut = f"\n[lines {first} to {end} of {len(every)}; see more with view_range]" if end < last else ""
    return ("\n".join(shown) or f"{path} is empty.") + cut


async def _create(sandbox: Sandbox, path: str, text: str) -> FileEdited:
    try:
        await sandbox.read(path, limit=_LARGEST)
        existed = True
    except SandboxGone:
        raise
    except SandboxError:
        existed = False  # or something that a file cannot replace, which `write` says
    await sandbox.write(path, text.encode())
    done = "replaced" if existed else "created"
    return FileEdited(path=path, prev_exist=existed, content=f"{path} was {done} ({len(_lines(text))} lines).")


async def _change(sandbox: Sandbox, path: str, change: _Change) -> FileEdited:
    before = _text(path, await sandbox.read(path, limit=_LARGEST), "strict")
    after, line, count = change(before)
    await sandbox.write(path, after.encode())
    around = [max(1, line - _AROUND), line + count + _AROUND]
    return FileEdited(path=path, content=f"{path} was edited. It now reads:\n{_numbered(path, after, around)}")


def _replaced(path: str, text: str, old: str, new: str) -> tuple[str, int, int]:
    old, new = _with_ends_of(text, old), _with_ends_of(text, new)
    at = text.find(old)
    if at < 0:
        raise UserError(
            "no_match", f"`old_str` is not in {path}. It must match exactly, white space included; view the file again."
        )
    if (times := text.count(old)) > 1:
        numbers = ", ".join(str(_line_of(text, place)) for place in _places(text, old, _NAMED_PLACES))
        raise UserError(
            "many_matches", f"`old_str` is {times} times in {path} (lines {numbers}); take more text around it."
        )
    return text[:at] + new + text[at + len(old) :], _line_of(text, at), new.count("\n")


def _places(text: str, piece: str, most: int) -> Iterator[int]:
    """The first places at which a piece stands, none within another."""
    at = text.find(piece)
    while at >= 0 and most > 0:
        yield at
        at, most = text.find(piece, at + len(piece)), most - 1


def _inserted(path: str, text: str, after: int, new: str) -> tuple[str, int, int]:
    lines = [f"{line}\n" for line in _lines(text)]
    if lines and not text.endswith("\n"):
        lines[-1] = lines[-1][:-1]
    if after > len(lines):
        raise UserError("arguments", f"{path} has {len(lines)} lines; insert_line {after} is beyond them.")
    end = _with_ends_of(text, "\n")
    if after and not lines[after - 1].endswith("\n"):
        lines[after - 1] += end
    new = _with_ends_of(text, new)
    if not new.endswith("\n"):
        new += end
    return "".join([*lines[:after], new, *lines[after:]]), after + 1, new.count("\n")


def _with_ends_of(text: str, piece: str) -> str:
    """The piece with the line ends of a file that has CRLF throughout."""
    if "\r\n" in text and text.count("\n") == text.count("\r\n"):
        return piece.replace("\r\n", "\n").replace("\n", "\r\n")
    return piece


def _lines(text: str) -> list[str]:
    """The lines as editors and diffs count them: ended by newlines and nothing else."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
