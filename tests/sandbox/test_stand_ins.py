"""The stand-in box, and the contract when a backend does not keep it."""

import re

import pytest

from bot.core.errors import SandboxError, SandboxGone
from bot.testing import sandboxes
from bot.testing.fake_sandbox import Expected, FakeSandbox
from bot.testing.sandboxes import check_sandbox


async def test_a_script_is_followed_and_its_end_is_an_error() -> None:
    box = FakeSandbox([("ls", "README.md\n"), Expected(re.compile("^make"), "broken\n", exit_code=2)])
    assert (await box.run("ls")).output == "README.md\n"
    assert (await box.run("make test")).exit_code == 2
    with pytest.raises(AssertionError, match="at its end"):
        await box.run("ls")


async def test_a_command_that_the_script_does_not_have_next_is_an_error() -> None:
    with pytest.raises(AssertionError, match="has 'ls' next"):
        await FakeSandbox([("ls", "")]).run("pwd")


async def test_files_of_the_stand_in_are_kept_by_their_real_path() -> None:
    box = FakeSandbox(files={"a.txt": b"a"})
    await box.write("/workspace/b/../c.txt", b"c")
    assert await box.read("/workspace/a.txt") == b"a"
    assert await box.read("c.txt") == b"c"
    with pytest.raises(SandboxError):
        await box.read("missing")


async def test_a_removed_stand_in_is_gone() -> None:
    box = FakeSandbox()
    await box.remove()
    with pytest.raises(SandboxGone):
        await box.read("a")


async def test_a_backend_that_breaks_the_contract_is_told_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name = "broken"

        async def create(self, labels: object) -> FakeSandbox:
            return FakeSandbox([Expected(re.compile(""), "nonsense")] * 10)

    monkeypatch.setattr(sandboxes, "CHECKS", sandboxes.CHECKS[:2])
    wrong = await check_sandbox(Broken(), isolated=False)  # type: ignore[arg-type]
    assert len(wrong) == 2
    assert all("expected" in text for text in wrong.values())
