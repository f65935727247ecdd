"""A short soak in the ordinary suite, so that the program behind `make soak` does not rot."""

from pathlib import Path

import pytest

from tests.soak.__main__ import soak

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300), pytest.mark.xdist_group("soak")]


async def test_two_thousand_deliveries_and_twenty_runs_leave_nothing_behind(tmp_path: Path) -> None:
    assert await soak(deliveries=2_000, runs=20, samples=5, seed=3, folder=tmp_path)
