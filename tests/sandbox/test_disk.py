"""What fills the box's disk is ended, the next answer says why, and the box goes on."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.core.errors import SandboxError
from bot.core.ports import Sandbox, Sandboxes
from sandbox import overlay
from tests.sandbox.conftest import SMALL

FILL = "for n in $(seq 200); do head -c 10M /dev/zero > f$n; sleep 0.05; done; echo through"


def laid_out(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """Return a checkout that alone is larger than a box's disk, and what comes on top of it as a working copy is laid."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("one", "two"):
        (tree / name).write_bytes(os.urandom(SMALL.disk_mb << 19))
    return tree, {".git/onhand-config": b""}


async def fill_a_working_copy(box: Sandbox, tmp_path: Path) -> None:
    assert await box.lay_over(*laid_out(tmp_path))
    little = await box.run("for n in $(seq 10); do head -c 5M /dev/zero > s$n; sleep 0.06; done; rm s*; echo through")
    assert little.output == "through\n"  # what it did not write itself does not count
    result = await box.run(FILL)
    assert "through" not in result.output
    assert f"the box allows {SMALL.disk_mb} MB" in result.output
    assert (await box.run("rm f* && echo room > again && cat again")).output.strip() == "room"


@pytest.mark.parametrize("place", [".", "~", "/tmp", "/dev/shm", "/run/onhand"])
async def test_a_command_that_writes_more_than_the_box_may_hold_is_ended_and_the_box_lives_on(
    place: str, box: Sandbox
) -> None:
    result = await box.run(f"cd {place}; {FILL}")
    assert "through" not in result.output
    assert f"the box allows {SMALL.disk_mb} MB" in result.output
    assert (await box.run("rm f* && echo room > again && cat again")).output.strip() == "room"


@pytest.mark.docker
@pytest.mark.parametrize("place", [".", "~", "/run/onhand"])
async def test_a_container_that_holds_more_than_it_may_is_told(place: str, docker: Sandboxes) -> None:
    box = await docker.create({})
    result = await box.run(f"cd {place}; {FILL}")
    assert "through" not in result.output
    assert f"the box allows {SMALL.disk_mb} MB" in result.output
    await box.remove()


async def test_a_working_copy_over_a_shared_checkout_has_the_same_bounds(
    tmp_path: Path, box: Sandbox, need: Callable[[object, str], None]
) -> None:
    need(not overlay.why_not(tmp_path), "overlays")
    await fill_a_working_copy(box, tmp_path)


@pytest.mark.docker
async def test_a_working_copy_in_a_container_has_the_same_bounds(
    tmp_path: Path, docker: Sandboxes, need: Callable[[object, str], None]
) -> None:
    need(not overlay.why_not(tmp_path), "overlays")
    box = await docker.create({})
    await fill_a_working_copy(box, tmp_path)
    await box.remove()


async def test_what_fills_the_disk_in_the_background_is_ended_while_no_command_runs(box: Sandbox) -> None:
    await box.run(f"({FILL}) >/dev/null 2>&1 & echo $! >writer")
    pid = (await box.read("writer")).decode().strip()
    async with asyncio.timeout(20):
        with contextlib.suppress(SandboxError):  # as soon as it is no more
            while await box.read(f"/proc/{pid}/comm"):
                await asyncio.sleep(0.05)
    with pytest.raises(SandboxError, match="No such file"):
        await box.read("f150")  # late where other tests make room meanwhile, but not through
    result = await box.run("true")
    assert f"the box allows {SMALL.disk_mb} MB" in result.output
    assert (await box.run("sleep 0.6; echo alive")).output == "alive\n"


async def test_a_box_that_holds_too_much_is_not_ended_again_for_what_others_write(tmp_path: Path, box: Sandbox) -> None:
    assert f"the box allows {SMALL.disk_mb} MB" in (await box.run(FILL)).output
    resting = asyncio.create_task(box.run("sleep 2; echo alive"))
    with (tmp_path / "others").open("wb") as others:
        os.posix_fallocate(others.fileno(), 0, SMALL.disk_mb << 20)
    assert (await resting).output == "alive\n"
    assert f"the box allows {SMALL.disk_mb} MB" in (await box.run(FILL.replace("f$n", "more$n"))).output


async def test_what_takes_the_work_out_of_a_full_box_is_not_ended(box: Sandbox) -> None:
    await box.run("fallocate -l 150M one; (sleep 0.5; fallocate -l 150M two) & true")
    await box.start_over()
    result = await box.run("head -c 150M /dev/zero >two; head -c 50M /dev/zero >three; sleep 1; echo done")
    assert result.output == "done\n"
    assert f"the box allows {SMALL.disk_mb} MB" in (await box.run("head -c 120M /dev/zero >four; sleep 1")).output


async def test_a_single_file_cannot_be_larger_than_the_disk_of_the_box(box: Sandbox) -> None:
    result = await box.run(f"truncate -s {SMALL.disk_mb + 1}M big")
    assert result.exit_code != 0
    assert (await box.run("echo alive")).output.strip() == "alive"


async def test_no_memory_of_this_machine_can_be_had_as_files(box: Sandbox) -> None:
    mounts = await box.run("grep -E ' (tmpfs|ramfs) ' /proc/mounts | grep ' rw,' | grep -v ' /dev/'; touch /dev/file")
    assert "Read-only file system" in mounts.output
    assert len(mounts.output.splitlines()) == 1
