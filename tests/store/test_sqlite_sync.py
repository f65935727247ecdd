"""Where the write-ahead log is synced: on the event loop for who is alone with a quick disk, on a thread for all others."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from bot.core.errors import Unavailable
from bot.store import sqlite_sync
from bot.store.sqlite_sync import LogSync

LOOP = "MainThread"


class Disk:
    """Syncs, and notes on which threads."""

    def __init__(self) -> None:
        self.synced_on: list[str] = []

    def note(self, _frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and called in (os.fsync, getattr(os, "fdatasync", None)):
            self.synced_on.append(threading.current_thread().name)

    @contextmanager
    def watched(self) -> Iterator[None]:
        sys.setprofile(self.note)
        try:
            yield
        finally:
            sys.setprofile(None)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def log(disk: Disk, tmp_path: Path) -> AsyncIterator[LogSync]:
    (tmp_path / "log").write_bytes(b"x")
    log = LogSync(tmp_path / "log")
    with (tmp_path / "log").open("rb"):  # as by SQLite
        threading.setprofile(disk.note)
        try:
            log.start()
        finally:
            threading.setprofile(None)
        yield log
        await asyncio.to_thread(log.stop)


async def one(log: LogSync, disk: Disk) -> None:
    with disk.watched():
        await log.all_until_now()


async def test_the_first_sync_is_not_made_on_the_loop_because_the_disk_is_not_known(log: LogSync, disk: Disk) -> None:
    await one(log, disk)
    assert disk.synced_on == ["onhand-sync"]


async def test_who_waits_alone_for_a_quick_disk_has_the_loop_do_it(log: LogSync, disk: Disk) -> None:
    await log.all_until_now()
    log._seconds = sqlite_sync._QUICK / 2
    await one(log, disk)
    assert disk.synced_on == ["onhand-sync", LOOP]


async def test_a_slow_disk_leaves_the_loop_to_others(log: LogSync, disk: Disk) -> None:
    await log.all_until_now()
    log._seconds = sqlite_sync._QUICK * 2
    await one(log, disk)
    assert disk.synced_on == ["onhand-sync", "onhand-sync"]


async def test_those_who_commit_in_one_turn_of_the_loop_share_syncs_on_the_thread(log: LogSync, disk: Disk) -> None:
    await log.all_until_now()
    log._seconds = sqlite_sync._QUICK / 2
    with disk.watched():
        await asyncio.gather(*(log.all_until_now() for _ in range(20)))
    assert set(disk.synced_on) == {"onhand-sync"}
    assert len(disk.synced_on) < 20


async def test_a_sync_that_fails_on_the_loop_is_said_and_the_next_is_made_elsewhere(
    log: LogSync, disk: Disk, tmp_path: Path
) -> None:
    await log.all_until_now()
    log._seconds = sqlite_sync._QUICK / 2
    os.close(log._log)
    with pytest.raises(Unavailable, match="may be stored all the same"):
        await one(log, disk)
    log._log = os.open(tmp_path / "log", os.O_RDONLY)
    await one(log, disk)
    assert disk.synced_on == ["onhand-sync", LOOP, "onhand-sync"]


async def test_who_was_cancelled_leaves_nothing_behind_that_is_not_synced(log: LogSync, disk: Disk) -> None:
    await log.all_until_now()
    log._seconds = sqlite_sync._QUICK / 2
    gone = asyncio.create_task(log.all_until_now())
    await asyncio.sleep(0)
    gone.cancel()
    await one(log, disk)
    assert disk.synced_on[-1] == "onhand-sync"


@pytest.mark.parametrize("anothers", [True, False])
async def test_a_log_that_was_deleted_before_it_is_opened_here_is_not_taken_for_the_one_in_use(
    tmp_path: Path, anothers: bool
) -> None:
    path = tmp_path / "log"
    with path.open("xb"):
        path.unlink()
        if anothers:
            path.touch()
        with pytest.raises(Unavailable, match="deleted"):
            LogSync(path).start()
