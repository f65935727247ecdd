"""Finds integrations, sandboxes, auth strategies, checkouts and tools: ours and strangers' come by the same entry points."""

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bot.core.errors import ConfigError


def names(group: str) -> list[str]:
    """Return the names registered in `onhand.<group>`."""
    return sorted({point.name for point in _registered(group)})


def load(group: str, name: str) -> Any:
    """Return what stands behind a name of `onhand.<group>`, or behind a dotted `module:attribute`.

    Raises ConfigError when there is no such name or it cannot be imported.
    """
    found = [point for point in _registered(group) if point.name == name]
    if not found and ":" not in name:
        known = ", ".join(names(group)) or "none; install the package again (make install)"
        raise ConfigError(
            f"there is no {group.rstrip('s')} named {name!r}; known are: {known}; or give module:attribute"
        )
    try:
        return found[0].load() if found else _dotted(name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name!r} of onhand.{group} cannot be loaded: {error}") from error


@cache
def _registered(group: str) -> tuple[EntryPoint, ...]:
    """Return a group's entry points. Looking through all packages takes tens of milliseconds, and a start asks nine times."""
    return tuple(entry_points(group=f"onhand.{group}"))


def _dotted(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
