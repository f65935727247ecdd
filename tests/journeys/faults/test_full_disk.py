"""The disk under all that a service keeps is full: nothing that was taken is lost, and every request ends once, in clear words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.store import upgrade
from tests.journeys.faults.conftest import Begin, place_at
from tests.journeys.faults.test_databases import fill, full_while_it_works, small_disk
from tests.journeys.faults.test_redis import SLOW

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


@asynccontextmanager
async def with_home_on(begin: Begin, disk: Path, folder: Path, **more: str) -> AsyncIterator[Any]:
    """A place in front of a service whose home, the folder of its Redis too, is on the disk."""
    async with (
        begin(sandbox="local", script=SLOW, ONHAND_HOME=str(disk / "home"), **more) as service,
        place_at(service, folder) as place,
    ):
        yield place


async def test_a_full_disk_under_everything_loses_nothing(begin: Begin, tmp_path: Path, need: Any) -> None:
    with small_disk(tmp_path / "disk", 48, need) as disk:
        (disk / "redis").mkdir()
        (tmp_path / "redis").symlink_to(disk / "redis")
        async with with_home_on(begin, disk, tmp_path) as place:
            await full_while_it_works(place, disk)


async def test_a_full_disk_under_boxes_and_mirrors_is_said_where_it_was_asked(
    begin: Begin, tmp_path: Path, need: Any
) -> None:
    database = f"sqlite:///{tmp_path}/onhand.sqlite"
    await upgrade(database)
    with small_disk(tmp_path / "disk", 48, need) as disk:
        async with with_home_on(begin, disk, tmp_path, ONHAND_DATABASE_URL=database) as place:
            fill(disk / "ballast")
            await place.issue()
            await place.ended(1)
            assert "My disk is full" in place.said(1)[0]
            assert place.pulls() == []
            (disk / "ballast").unlink()
            await place.github.comment(place.name, 1, "alice", "@onhand retry")
            await place.ended(1)
            assert "Done" in place.said(1)[1]
            assert len(place.pulls()) == 1
