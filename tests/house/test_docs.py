"""Docs under test: what they say is what the code does."""

import re
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest
from click import Group

from bot.cli import cli
from docs.pages import pages

ROOT = Path(__file__).parents[2]
PROSE = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("*/README.md")),
]


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    page = ROOT / "docs" / name
    assert page.is_file(), "run: make docs"
    assert page.read_text() == pages()[name], "run: make docs"


@pytest.mark.parametrize("file", PROSE, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_that_prose_names_exists(file: Path) -> None:
    for line in re.findall(r"`onhand ([a-z]+(?: [a-z]+)?)", file.read_text()):
        name, _, sub = line.partition(" ")
        command = cli.commands.get(name)
        assert command is not None, f"onhand {line}"
        if isinstance(command, Group) and sub:
            assert sub in command.commands, f"onhand {line}"


@pytest.mark.parametrize("file", PROSE, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_that_prose_links_to_exists(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
        assert (file.parent / target).exists(), target


@pytest.mark.parametrize("file", PROSE, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_test_that_prose_names_exists(file: Path) -> None:
    named = set(re.findall(r"`(test_\w+|a_\w+_is_survived)`", file.read_text()))
    assert named <= _functions_of_tests(), named - _functions_of_tests()


@pytest.mark.parametrize("file", PROSE, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_path_and_module_that_prose_names_exists(file: Path) -> None:
    named = re.findall(
        r"`((?:bot|deploy|docs|integrations|sandbox|tests|workers)/[\w./-]+|bot(?:\.\w+)+)`", file.read_text()
    )
    missing = [name for name in named if "NAME" not in name and not _is_there(name)]
    assert not missing


def _is_there(name: str) -> bool:
    """Whether a path of the repository exists, or a module (or what is in one) can be imported."""
    if "/" in name:
        return (ROOT / name).exists()
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@cache
def _functions_of_tests() -> set[str]:
    files = [*(ROOT / "tests").rglob("test_*.py"), ROOT / "bot/testing/sandboxes.py"]
    return {name for path in files for name in re.findall(r"^(?:async )?def (\w+)", path.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("file", PROSE, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_make_verb_that_prose_names_exists(file: Path) -> None:
    verbs = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in re.findall(r"^    make ([a-z ]+)|`make ([a-z ]+)`", file.read_text(), re.MULTILINE):
        assert set("".join(line).split()) <= verbs, line
