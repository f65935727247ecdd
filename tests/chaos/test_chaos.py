"""A small storm in the ordinary suite, so that the program behind `make chaos` does not rot."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import chaos

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400), pytest.mark.xdist_group("chaos")]


async def test_ten_kills_over_four_conversations_harm_nobody(tmp_path: Path, need: Any) -> None:
    need(shutil.which("bwrap"), "bubblewrap (deploy/engine.sh)")
    assert await chaos(seed=3, kills=10, conversations=4, pair="sqlite-local", folder=tmp_path)
