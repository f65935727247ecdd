"""The action server at its edges: the protocol, and what a shell can do to itself."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bot.core.errors import SandboxError, SandboxGone
from bot.core.ports import Sandbox, Sandboxes
from bot.core.secret import Secret
from sandbox import layers, overlay
from sandbox.box import Box
from sandbox.connection import Connection, Peer, connect
from sandbox.home import BoxFolder, box_of, new_box
from sandbox.inside.output import KEEP, Output
from sandbox.inside.wire import MAX_LINE, VERSION, frame, parse
from sandbox.local import _Processes
from tests.processes import outliving


@pytest.fixture
async def place(local: Sandboxes, tmp_path: Path, box: Sandbox) -> Path:
    """The socket of a box's server."""
    return box_of(tmp_path / "boxes", box.state).socket


def talk(place: Path, *said: bytes) -> bytes:
    """Say something on a connection of one's own; return everything that is answered until it is closed."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(f"/proc/self/fd/{_folder(place)}/{place.name}")
        for part in said:
            line.sendall(part)
        heard = b""
        while part := line.recv(1 << 16):
            heard += part
        return heard


def _folder(place: Path) -> int:
    import os

    return os.open(place.parent, os.O_PATH)


# --- the protocol --------------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_refused_and_the_line_closed(place: Path) -> None:
    heard = await asyncio.to_thread(talk, place, frame({"version": VERSION}, b"0" * 64))
    assert heard.startswith(b"error=key ")


async def test_a_client_with_a_wrong_key_gets_a_sandbox_error(place: Path) -> None:
    with pytest.raises(SandboxError, match="not the key of this box"):
        await connect(place, Secret("1" * 64))


async def test_another_version_is_refused_before_the_key_is_looked_at(place: Path) -> None:
    heard = await asyncio.to_thread(talk, place, frame({"version": VERSION + 1}, b""))
    assert heard.startswith(b"error=version ")


@pytest.mark.parametrize(
    "said",
    [
        b"rubbish\n",
        b"size=-1\n",
        b"size=99999999999999\n",
        b"version=1\n",
        b"x" * (MAX_LINE + 1),
        b"\xff\xfe size=0\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"id=1 op=run timeout=1 stdin=0 size=2\nid",
    ],
)
async def test_a_stranger_who_does_not_speak_the_protocol_is_hung_up_on(said: bytes, place: Path, box: Sandbox) -> None:
    assert b"id=" not in await asyncio.to_thread(talk, place, said)
    assert (await box.run("echo alive")).output == "alive\n"


async def test_an_unknown_operation_is_an_error_with_a_word(place: Path, tmp_path: Path, box: Sandbox) -> None:
    connection = await connect(place, box_of(tmp_path / "boxes", box.state).key)
    with pytest.raises(SandboxError, match="expected run, interrupt, restart, drop, read, write or ping, got dance"):
        await connection.ask("dance", b"", 10.0)
    connection.close()


async def test_a_server_that_is_an_impostor_cannot_fill_our_memory(tmp_path: Path) -> None:
    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(frame({"version": VERSION}))
        await reader.readline()
        writer.write(b"id=1 exit=0 size=1000000000\n" + b"x" * 1_000_000)

    server = await asyncio.start_unix_server(lie, tmp_path / "socket")
    impostor = Box("{}", tmp_path / "socket", Secret("k"), _Processes(BoxFolder(tmp_path, "1" * 16)))
    with pytest.raises(SandboxGone):
        await impostor.run("true", timeout=5)
    server.close()


@pytest.mark.parametrize("answer", [b"id=999999 size=0\n", b"size=0\n", b"id=2 size=0\nid=2 size=0\n"])
async def test_a_server_that_answers_what_nobody_asked_is_hung_up_on(answer: bytes, tmp_path: Path) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(frame({"version": VERSION}) + frame({"id": 1}))
        await reader.readline()
        writer.write(answer)

    server = await asyncio.start_unix_server(flood, tmp_path / "socket")
    connection = await connect(tmp_path / "socket", Secret("k"))
    connection.tell("drop")
    asked = [asyncio.create_task(connection.ask("ping", b"", 5.0)) for _ in range(2)]
    await asyncio.wait(asked)
    with pytest.raises(SandboxGone, match="closed"):
        await asked[1]
    await asyncio.gather(*asked, return_exceptions=True)
    server.close()


def test_a_frame_is_read_back_as_it_was_written() -> None:
    line, _, body = frame({"id": 3, "op": "run"}, b"a\nb").partition(b"\n")
    assert parse(line) == {"id": "3", "op": "run", "size": "3"}
    assert body == b"a\nb"


async def test_many_requests_are_on_their_way_at_once(box: Sandbox) -> None:
    running = asyncio.create_task(box.run("sleep 0.3; echo done"))
    await asyncio.gather(*(box.write(f"f{n}", b"x" * 100_000) for n in range(20)))
    read = await asyncio.gather(*(box.read(f"f{n}") for n in range(20)))
    assert {len(data) for data in read} == {100_000}
    assert (await running).output == "done\n"


async def test_commands_that_come_at_once_run_one_after_the_other(box: Sandbox) -> None:
    results = await asyncio.gather(*(box.run(f"sleep 0.02; echo {n}") for n in range(5)))
    assert [result.output for result in results] == [f"{n}\n" for n in range(5)]


async def test_a_command_whose_waiter_was_cancelled_is_ended(box: Sandbox) -> None:
    running = asyncio.create_task(box.run("sleep 5477", timeout=60))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await box.run("echo next", timeout=10)).output == "next\n"


async def test_a_command_whose_worker_died_is_ended(local: Sandboxes, box: Sandbox) -> None:
    other = await local.attach(box.state)
    running = asyncio.create_task(other.run("sleep 5477", timeout=60))
    await asyncio.sleep(0.05)
    await other.close()
    with pytest.raises(SandboxGone):
        await running
    began = time.monotonic()
    assert (await box.run("echo next", timeout=10)).output == "next\n"
    assert time.monotonic() - began < 5


# --- the shell ------------------------------------------------------------------------------------------------------


async def test_commands_inherit_none_of_the_channels(box: Sandbox) -> None:
    result = await box.run("ls /proc/self/fd; bash -c 'ls /proc/self/fd'; (exec ls /proc/self/fd)")
    assert set(result.output.split()) == {"0", "1", "2", "3"}


async def test_a_shell_that_exits_hands_its_variables_and_functions_on(box: Sandbox) -> None:
    await box.run("plain=1; export shown=2; list=(a 'b c'); greet() { echo hi $1; }; cd /tmp; umask 077")
    assert (await box.run("exit 4")).exit_code == 4
    result = await box.run('echo $plain $shown "${list[1]}" $PWD $(umask); greet you; bash -c "echo \\$shown"')
    assert result.output == "1 2 b c /tmp 0077\nhi you\n2\n"


async def test_a_shell_that_was_killed_is_said_to_be_new(box: Sandbox) -> None:
    result = await box.run("echo before; kill -9 $$")
    assert result.exit_code == 137
    assert result.output.startswith("before\n[the shell was replaced by a new one in /workspace")


@pytest.mark.parametrize(
    "broken",
    ["readonly __onhand_st=1", "readonly __onhand_i=0", "builtin() { :; }; exit"],
    ids=["dies", "deaf", "mute"],
)
async def test_a_session_that_no_shell_can_take_over_is_given_up(broken: str, box: Sandbox) -> None:
    breaking, after = await box.run(broken, timeout=20), await box.run("echo done", timeout=20)
    assert "the shell was replaced by a new one" in breaking.output + after.output
    assert (after.exit_code == 0) is after.output.startswith("done\n")
    assert (await box.run("echo alive", timeout=20)).output == "alive\n"


async def test_errexit_ends_its_own_command_and_no_later_one(box: Sandbox) -> None:
    assert (await box.run("set -e; false; echo no")).output == ""
    assert (await box.run("false; echo yes")).output == "yes\n"


async def test_the_status_of_one_command_is_seen_by_the_next(box: Sandbox) -> None:
    await box.run("(exit 9)")
    assert (await box.run("echo $?")).output == "9\n"


async def test_lines_of_errors_are_counted_from_the_commands_own_first(box: Sandbox) -> None:
    assert (await box.run("true\nnosuchcommand")).output == "bash: line 2: nosuchcommand: command not found\n"


async def test_a_here_document_and_lines_of_ten_megabytes_are_nothing_special(box: Sandbox) -> None:
    result = await box.run("cat <<END\none\nEND\n" + f": {'x' * 10_000_000}\necho two", timeout=60)
    assert result.output == "one\ntwo\n"


async def test_what_a_background_job_says_later_is_in_nobody_elses_output(box: Sandbox) -> None:
    await box.run("(sleep 0.2; echo late; echo late >mark) &")
    for _ in range(100):
        assert (await box.run("sleep 0.01; echo mine")).output == "mine\n"
        if (await box.run("cat mark 2>&-")).output:
            return
    raise AssertionError("the job was lost")


async def test_a_process_substitution_that_lags_is_waited_for_a_little(box: Sandbox) -> None:
    result = await box.run("echo slow > >(cat)")
    assert result.output == "slow\n"


async def test_processes_without_end_of_an_earlier_command_do_not_cost_the_next_its_own(box: Sandbox) -> None:
    await box.run("(sleep 0.5; for n in $(seq 61); do sleep 5477 & done; wait) >/dev/null 2>&1 & true")
    result = await box.run("builtin read -t 2 <> <(builtin :); echo through", timeout=20)
    assert "the box allows 64" in result.output
    assert (await box.run("sleep 0.6; echo alive")).output.endswith("alive\n")


async def test_a_daemon_survives_and_a_timeout_ends_only_its_own_command(box: Sandbox) -> None:
    await box.run("setsid -f sleep 5478")
    result = await box.run("setsid -f sleep 5479; sleep 60", timeout=0.2)
    assert result.timed_out
    left = await box.run(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>&- | grep -o '^sleep 547[89]'"
    )
    assert left.output == "sleep 5478\n"


async def test_a_program_that_handles_the_interrupt_can_say_goodbye(box: Sandbox) -> None:
    code = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('goodbye')"
    result = await box.run(f'python3 -c "{code}"', timeout=1)
    assert (result.timed_out, result.output) == (True, "goodbye\n")


async def test_a_shell_that_hangs_in_itself_is_replaced_in_its_directory(box: Sandbox) -> None:
    result = await box.run("mkdir d; cd d; trap '' INT TERM; while :; do :; done", timeout=0.2)
    assert result.timed_out
    assert "the shell was replaced by a new one in /workspace/d" in result.output
    assert (await box.run("pwd")).output == "/workspace/d\n"


async def test_a_command_in_a_directory_that_was_deleted_still_runs(box: Sandbox) -> None:
    await box.run("mkdir gone && cd gone && rmdir ../gone")
    assert (await box.run("echo here")).output == "here\n"
    await box.run("exit 0")
    assert (await box.run("echo here")).output == "here\n"


# --- output ---------------------------------------------------------------------------------------------------------


def test_short_output_is_kept_whole() -> None:
    output = Output()
    output.add(b"x" * KEEP)
    output.add(b"y" * KEEP)
    assert output.whole() == b"x" * KEEP + b"y" * KEEP


@pytest.mark.parametrize("shift", range(4))
def test_a_cut_never_splits_a_character(shift: int) -> None:
    output, text = Output(), "a" * shift + "\U0001f600" * 20_000
    output.add(text.encode())
    kept = output.whole().decode()
    (cut,) = re.findall(r"\[\.\.\. (\d+) bytes cut here \.\.\.\]", kept)
    shown = re.sub(r"\n\[.*\]\n", "", kept)
    assert len(shown.encode()) + int(cut) == len(text.encode())


# --- life -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def dying(local: Sandboxes, tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A box whose processes have been killed from outside, after it wrote a file."""
    box = await local.create({})
    await box.write("kept", b"work")
    pid = box_of(tmp_path / "boxes", box.state).facts()["pid"]
    import os
    import signal

    os.kill(pid, signal.SIGKILL)
    yield box
    await box.remove()


async def test_a_box_that_died_is_gone_for_whoever_uses_it(dying: Sandbox) -> None:
    with pytest.raises(SandboxGone):
        await dying.run("true", timeout=5)
    with pytest.raises(SandboxGone):
        await dying.pause()


@pytest.mark.parametrize("kind", ["local", "process"])
async def test_a_box_that_dies_as_its_working_copy_is_laid_is_gone(
    kind: str, local: Sandboxes, process: Sandboxes, tmp_path: Path
) -> None:
    box = await {"local": local, "process": process}[kind].create({})
    (tmp_path / "tree").mkdir()
    await box.run("true")
    pid = box_of(tmp_path / "boxes", box.state).facts()["pid"]
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}/ns/mnt"):  # noqa: ASYNC240 - the loop is not to hear of it
        pass
    with pytest.raises(SandboxGone, match="died while its working copy was laid"):
        await box.lay_over(tmp_path / "tree", {})
    await box.remove()


async def test_a_box_that_died_is_started_again_with_its_files(local: Sandboxes, dying: Sandbox) -> None:
    with pytest.raises(SandboxGone):
        await dying.run("true", timeout=5)
    again = await local.attach(dying.state)
    assert await again.read("kept") == b"work"
    await again.close()


async def _stopped_and_entered_again(sandboxes: Sandboxes) -> None:
    box = await sandboxes.create({})
    await box.write("kept", b"work")
    await box.pause()
    with pytest.raises(SandboxGone, match="did not answer"):
        await box.run("true", timeout=0.1)
    again = await sandboxes.attach(box.state)
    await again.resume()
    assert (await again.run("cat kept")).output == "work"
    await again.close()


async def test_a_box_that_was_stopped_goes_on_when_it_is_entered_again(
    local: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.box._SLACK", 0.5)
    await _stopped_and_entered_again(local)


@pytest.mark.docker
async def test_a_container_that_was_paused_goes_on_when_it_is_entered_again(
    docker: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.box._SLACK", 0.5)
    await _stopped_and_entered_again(docker)


async def test_a_server_that_greets_nobody_is_started_again(local: Sandboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    box = await local.create({})
    await box.write("kept", b"work")
    await box.close()
    hello = Connection.hello

    async def slow(self: Connection, key: Secret) -> None:
        monkeypatch.setattr(Connection, "hello", hello)
        await self._within(asyncio.get_running_loop().create_future(), 0.01)

    monkeypatch.setattr(Connection, "hello", slow)
    again = await local.attach(box.state)
    assert await again.read("kept") == b"work"
    await again.close()


async def test_what_a_dead_server_without_walls_has_left_ends_with_its_box(process: Sandboxes) -> None:
    for _ in range(10):  # the server is dead, or about to die
        box = await process.create({})
        stray = psutil.Process(int((await box.run("setsid sleep 300 >/dev/null 2>&1 & echo $!")).output))
        server = int((await box.run("echo $PPID")).output)
        os.kill(server, signal.SIGKILL)
        await box.remove()
        assert await asyncio.to_thread(outliving, [stray], 10) == []


async def test_a_box_that_hid_its_socket_is_started_again_with_its_files(local: Sandboxes, box: Sandbox) -> None:
    await box.write("kept", b"work")
    await box.run("rm /run/onhand/socket")
    await box.close()
    again = await local.attach(box.state)
    assert await again.read("kept") == b"work"
    await again.close()


_TRAPS = {
    "a link to a file of this machine": "ln -sfn {victim} /run/onhand/key",
    "a pipe": "mkfifo /run/onhand/key",
    "a folder": "mkdir -p /run/onhand/key/deep",
}


async def _trapped(sandboxes: Sandboxes, trap: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    box = await sandboxes.create({})
    assert (await box.run(f"echo work >kept; {trap.format(victim=victim)}; rm /run/onhand/socket")).exit_code == 0
    await box.close()
    again = await sandboxes.attach(box.state)
    assert await again.read("kept") == b"work\n"
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("precious", 0o600)
    await again.close()


@pytest.mark.parametrize("trap", _TRAPS.values(), ids=_TRAPS)
async def test_a_box_cannot_lead_its_key_elsewhere(trap: str, local: Sandboxes, tmp_path: Path) -> None:
    await _trapped(local, trap, tmp_path)


@pytest.mark.docker
@pytest.mark.parametrize("trap", _TRAPS.values(), ids=_TRAPS)
async def test_a_container_cannot_lead_its_key_elsewhere(trap: str, docker: Sandboxes, tmp_path: Path) -> None:
    await _trapped(docker, trap, tmp_path)


async def test_a_link_in_place_of_the_socket_leads_nowhere(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as of_the_machine:
        of_the_machine.bind(str(tmp_path / "other"))
        of_the_machine.listen()
        (tmp_path / "socket").symlink_to(tmp_path / "other")
        with pytest.raises(SandboxGone, match="there is no box"):
            await connect(tmp_path / "socket", Secret("1" * 64))


async def test_a_server_that_may_open_nothing_more_gives_way_to_one_that_may(local: Sandboxes, box: Sandbox) -> None:
    await box.run("echo work >kept; prlimit --pid 1 --nofile=4:4")
    with pytest.raises(SandboxGone):
        await box.run("true", timeout=5)
    again = await local.attach(box.state)
    assert (await again.run("cat kept")).output == "work\n"
    await again.close()


@pytest.mark.docker
async def test_a_folder_whose_container_was_never_made_is_listed_and_removed(docker: Sandboxes, tmp_path: Path) -> None:
    folder = new_box(tmp_path / "boxes", {"conversation": "one"})  # here a worker was killed
    assert await docker.list() == [(folder.state, {"conversation": "one"})]
    await docker.remove(folder.state)
    assert await docker.list() == []
    assert not folder.path.exists()


@pytest.mark.docker
async def test_a_container_that_was_killed_is_started_again_with_its_files(docker: Sandboxes) -> None:
    box = await docker.create({})
    await box.write("kept", b"work")
    await box.run("rm /run/onhand/socket")
    await box.close()
    again = await docker.attach(box.state)
    assert await again.read("kept") == b"work"
    await again.close()


class _Killed(BaseException):
    """A worker ends here."""


async def _started_again_by_one_that_was_killed(
    sandboxes: Sandboxes, tmp_path: Path, killed: pytest.MonkeyPatch, laid: bool
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/code.py").write_text("of the repository")
    box = await sandboxes.create({})
    assert await box.lay_over(tmp_path / "tree", {})
    await box.run("echo work >kept; rm /run/onhand/socket")
    await box.close()

    lay = layers.lay_again

    def lay_again(folder: BoxFolder, peer: Peer) -> bool:
        if laid:
            lay(folder, peer)
        raise _Killed

    with killed.context() as here:
        here.setattr(layers, "lay_again", lay_again)
        with pytest.raises(_Killed):
            await sandboxes.attach(box.state)
    again = await sandboxes.attach(box.state)
    assert (await again.run("pwd; cat code.py; cat kept")).output == "/workspace\nof the repositorywork\n"
    await again.pause()
    await again.resume()
    await again.close()
    once_more = await sandboxes.attach(box.state)
    assert (
        await once_more.run("grep -c ' /workspace .* overlay ' /proc/self/mountinfo; ls")
    ).output == "1\ncode.py\nkept\n"
    await once_more.remove()


@pytest.mark.parametrize("laid", [False, True], ids=["before it was laid", "before the shell entered it"])
async def test_a_working_copy_is_laid_again_though_whoever_started_its_box_was_killed(
    local: Sandboxes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    need: Callable[[object, str], None],
    laid: bool,
) -> None:
    need(not overlay.why_not(tmp_path), "overlays")
    await _started_again_by_one_that_was_killed(local, tmp_path, monkeypatch, laid)


@pytest.mark.docker
@pytest.mark.parametrize("laid", [False, True], ids=["before it was laid", "before the shell entered it"])
async def test_a_working_copy_is_laid_again_in_a_container_though_whoever_started_it_was_killed(
    docker: Sandboxes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    need: Callable[[object, str], None],
    laid: bool,
) -> None:
    need(not overlay.why_not(tmp_path), "overlays")
    await _started_again_by_one_that_was_killed(docker, tmp_path, monkeypatch, laid)


async def test_a_working_copy_outlives_its_box_though_whoever_laid_it_was_killed_that_moment(
    local: Sandboxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[[object, str], None]
) -> None:
    need(not overlay.why_not(tmp_path), "overlays")
    (tmp_path / "tree/.git").mkdir(parents=True)
    box = await local.create({})
    mount = overlay.mount

    def laid_by_one_that_is_killed(*where: Any) -> None:
        mount(*where)
        raise _Killed

    with monkeypatch.context() as here:
        here.setattr(overlay, "mount", laid_by_one_that_is_killed)
        with pytest.raises(_Killed):
            await box.lay_over(tmp_path / "tree", {})
    await box.close()
    again = await local.attach(box.state)
    assert await again.lay_over(tmp_path / "tree", {})
    await again.run("echo work >kept; rm /run/onhand/socket")
    await again.close()
    once_more = await local.attach(box.state)
    assert (await once_more.run("ls -A")).output == ".git\nkept\n"
    await once_more.remove()


@pytest.mark.parametrize("state", ["", "{}", "[]", '{"box": "../../etc"}', '{"box": 3}', '{"box": "ABC"}', "\0"])
async def test_a_state_that_is_none_of_ours_is_refused(state: str, local: Sandboxes, process: Sandboxes) -> None:
    with pytest.raises(SandboxError):
        await local.attach(state)
    with pytest.raises(SandboxError):
        await process.attach(state)


@pytest.mark.parametrize("lost", [["key"], ["key", "workspace"], ["workspace", "home", "tmp", "run", "log"]])
async def test_a_removal_that_was_cut_off_is_done_by_the_next_one(
    lost: list[str], local: Sandboxes, tmp_path: Path
) -> None:
    box = await local.create({})
    await box.close()
    folder = tmp_path / "boxes" / json.loads(box.state)["box"]
    for name in lost:
        part = folder / name
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert [state for state, _ in await local.list()] == [box.state]
    if "key" in lost:  # it goes first
        with pytest.raises(SandboxGone):
            await local.attach(box.state)
    await local.remove(box.state)
    assert await local.list() == []
    assert not folder.exists()


async def test_nothing_is_left_of_a_box_that_was_removed(local: Sandboxes, tmp_path: Path) -> None:
    box = await local.create({})
    await box.run("mkdir -p a/b && touch a/b/c && chmod 000 a/b a; sleep 5480 &")
    await box.run('python3 -c \'import os\nfor _ in range(2000): os.mkdir("deep"); os.chdir("deep")\'')
    await box.remove()
    assert [path.name for path in (tmp_path / "boxes").iterdir()] == ["program"]
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]  # noqa: ASYNC240
    assert not [line for line in commands if line.startswith(b"sleep\x005480")]


_A_SHELL_THAT_COMES_UP_AS_IT_IS_ENDED = """
import os, select, signal, sys
from sandbox.inside.processes import bury
from sandbox.inside.server import Loop
from sandbox.inside.session import Run, Session

signal.signal(signal.SIGCHLD, lambda *_: None)
bell, ring = os.pipe()
os.set_blocking(ring, False)
signal.set_wakeup_fd(ring)
loop, answers = Loop(), []
session = Session(loop, "/")
select.select([session.shell.statuses], [], [], 10)
session.restart("/")
session.add(Run(b"echo hello", b"", 10.0, lambda fields, body: answers.append((fields["exit"], body)), None))
loop.turn(0.1)
while not answers:
    select.select([bell], [], [], 0.01)
    if (status := bury().get(session.shell.pid)) is not None:
        session.died(status)
    loop.turn(0.01)
    session.tick(0.0)
print(answers)
"""


async def test_what_comes_after_the_end_of_a_session_is_for_the_next_one(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _A_SHELL_THAT_COMES_UP_AS_IT_IS_ENDED]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("[(0, b'/hello\\n')]\n", "")


_A_COMMAND_THAT_ENDS_AS_IT_IS_STOPPED = """
import select
from sandbox.inside.server import Loop
from sandbox.inside.session import Run, Session
loop, answers = Loop(), []
session = Session(loop, "/")
for command in (b"true", b"echo hello"):
    session.add(Run(command, b"", 10.0, lambda fields, body: answers.append((fields["exit"], fields["ending"], body)), None))
while not session.run:
    loop.turn(0.1)
select.select([session.shell.statuses], [], [], 10)
session.stop("interrupt")
while len(answers) < 2:
    loop.turn(0.01)
    session.tick(0.0)
print(answers)
"""


async def test_a_stop_that_comes_too_late_stops_no_other_command(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _A_COMMAND_THAT_ENDS_AS_IT_IS_STOPPED]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("[(0, 'none', b'/'), (0, 'none', b'/hello\\n')]\n", "")


async def test_a_command_can_be_interrupted_the_moment_it_begins(local: Sandboxes) -> None:
    for _ in range(5):
        box = await local.create({})
        running = asyncio.create_task(box.run("sleep 5477", timeout=60))
        await asyncio.sleep(0)
        await box.interrupt()
        result = await running
        assert result.interrupted
        assert result.seconds < 10, "long before its own end"
        await box.remove()
