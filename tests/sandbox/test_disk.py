"""A command that fills the box's disk is ended, is told why, and the box goes on."""

import pytest

from bot.core.ports import Sandbox, Sandboxes
from tests.sandbox.conftest import SMALL


@pytest.mark.parametrize("place", [".", "~", "/tmp", "/dev/shm", "/run/onhand"])
async def test_a_command_that_writes_more_than_the_box_may_hold_is_ended_and_the_box_lives_on(
    place: str, box: Sandbox
) -> None:
    result = await box.run(
        f"cd {place}; for n in $(seq 200); do head -c 10M /dev/zero > f$n; sleep 0.05; done; echo through"
    )
    assert "through" not in result.output
    assert f"the box allows {SMALL.disk_mb} MB" in result.output
    assert (await box.run("rm f* && echo room > again && cat again")).output.strip() == "room"


@pytest.mark.docker
@pytest.mark.parametrize("place", [".", "~", "/run/onhand"])
async def test_a_container_that_holds_more_than_it_may_is_told(place: str, docker: Sandboxes) -> None:
    box = await docker.create({})
    result = await box.run(
        f"cd {place}; for n in $(seq 200); do head -c 10M /dev/zero > f$n; sleep 0.05; done; echo through"
    )
    assert "through" not in result.output
    assert f"the box allows {SMALL.disk_mb} MB" in result.output
    await box.remove()


async def test_a_single_file_cannot_be_larger_than_the_disk_of_the_box(box: Sandbox) -> None:
    result = await box.run(f"truncate -s {SMALL.disk_mb + 1}M big")
    assert result.exit_code != 0
    assert (await box.run("echo alive")).output.strip() == "alive"


async def test_no_memory_of_this_machine_can_be_had_as_files(box: Sandbox) -> None:
    mounts = await box.run("grep -E ' (tmpfs|ramfs) ' /proc/mounts | grep ' rw,' | grep -v ' /dev/'; touch /dev/file")
    assert "Read-only file system" in mounts.output
    assert len(mounts.output.splitlines()) == 1
