"""Working copies that boxes share until they change them: what lies in the box, and what the worker never does for it."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from bot.core.inbound import Repository
from bot.core.ports import CommandResult, Sandbox, Sandboxes, Source
from bot.core.secret import Secret
from bot.testing.git_server import GitServer
from sandbox import overlay, shelf
from sandbox.checkout import GitCheckout

TOKEN = Secret("canary-token-0123456789")
BRANCH, BOT, ALICE = "onhand/7-greet", "onhand <onhand@example.com>", "Alice <alice@example.com>"
UNUSUAL = ["-rf", "a b", 'quote"d', "tab\there", "line\nbreak", "ümlaut", "back\\slash", ".hidden", "deep/er/x", "HEAD"]
KINDS = ["local", "process", pytest.param("docker", marks=pytest.mark.docker)]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "forge", {TOKEN.reveal()}) as server:
        yield server


@pytest.fixture
def checkout(tmp_path: Path) -> GitCheckout:
    return GitCheckout(tmp_path / "mirrors")


@pytest.fixture(params=KINDS)
def sandboxes(request: pytest.FixtureRequest) -> Sandboxes:
    found: Sandboxes = request.getfixturevalue(request.param)
    return found


class Afar:
    """A box that cannot be laid over anything, as on another machine."""

    lays_over = False

    def __init__(self, box: Sandbox) -> None:
        self._box = box

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:  # noqa: ASYNC109
        return await self._box.run(command, timeout=timeout, stdin=stdin)

    async def write(self, path: str, data: bytes) -> None:
        await self._box.write(path, data)


async def source_of(server: GitServer, name: str = "octo/hello") -> Source:
    return Source(Repository("github", name), f"{server.url}/{name}.git", "main")


async def said(box: Sandbox, command: str) -> str:
    result = await box.run(command, timeout=60)
    assert result.exit_code == 0, result.output
    return result.output


async def put(checkout: GitCheckout, source: Source, box: Sandbox) -> str:
    commit = await checkout.fetch(source, TOKEN)
    await checkout.put(source, commit, BRANCH, box, BOT, ALICE)
    return commit


async def imported(server: GitServer, files: Mapping[bytes, tuple[str, bytes]], name: str = "octo/hello") -> None:
    """Make a repository whose first commit has these files: mode and content by path."""
    await server.create(name, {})
    parts = [b"commit refs/heads/main\ncommitter Alice <alice@example.com> now\ndata 5\nBegin\n"]
    for path, (mode, data) in files.items():
        quoted = b'"' + path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'
        parts.append(b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), quoted, len(data), data))
    stream = b"".join([*parts, b"done\n"])
    await asyncio.to_thread(server.hosting.git, name, "fast-import", "--quiet", "--date-format=now", stdin=stream)


async def test_every_kind_of_file_lies_there_and_git_sees_no_difference(
    server: GitServer, checkout: GitCheckout, sandboxes: Sandboxes
) -> None:
    files = {name.encode(): ("100644", name.encode()) for name in UNUSUAL}
    files[b"not-utf-8-\xff"] = ("100644", b"x")
    files |= {
        b"run.sh": ("100755", b"#!/bin/sh\necho ran\n"),
        b"link": ("120000", b"run.sh"),
        b"gone": ("120000", b"/nowhere"),
    }
    await imported(server, files)
    box = await sandboxes.create({})
    await put(checkout, await source_of(server), box)
    assert await said(box, "git diff-files; git status --porcelain") == ""  # the first looks at nothing but the index
    assert await said(box, "./run.sh; readlink link gone") == "ran\nrun.sh\n/nowhere\n"
    for name in UNUSUAL:
        assert await box.read(name) == name.encode()
    assert await said(box, "git fsck --no-dangling 2>&1; git ls-files | wc -l") == f"{len(files)}\n"
    assert await said(box, "find . ! -user $(id -u) | head") == ""
    assert await said(box, "echo more >>run.sh; rm link; git status --porcelain") == " D link\n M run.sh\n"


async def test_boxes_over_one_shelf_see_nothing_of_each_other(
    server: GitServer, checkout: GitCheckout, sandboxes: Sandboxes, tmp_path: Path
) -> None:
    await server.create("octo/hello", {"README.md": "Hello\n", "src/a.py": "a = 1\n"})
    source = await source_of(server)
    one, two = await sandboxes.create({}), await sandboxes.create({})
    for box in (one, two):
        await put(checkout, source, box)
    await said(
        one,
        "echo mine >README.md; git rm -q src/a.py; git commit -qm Mine; git branch secret; chmod -R a+w .git; touch new",
    )
    await said(one, "rm -f .git/objects/pack/*; echo broken >.git/index; mkdir .git/hooks2")
    assert (
        await said(two, "cat README.md; git status --porcelain; git branch; ls")
        == f"Hello\n* {BRANCH}\nREADME.md\nsrc\n"
    )
    assert await said(two, "git fsck --no-dangling 2>&1") == ""
    three = await sandboxes.create({})
    await put(checkout, source, three)
    assert await said(three, "git status --porcelain; git log --format=%s") == "Begin\n"


async def test_nothing_is_seen_of_branches_that_the_work_does_not_build_on(
    server: GitServer, checkout: GitCheckout, box: Sandbox
) -> None:
    await server.create("octo/hello", {"README.md": "Hello\n"})
    hidden = await server.commit("octo/hello", {"secret.txt": "hidden\n"}, "Hide", "private")
    source = await source_of(server)
    await checkout.fetch(Source(source.repository, source.url, "main", head="private"), TOKEN)
    await put(checkout, source, box)
    assert (await box.run(f"git cat-file -e {hidden}")).exit_code != 0
    assert (
        await said(box, "git for-each-ref --format='%(refname)'") == f"refs/heads/{BRANCH}\nrefs/remotes/origin/main\n"
    )


async def test_what_attributes_ask_for_is_done_inside_the_box_only(
    server: GitServer, checkout: GitCheckout, sandboxes: Sandboxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    (tmp_path / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = touch {ran}; cat\n\tclean = touch {ran}; cat\n\trequired = true\n'
        f"[core]\n\thooksPath = {tmp_path}\n\tautocrlf = true\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    attributes = b"*.evil filter=evil\n*.bat text eol=crlf\n*.id ident\n*.wide text working-tree-encoding=UTF-16LE\n* text=auto\n"
    files = {
        b".gitattributes": attributes,
        b"a.evil": b"raw\n",
        b"b.bat": b"dir\n",
        b"c.id": b"$Id$\n",
        b"d.wide": b"w\n",
    }
    files |= {b"e.txt": b"crlf\r\nkept\r\n", b".git-hooks/post-checkout": b"#!/bin/sh\ntouch /tmp/hooked\n"}
    await imported(server, {name: ("100644", data) for name, data in files.items()})
    box = await sandboxes.create({})
    await put(checkout, await source_of(server), box)
    assert not ran.exists()
    assert await box.read("b.bat") == b"dir\r\n"
    assert await box.read("d.wide") == "w\n".encode("utf-16-le")
    assert (await box.read("c.id")).startswith(b"$Id: ")
    assert await box.read("a.evil") == b"raw\n"
    assert await box.read("e.txt") == b"crlf\r\nkept\r\n"
    assert await said(box, "git status --porcelain; ls .git/onhand-rest 2>&- || true") == ""
    (tree,) = (tmp_path / "mirrors").glob("*/shelves/*/tree")
    assert sorted(path.name for path in tree.iterdir()) == [".git", ".git-hooks", ".gitattributes", "e.txt"]
    assert not (tree / ".git" / "hooks").exists()


async def test_a_box_that_was_started_again_has_its_working_copy(
    server: GitServer, checkout: GitCheckout, sandboxes: Sandboxes
) -> None:
    await server.create("octo/hello", {"README.md": "Hello\n"})
    box = await sandboxes.create({})
    await put(checkout, await source_of(server), box)
    await said(box, "echo mine >>README.md")
    os.kill((await box.connected()).peer.pid, 9)  # type: ignore[attr-defined]
    again = await sandboxes.attach(box.state)
    assert await said(again, 'cat README.md; git status --porcelain; basename "$PWD"') == (
        "Hello\nmine\n M README.md\nworkspace\n"
    )
    await again.close()


async def test_no_mount_of_this_machine_tells_of_a_box_and_nothing_of_it_is_left(
    server: GitServer, checkout: GitCheckout, sandboxes: Sandboxes, tmp_path: Path
) -> None:
    await server.create("octo/hello", {"README.md": "Hello\n"})
    box = await sandboxes.create({})
    await put(checkout, await source_of(server), box)
    await said(box, "echo x >new; chmod 000 new; mkdir locked; touch locked/in; chmod 000 locked")
    assert str(tmp_path / "boxes") not in await asyncio.to_thread(Path("/proc/self/mounts").read_text)
    await box.remove()
    assert [path.name for path in (tmp_path / "boxes").iterdir() if path.name != "program"] == []


async def test_a_shelf_stays_while_a_box_lives_on_it(
    server: GitServer, checkout: GitCheckout, local: Sandboxes, tmp_path: Path
) -> None:
    await server.create("octo/hello", {"README.md": "Hello\n"})
    box = await local.create({})
    await put(checkout, await source_of(server), box)
    (mirror,) = (tmp_path / "mirrors").glob("*.git")
    (there,) = (mirror / "shelves").iterdir()
    for path in (there, mirror.with_suffix(".lock")):
        os.utime(path, (1, 1))
    overlaid = not overlay.why_not(tmp_path / "boxes")
    assert shelf.lived_on(mirror) == overlaid
    if overlaid:
        await checkout.tidy(60.0)
        assert (there / "tree").exists()
        assert await said(box, "cat README.md") == "Hello\n"
    await box.remove()
    os.utime(there, (1, 1))
    assert shelf.clear_up(mirror) == 1
    assert not there.exists()


async def test_ten_thousand_files_go_in_and_out(server: GitServer, checkout: GitCheckout, sandboxes: Sandboxes) -> None:
    files = {f"d{n % 100}/e{n % 10}/file{n}.txt".encode(): ("100644", b"%d\n" % n) for n in range(10_000)}
    await imported(server, files)
    source = await source_of(server)
    async with asyncio.timeout(120):
        box = await sandboxes.create({})
        commit = await put(checkout, source, box)
        assert await said(box, "git diff-files; git ls-files | wc -l; find . -name 'file*' | wc -l") == "10000\n10000\n"
        await said(box, "echo changed >d1/e1/file1.txt")
        change = await checkout.take(source, commit, BRANCH, box, "Change one")
    assert change is not None
    assert change.files == (("d1/e1/file1.txt", 1, 1),)


async def test_a_box_elsewhere_gets_the_same_through_its_door(
    server: GitServer, checkout: GitCheckout, box: Sandbox
) -> None:
    await imported(server, {b"run.sh": ("100755", b"#!/bin/sh\n"), b"a b": ("100644", b"x")})
    await put(checkout, await source_of(server), Afar(box))  # type: ignore[arg-type]
    assert await said(box, "git status --porcelain; git log --format=%s; ls -A; git branch --show-current") == (
        f"Begin\n.git\na b\nrun.sh\n{BRANCH}\n"
    )


async def test_nobody_is_asked_for_what_the_mirror_has(server: GitServer, checkout: GitCheckout) -> None:
    await server.create("octo/hello", {"README.md": "Hello\n"})
    source = await source_of(server)
    commit = await checkout.fetch(source, TOKEN)
    asked = len(server.requests)
    known = Source(source.repository, source.url, "main", commit=commit)
    assert await checkout.fetch(known, TOKEN) == commit
    assert len(server.requests) == asked
    newer = await server.commit("octo/hello", {"README.md": "More\n"}, "More")
    assert await checkout.fetch(Source(source.repository, source.url, "main", commit=newer), TOKEN) == newer
    assert len(server.requests) > asked


async def test_names_with_quotes_are_written_into_the_settings_as_they_are(
    server: GitServer, checkout: GitCheckout, box: Sandbox
) -> None:
    await server.create("octo/hello", {"README.md": "Hello\n"})
    source = await source_of(server)
    commit = await checkout.fetch(source, TOKEN)
    author = 'Ann "the \\ hammer" #1; [core] <ann@example.com>'
    await checkout.put(source, commit, BRANCH, box, author, author)
    assert await said(box, "git config user.name; git config onhand.coAuthor") == (
        f'Ann "the \\ hammer" #1; [core]\n{author}\n'
    )
