"""What every platform's folder keeps to: the types of the port, its name, and words for whoever runs onhand."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bot import config, registry

ROOT = Path(__file__).parents[2]
PLATFORMS = sorted(folder.parent.name for folder in (ROOT / "integrations").glob("*/webhook.py"))


def factory(name: str) -> Any:
    return registry.load("integrations", name)


@pytest.mark.timeout(300)
def test_every_platform_has_the_types_of_the_port(tmp_path: Path) -> None:
    """Entry points hide the classes from `make types`, so mypy is shown here that each is what it says."""
    lines = ["from bot.core.ports import Forge, Integration, Us"]
    for name in PLATFORMS:
        built = factory(name)
        port = "Forge" if hasattr(built, "source") else "Integration"
        lines += [
            f"import {built.__module__}",
            f"def {name}(settings: {built.__module__}.{built.__name__}.Settings, us: Us)",
        ]
        lines[-1] += f" -> {port}: return {built.__module__}.{built.__name__}(settings, us)"
    program = tmp_path / "platforms.py"
    program.write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", str(program)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_is_called_alike_everywhere(name: str) -> None:
    assert factory(name).name == name, "the folder, the entry point and the class's `name` are one word"


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_setting_has_a_default_and_says_what_it_means(name: str) -> None:
    settings = factory(name).Settings
    assert settings() is not None
    unsaid = set(settings.__struct_fields__) - config.describe(settings).keys()
    assert not unsaid, f"a docstring below the field becomes its row in docs/settings.md: {unsaid}"


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_row_of_the_triggers_says_when_it_asks_for_work(name: str) -> None:
    rows = import_module(f"integrations.{name}.webhook").TRIGGERS
    unsaid = [row for row, reader in rows.items() if not reader.__doc__]
    assert not unsaid, f"the first line of the reader's docstring becomes the row in docs/{name}.md: {unsaid}"


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_has_a_short_readme_for_whoever_runs_onhand(name: str) -> None:
    readme = ROOT / "integrations" / name / "README.md"
    assert readme.is_file(), f"{readme} is missing: account or app, scopes, events, secret"
    assert 3 <= len(readme.read_text().splitlines()) <= 60
