"""Adding values to a section of onhand.toml, without a change to anything else that stands in it."""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bot.core.errors import ConfigError
from bot.core.secret import Secret


def refuse_what_is_set(file: Path, section: str, names: Iterable[str]) -> None:
    """Raise ConfigError if one of the values is in the file already: none is ever overwritten. Or if it cannot be written."""
    if not os.access(file.resolve().parent, os.W_OK):
        raise ConfigError(f"{file}: expected a folder that can be written to; name another --file")
    there = _parsed(file, _text(file)).get(section, {})
    if found := sorted(set(names) & set(there)):
        raise ConfigError(
            f"{file}: [{section}] has {', '.join(found)} already; remove that first, or name another --file"
        )


def add(file: Path, section: str, values: Mapping[str, str | Secret]) -> None:
    """Write the values into the section, at its beginning; from then on only the owner may read the file (mode 0600).

    Raises ConfigError where one of them is set, or the file is laid out so that they cannot be added.
    """
    refuse_what_is_set(file, section, values)
    old = _text(file)
    plain = {name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in plain.items())
    header = re.search(rf"^\[{re.escape(section)}\][^\n]*(?:\n|\Z)", old, re.MULTILINE)
    if header:
        new = f"{old[: header.end()].rstrip()}\n{lines}{old[header.end() :]}"
    else:
        new = f"{old.rstrip()}\n\n[{section}]\n{lines}".lstrip()
    wanted = _parsed(file, old)
    wanted[section] = {**wanted.get(section, {}), **plain}
    if _parsed(file, new) != wanted:
        raise ConfigError(
            f"{file}: expected a section that begins with the line [{section}]; write it so, then try again"
        )
    _replace(file, new)


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is no TOML: {error}") from None


def _replace(file: Path, text: str) -> None:
    """Put the whole new file in the old one's place at once."""
    target = file.resolve()
    new = target.with_name(f".{target.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    os.replace(new, target)
