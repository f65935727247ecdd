"""Writes the pages of docs/ that are made from the code: `python -m docs.pages` (make docs). A house test compares them."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click

from bot import config, registry
from bot.cli import cli
from bot.config import Settings

HERE = Path(__file__).parent
NOTE = "This page is made from the code: `make docs`.\n"


def pages() -> dict[str, str]:
    """Return the text of each page by its file's name."""
    found = {"settings.md": _settings(), "commands.md": _commands()}
    return found | {f"{name}.md": _triggers(name) for name in _platforms()}


def _platforms() -> list[str]:
    """Return the platforms of this repository; other packages' may be installed beside them."""
    names = registry.names("integrations")
    return [name for name in names if registry.load("integrations", name).__module__.startswith("integrations.")]


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        NOTE,
        "Environment over `onhand.toml` over defaults. `onhand config` shows what is in force.",
        "",
    ]
    lines += ["## The service", "", "| variable | meaning | default |", "| --- | --- | --- |"]
    defaults = Settings(home=Path("the user's data folder/onhand"))
    lines += [
        f"| `{name}` | {meaning} | {f'`{value}`' if value else ''} |"
        for name, value, _, meaning in config.rows(defaults, {})
    ]
    for name in _platforms():
        struct = registry.load("integrations", name).Settings
        lines += ["", f"## {name}", "", "| variable | meaning |", "| --- | --- |"]
        lines += [
            f"| `ONHAND_{name}__{field}`".upper() + f" | {text} |" for field, text in config.describe(struct).items()
        ]
    return "\n".join(lines) + "\n"


def _commands() -> str:
    return "\n".join(["# Commands", "", NOTE, *_help(cli, "onhand")])


def _help(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _help(child, f"{path} {name}")
        return
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    yield f"## {path} {usage}".rstrip() + "\n"
    yield " ".join((command.help or "").split()) + "\n"
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    for option in options:
        yield f"- `{'`, `'.join(option.opts)}`: {option.help or option.name}"
    if options:
        yield ""


def _triggers(name: str) -> str:
    module = import_module(f"integrations.{name}.webhook")
    lines = [f"# {name}: what starts a run", "", NOTE, "| event | when |", "| --- | --- |"]
    lines += [f"| `{'.'.join(filter(None, row))}` | {_first_line(reader)} |" for row, reader in module.TRIGGERS.items()]
    return "\n".join([*lines, "", "Everything else is counted and answered with `ignored`.", ""])


def _first_line(reader: object) -> str:
    return (getattr(reader, "__doc__", None) or "").strip().partition("\n")[0]


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text)
        click.echo(f"docs/{file}")
