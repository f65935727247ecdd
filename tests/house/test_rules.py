"""The house's rules that drift: where things live, who imports what, how long things grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bot", "integrations", "sandbox", "workers")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
IDS = [str(file.relative_to(ROOT)) for file in FILES]

LONGEST_FILE = 480
LONGEST_FUNCTION = 60
ORDINARY_FUNCTION = 31


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_module_says_what_lives_in_it_and_fits_a_sitting(file: Path) -> None:
    text = file.read_text()
    assert not text.strip() or ast.get_docstring(tree(file)), "the module has no docstring"
    assert text.count("\n") <= LONGEST_FILE, "split the file by meaning"
    long = [(name, lines) for name, lines in functions(file) if lines > LONGEST_FUNCTION]
    assert not long, "split these by meaning"


def test_nine_functions_in_ten_are_short() -> None:
    lengths = [lines for file in FILES for _, lines in functions(file)]
    assert sum(lines < ORDINARY_FUNCTION for lines in lengths) >= 0.9 * len(lengths)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_no_file_has_a_name_that_says_nothing(file: Path) -> None:
    assert file.stem not in {"utils", "common", "helpers", "manager", "base", "misc"}


def test_the_import_floors_hold() -> None:
    found = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("litellm", {"bot/agent/model.py"}),
        ("github", {"integrations/github/api.py"}),
        ("gitlab", {"integrations/gitlab/api.py"}),
        ("docker", {"sandbox/docker.py"}),
        ("arq", {"bot/bus.py", "workers/"}),
        ("sqlalchemy", {"bot/store/"}),
        ("alembic", {"bot/store/"}),
    ],
)
def test_a_library_is_known_in_few_places(library: str, allowed: set[str]) -> None:
    users = {
        str(file.relative_to(ROOT))
        for file in FILES
        if any(m == library or m.startswith(library + ".") for m in imported(file))
    }
    assert all(any(user.startswith(place) for place in allowed) for user in users), users - allowed


def test_only_verify_makes_a_verified() -> None:
    makers = [str(f.relative_to(ROOT)) for f in FILES if re.search(r"(?<!class )\bVerified\(", f.read_text())]
    assert all(
        re.fullmatch(r"integrations/\w+/webhook\.py", maker) or maker.startswith("bot/testing/") for maker in makers
    ), makers


@pytest.mark.parametrize("group", ["integrations", "sandboxes", "auth", "tools", "checkouts"])
def test_the_installed_entry_points_are_those_of_the_project(group: str) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text.partition(f'[project.entry-points."onhand.{group}"]')[2].partition("\n[")[0]
    wanted = dict(re.findall(r'^(\w+) = "([^"]+)"', section, re.MULTILINE))
    found = {point.name: point.value for point in entry_points(group=f"onhand.{group}")}
    assert wanted.items() <= found.items(), (
        "an entry point is not installed yet; run: rm .venv/installed && make install"
    )
    for point in entry_points(group=f"onhand.{group}"):
        assert point.load(), point


def test_every_provider_folder_is_registered() -> None:
    folders = {file.parent.name for file in (ROOT / "integrations").glob("*/webhook.py")}
    assert folders <= {point.name for point in entry_points(group="onhand.integrations")}


@pytest.mark.parametrize(
    "module", ["bot.web.app", "bot.cli", "bot.flows.intake", "bot.bootstrap", "integrations.github.client"]
)
def test_the_model_library_is_not_loaded_by(module: str) -> None:
    program = f"import {module}, sys; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_nobody_waits_in_a_way_that_loses_cancellations(file: Path) -> None:
    assert "asyncio.wait_for(" not in file.read_text(), "use asyncio.timeout: wait_for of Python 3.11 can swallow one"


def test_tests_are_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_tracked_file_names_a_registry_or_a_key() -> None:
    dot = r"\."
    pattern = re.compile(
        rf"(pypi|debian|pythonhosted){dot}org|npmjs{dot}(org|com)|-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]"
    )
    found = []
    for file in tracked():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        found += [str(file.relative_to(ROOT))] if pattern.search(text) else []
    assert not found


@pytest.mark.parametrize(
    "folder",
    [
        "bot",
        "integrations",
        "sandbox",
        "workers",
        "deploy",
        "integrations/github",
        "integrations/gitlab",
        "bot/agent",
        "bot/store",
    ],
)
def test_a_folder_has_a_short_readme(folder: str) -> None:
    lines = (ROOT / folder / "README.md").read_text().splitlines()
    assert 3 <= len(lines) <= 60
