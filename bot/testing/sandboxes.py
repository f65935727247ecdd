"""What every sandbox backend must do, as checks that anybody can run.

    failed = await check_sandbox(MySandboxes(spec, home, options))

or, in a test suite, one test a check:

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    async def test_contract(check, sandboxes): await check(sandboxes)

Give it boxes with small limits (256 MB of memory, 64 processes), or the checks of limits take long.
"""

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bot.core.errors import SandboxError, SandboxGone
from bot.core.ports import Sandbox, Sandboxes
from bot.testing.boxes import Check, alive, box_of, expect, said, until
from bot.testing.isolation import ISOLATION

CHECKS: list[Check] = []
"""What holds for every backend."""

_PATIENCE = 90.0
_OWN_SLEEP = f"sleep {1_000_000 + os.getpid()}"
"""Of these checks alone: a backend that does not isolate sees what else runs on the machine."""
_COUNT_SLEEPERS = f"""for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; done 2>&- | grep -c '[s]{_OWN_SLEEP[1:]}'"""


def name_of(check: Check) -> str:
    """Return the name of a check, as a sentence."""
    return getattr(check, "__name__", str(check)).replace("_", " ")


async def check_sandbox(sandboxes: Sandboxes, *, isolated: bool = True) -> Mapping[str, str]:
    """Run every check; return what went wrong by the name of the check, nothing when all is well."""
    wrong: dict[str, str] = {}
    for check in (*CHECKS, *(ISOLATION if isolated else [])):
        try:
            async with asyncio.timeout(_PATIENCE):
                await check(sandboxes)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            wrong[name_of(check)] = f"{type(error).__name__}: {error}"
    return wrong


def _contract(check: Check) -> Check:
    CHECKS.append(check)
    return check


# --- the session -----------------------------------------------------------------------------------------------------


@_contract
async def the_session_keeps_directory_environment_and_functions(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("mkdir -p deep/er && cd deep/er && export COLOUR=green && greet() { echo hello $1; }")
        result = await box.run('basename "$PWD"; echo $COLOUR; greet you')
        expect(result.output, "er\ngreen\nhello you\n", "output of the next command")
        expect(result.cwd.endswith("/deep/er"), True, f"whether the result tells the directory ({result.cwd})")


@_contract
async def a_command_tells_its_exit_code_and_both_outputs_in_order(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        result = await box.run("echo one; echo two >&2; echo three; (exit 7)")
        expect(result.output, "one\ntwo\nthree\n", "output")
        expect(result.exit_code, 7, "exit code")
        expect((result.timed_out, result.interrupted), (False, False), "endings")


@_contract
async def a_timeout_ends_the_whole_group_and_the_session_survives(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("mkdir place && cd place && export KEPT=yes")
        result = await box.run(f"echo begun; {_OWN_SLEEP} & {_OWN_SLEEP} | cat; echo never", timeout=0.5)
        expect((result.timed_out, result.exit_code), (True, None), "timed out, exit code")
        expect(result.output, "begun\n", "output until then")
        expect(result.seconds < 20, True, "whether it ended soon")
        left = await box.run(f'echo $KEPT; basename "$PWD"; {_COUNT_SLEEPERS}')
        expect(left.output, "yes\nplace\n0\n", "what is left: variable, directory, processes")


@_contract
async def a_command_that_ignores_signals_is_ended_all_the_same(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        result = await box.run("trap '' INT TERM; while :; do sleep 1; done", timeout=0.3)
        expect((result.timed_out, result.exit_code), (True, None), "timed out, exit code")
        expect(await said(box, "echo alive"), "alive", "the next command")


@_contract
async def an_interrupt_ends_the_command_that_is_running(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        running = asyncio.create_task(box.run("echo started >mark; sleep 5477; echo never", timeout=60))
        await until(lambda: box.read("mark"))
        await box.interrupt()
        result = await running
        expect((result.interrupted, result.exit_code), (True, None), "interrupted, exit code")
        expect("never" in result.output, False, "whether what came after it was run")
        await box.interrupt()  # nothing is running: harmless
        expect(await said(box, "echo alive"), "alive", "the next command")


@_contract
async def starting_over_ends_all_that_runs_and_keeps_the_files(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        job = await said(box, "cd /tmp; X=5; export PATH=/nowhere; ulimit -f 0; /bin/sleep 5477 & echo $!")
        await box.write("kept", b"work")
        await box.start_over()
        expect(await said(box, "echo more >more; cat kept more; echo X=$X"), "workmore\nX=", "a new session")
        expect("5477" in await said(box, f"cat /proc/{job}/cmdline || true"), False, "whether it still runs")


@_contract
async def a_command_reads_the_given_input_or_none(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        given = await box.run('read first; echo "$first!"; cat', stdin="zwölf\ndreizehn\n")
        expect(given.output, "zwölf!\ndreizehn\n", "output of what reads its input")
        result = await box.run("cat; read line; echo read $?", timeout=10)
        expect(result.output, "read 1\n", "output of what wants input and gets none")


@_contract
async def a_job_in_the_background_is_not_waited_for(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        result = await box.run("sleep 5477 & job=$!; echo begun", timeout=20)
        expect((result.exit_code, result.output, result.timed_out), (0, "begun\n", False), "result")
        expect(result.seconds < 5, True, "whether it returned at once")
        await box.run("sleep 5477", timeout=0.3)
        expect(await said(box, "kill -0 $job && echo running"), "running", "the job after another command's timeout")


@_contract
async def a_shell_that_ends_is_replaced_in_the_same_directory(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("mkdir -p there && cd there")
        for command, code in (("exit 3", 3), ("set -e; false; echo no", 1), ("exec true", 0), ("kill -9 $$", 137)):
            result = await box.run(command, timeout=20)
            expect(result.exit_code, code, f"exit code of {command!r}")
            expect(await said(box, 'basename "$PWD"'), "there", f"directory after {command!r}")


@_contract
async def broken_commands_fail_and_harm_nothing(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        for command in ('echo "open', "if true; then", "cat <<END", "echo )", "a\0b", "\ud800"):
            await box.run(command, timeout=20)
            expect(await said(box, "echo alive"), "alive", f"the next command after {command!r}")


@_contract
async def long_output_is_cut_in_the_middle_and_says_so(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        result = await box.run("echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo; echo last", timeout=60)
        expect(len(result.output) < 40_000, True, "whether it was cut")
        expect(result.output.startswith("first\nxxx"), True, "whether the first part is there")
        expect(result.output.endswith("xxx\nlast\n"), True, "whether the last part is there")
        expect(bool(re.search(r"\d{6,} bytes", result.output)), True, "whether it says how much was cut")


@_contract
async def output_without_end_is_bounded(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        result = await box.run("yes", timeout=1)
        expect((result.timed_out, len(result.output) < 40_000), (True, True), "timed out, short")


@_contract
async def binary_output_comes_as_text(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        result = await box.run(r"printf 'a\0\377\303\244'")
        expect(result.output, "a\ufffd\ufffdä", "output")


# --- files -----------------------------------------------------------------------------------------------------------


@_contract
async def files_of_any_size_and_content_go_both_ways(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        for path, data in (
            ("a/b/c.bin", os.urandom(1 << 24)),
            ("empty", b""),
            ("/workspace/ein ümlaut", b"\0\xff\r\n"),
        ):
            await box.write(path, data)
            expect(await box.read(path) == data, True, f"whether {path} came back as it was")
        await box.write("empty", b"now longer")
        await box.write("empty", b"short")
        expect(await said(box, "cat empty"), "short", "a file that was written again")


@_contract
async def relative_paths_begin_in_the_workspace(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("echo hi >here.txt; mkdir sub; cd sub")
        expect(await box.read("here.txt"), b"hi\n", "a relative path")
        expect(await box.read("/workspace/here.txt"), b"hi\n", "an absolute path")


@_contract
async def what_cannot_be_read_is_a_sandbox_error(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("mkdir folder; mkfifo pipe; head -c 100 /dev/zero >file")
        for path, limit in (("missing", 10), ("folder", 10), ("pipe", 10), ("file", 99), ("file/below", 10)):
            try:
                await box.read(path, limit=limit)
            except SandboxGone as error:
                raise AssertionError(f"reading {path} lost the box: {error}") from error
            except SandboxError:
                continue
            raise AssertionError(f"reading {path} with a limit of {limit} went through")
        expect(len(await box.read("file", limit=100)), 100, "a file as long as the limit")


@_contract
async def files_and_interrupts_do_not_wait_for_a_command(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        running = asyncio.create_task(box.run("sleep 5477", timeout=60))
        async with asyncio.timeout(20):
            await box.write("note", b"x")
            expect(await box.read("note"), b"x", "a file written while a command runs")
        await box.interrupt()
        await running


@_contract
async def boxes_over_one_folder_change_only_their_own_view_of_it(sandboxes: Sandboxes) -> None:
    with tempfile.TemporaryDirectory(prefix="onhand-tree-") as name:
        tree = _tree(Path(name, "tree"))
        async with box_of(sandboxes) as one, box_of(sandboxes) as two:
            laid = [await box.lay_over(tree, {"mine/hook": b"#!/bin/sh\necho hooked\n"}) for box in (one, two)]
            expect(laid, [one.lays_over] * 2, "whether they were laid over it")
            for box in (one, two) if one.lays_over else ():
                look = "cat file link; mine/hook; ls; find . ! -user $(id -u)"
                expect(await said(box, look), "shared\nshared\nhooked\nfile\nlink\nmine", "what is seen of it")
                await said(box, "echo changed >link; echo x >mine/hook; mkdir new; rm link")
        expect((tree / "file").read_text(), "shared\n", "the folder's file")


def _tree(path: Path) -> Path:
    path.mkdir()
    (path / "file").write_text("shared\n")
    (path / "link").symlink_to("file")
    for part in (path, *path.iterdir()) if os.geteuid() == 0 else ():
        os.lchown(part, 1000, 1000)
    return path


# --- life ------------------------------------------------------------------------------------------------------------


@_contract
async def a_box_is_found_again_by_its_state(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("cd /tmp && export KEPT=yes")
        await box.close()
        again = await sandboxes.attach(box.state)
        try:
            expect(await said(again, "echo $KEPT $PWD"), "yes /tmp", "the session seen from the new connection")
            expect(again.state, box.state, "state")
        finally:
            await again.close()


@_contract
async def the_state_is_small_and_holds_no_key(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        expect(len(box.state) < 500, True, "whether the state is small")
        expect(re.findall(r"[0-9a-f]{33,}", box.state.replace("-", "")), [], "what looks like a key in it")
        json.dumps(box.state)


@_contract
async def boxes_are_listed_with_their_labels(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes, conversation="c-1") as box:
        labels = dict(await sandboxes.list()).get(box.state, {})
        expect(labels.get("conversation"), "c-1", "label of the listed box")
    expect(box.state in dict(await sandboxes.list()), False, "whether a removed box is listed")


@_contract
async def a_paused_box_stands_still_and_goes_on(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("(while :; do date +%s%N >tick; sleep 0.02; done) & echo on")
        await until(lambda: box.read("tick"))
        await box.pause()
        await box.pause()
        paused = await sandboxes.attach(box.state)
        await asyncio.sleep(0.3)  # time itself is what is looked at
        await paused.resume()
        await paused.resume()
        last = await until(lambda: paused.read("tick", limit=100))
        for _ in range(3):
            await box.pause()
            await box.resume()
        expect(await said(paused, "echo alive"), "alive", "a command after the pause")
        await until(lambda: _differs(box, last))
        await paused.close()


@_contract
async def removing_twice_is_harmless(sandboxes: Sandboxes) -> None:
    box = await sandboxes.create({})
    await box.remove()
    await box.remove()


@_contract
async def a_box_is_removed_by_its_state(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.close()
        await sandboxes.remove(box.state)
        expect(box.state in [state for state, _ in await sandboxes.list()], False, "it is not listed any more")
        await sandboxes.remove(box.state)


@_contract
async def a_removed_box_is_gone_for_every_use(sandboxes: Sandboxes) -> None:
    box = await sandboxes.create({})
    other = await sandboxes.attach(box.state)
    await box.remove()
    uses: list[Callable[[], Awaitable[object]]] = [
        lambda: box.run("true"),
        lambda: other.run("true", timeout=5),
        lambda: other.read("x"),
        lambda: other.write("x", b""),
        other.interrupt,
        other.pause,
        lambda: sandboxes.attach(box.state),
    ]
    for number, use in enumerate(uses):
        try:
            await use()
        except SandboxGone:
            continue
        raise AssertionError(f"use {number} of a box that was removed did not raise SandboxGone")


@_contract
async def boxes_do_not_share_their_workspace(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as one, box_of(sandboxes) as two:
        await one.write("mine", b"x")
        expect((await two.run("ls")).output, "", "files in the other box")


# --- limits ----------------------------------------------------------------------------------------------------------


@_contract
async def a_fork_bomb_is_survived(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        await box.run("bomb() { bomb | bomb & }; bomb; sleep 3", timeout=10)
        await until(lambda: alive(box))


@_contract
async def a_memory_hog_is_survived(sandboxes: Sandboxes) -> None:
    async with box_of(sandboxes) as box:
        hog = "python3 -c 'hoard = []\nwhile True: hoard.append(bytearray(b\"x\") * (1 << 22))'"
        result = await box.run(hog, timeout=60)
        expect(result.exit_code in (0, None), False, f"whether it went well ({result.output[-300:]!r})")
        expect(await said(box, "echo alive"), "alive", "the next command")


async def _differs(box: Sandbox, last: bytes) -> bool:
    return (await box.read("tick")) not in (b"", last)
