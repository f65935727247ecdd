"""What boxes on this machine see of it beside programs: one copy of a part of /etc, and no trace of them in its mounts."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from bot.core.ports import Sandbox
from sandbox.etc import install_etc


def test_there_is_one_copy_for_all_boxes_of_a_folder(tmp_path: Path) -> None:
    laid = install_etc(tmp_path)
    install_etc.cache_clear()  # as in another worker
    assert install_etc(tmp_path) == laid
    assert [path.name for path in (tmp_path / "program").iterdir()] == [laid.name]


def test_everybody_may_read_it_and_it_holds_no_secret_of_the_machine(tmp_path: Path) -> None:
    laid = install_etc(tmp_path)
    assert laid.stat().st_mode & 0o777 == 0o755
    assert "box:x:1000:1000:" in (laid / "passwd").read_text()
    assert not {"shadow", "gshadow", "ssh", "hostname", "machine-id", "fstab", "sudoers"} & {
        p.name for p in laid.iterdir()
    }


def test_what_is_not_for_everybody_is_not_copied(tmp_path: Path) -> None:
    host = Path(tempfile.mkdtemp(dir="/tmp"))  # below folders that anybody may enter, as /etc is
    try:
        host.chmod(0o755)
        for name, mode in {"pki/ca.pem": 0o644, "pki/key.pem": 0o600, "pki/private/key.pem": 0o644}.items():
            (host / name).parent.mkdir(parents=True, exist_ok=True)
            (host / name).write_text(name)
            (host / name).chmod(mode)
        for name in ("services", "ssl/certs/own.pem"):
            (host / name).parent.mkdir(parents=True, exist_ok=True)
            (host / name).write_text(name)
        (host / "services").chmod(0o600)
        (host / "pki/private").chmod(0o700)
        (host / "ssl").chmod(0o700)
        laid = install_etc(tmp_path, host)
    finally:
        shutil.rmtree(host)
    assert [str(path.relative_to(laid)) for path in laid.rglob("*.pem")] == ["pki/ca.pem"]
    assert not (laid / "services").exists()


async def test_a_box_resolves_its_user_and_trusts_who_the_machine_trusts(box: Sandbox) -> None:
    assert (await box.run("id -un; getent hosts localhost | grep -c .")).output == "box\n1\n"
    assert (await box.run("ls -A /etc/ssl/certs 2>&- | LC_ALL=C sort")).output == _names("/etc/ssl/certs")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a view of its own to start a box")
async def test_a_box_leaves_no_trace_in_this_machines_mounts(box: Sandbox) -> None:
    await box.run("true")
    assert "/tmp/onhand" not in _mounts()


def _names(folder: str) -> str:
    return "".join(f"{path.name}\n" for path in sorted(Path(folder).glob("*")))


def _mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()
