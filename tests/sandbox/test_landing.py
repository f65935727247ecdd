"""Where commits land at a forge that is not always ours to write to: a real git server, a real box, the story `land`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bot.core.errors import ProviderError, Refused
from bot.core.inbound import Repository
from bot.core.outbound import Change
from bot.core.ports import Sandbox, Source
from bot.core.secret import Secret
from bot.flows.landing import Landing, land
from bot.testing.git_server import GitServer
from sandbox.checkout import GitCheckout

TOKEN = Secret("canary-token-0123456789")
BRANCH, SPARE, NAME, FORK = "onhand/7-greet", "onhand/7-run", "octo/hello", "bob/hello"
BOT, ALICE = "onhand <onhand@example.com>", "Alice <alice@example.com>"
GH006 = """echo "error: GH006: Protected branch update failed for refs/heads/main."
echo "error: Changes must be made through a pull request."
exit 1"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "forge", {TOKEN.reveal()}) as server:
        await server.create(NAME, {"README.md": "Hello\n", "src/a.py": "a = 1\nb = 1\nc = 1\nd = 1\n"})
        yield server


@pytest.fixture
def checkout(tmp_path: Path) -> GitCheckout:
    return GitCheckout(tmp_path / "mirrors")


@pytest.fixture
def source(server: GitServer) -> Source:
    return Source(Repository("github", NAME), f"{server.url}/{NAME}.git", "main")


@pytest.fixture
async def fork(server: GitServer, source: Source) -> Source:
    """A pull request from another repository's branch, which is called as ours is."""
    await asyncio.to_thread(server.hosting.fork, NAME, FORK)
    await server.commit(FORK, {"bob.py": "b = 2\n"}, "Bob's work")
    await asyncio.to_thread(server.hosting.show_pull, NAME, 3, FORK, "main")
    head = {"head": "main", "head_url": f"{server.url}/{FORK}.git", "head_ref": "refs/pull/3/head"}
    return msgspec.structs.replace(source, **head)


async def work(checkout: GitCheckout, source: Source, branch: str, box: Sandbox, *commands: str) -> Change:
    """Lay a working copy out, run the commands in it, and take the work."""
    base = await checkout.fetch(source, TOKEN)
    await checkout.put(source, base, branch, box, BOT, ALICE)
    for command in commands:
        result = await box.run(command, timeout=60)
        assert result.exit_code == 0, result.output
    change = await checkout.take(source, base, branch, box, "Greet")
    assert change is not None
    return change


async def landed(checkout: GitCheckout, source: Source, change: Change, branch: str) -> Landing:
    async def token() -> Secret:
        return TOKEN

    return await land(checkout, source, change, branch, SPARE, token)


# --- forks -----------------------------------------------------------------------------------------------------------


async def test_a_fork_is_read_from_the_repository_and_pushed_to_where_that_is_allowed(
    server: GitServer, checkout: GitCheckout, fork: Source, box: Sandbox
) -> None:
    change = await work(checkout, fork, "main", box, "echo c >c.py", "git diff --quiet origin/main HEAD && exit 1 || :")
    assert await landed(checkout, fork, change, "main") == Landing(change, "main")
    assert (await server.branches(FORK))["main"] == change.commit
    assert await server.branches(NAME) == {"main": (await server.branches(NAME))["main"]}
    assert "c.py" not in await server.files(NAME, "main")
    assert change.files == (("bob.py", 1, 0), ("c.py", 1, 0)), "what the pull request changes against its base"


async def test_work_on_a_fork_that_may_not_be_pushed_to_is_a_patch_that_applies(
    server: GitServer, checkout: GitCheckout, fork: Source, box: Sandbox, tmp_path: Path
) -> None:
    closed = msgspec.structs.replace(fork, pushable=False)
    change = await work(checkout, closed, "main", box, "echo c >c.py; printf '\\0\\1' >c.bin; echo more >>README.md")
    before = await server.branches(FORK), await server.branches(NAME)
    landing = await landed(checkout, closed, change, "main")
    assert (landing.branch, "allowing edits by maintainers" in landing.why) == ("", True)
    assert (await server.branches(FORK), await server.branches(NAME)) == before
    assert landing.patch is not None
    await box.write("/tmp/onhand.patch", landing.patch.exact.encode())
    applied = await box.run(f"git checkout -q {change.base} && git am -q /tmp/onhand.patch && git diff {change.commit}")
    assert (applied.exit_code, applied.output) == (0, "")


async def test_a_fork_that_only_seems_to_be_open_becomes_a_patch_too(
    server: GitServer, checkout: GitCheckout, fork: Source, box: Sandbox
) -> None:
    change = await work(checkout, fork, "main", box, "echo c >c.py")
    gone = msgspec.structs.replace(fork, head_url=f"{server.url}/bob/gone.git")
    landing = await landed(checkout, gone, change, "main")
    assert landing.patch is not None
    assert (landing.branch, "c.py" in landing.patch.exact) == ("", True)
    assert landing.why.startswith("My token does not reach the fork")
    assert "allowing edits by maintainers" not in landing.why, "that is allowed already"
    assert "install" not in landing.why, "an App's token is for the repository alone, wherever else it is installed"


@pytest.mark.parametrize("name", ["refs/heads/main", "refs/pull/../head", "--upload-pack=id", "refs/pull/1/head:x"])
async def test_a_name_to_read_by_that_is_none_of_a_change_is_refused(
    name: str, checkout: GitCheckout, source: Source
) -> None:
    with pytest.raises(Refused):
        await checkout.fetch(msgspec.structs.replace(source, head="x", head_ref=name), TOKEN)


# --- somebody pushed meanwhile ---------------------------------------------------------------------------------------


async def test_commits_go_on_top_of_what_somebody_pushed_meanwhile(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    head = msgspec.structs.replace(source, head="main")
    steps = ("sed -i s/a.=.1/a=2/ src/a.py && git commit -qam One", "sed -i s/a=2/a=3/ src/a.py && git commit -qam Two")
    change = await work(checkout, head, "main", box, *steps)
    theirs = await server.commit(NAME, {"src/a.py": "a = 1\nb = 1\nc = 1\nd = 9\n", "theirs": "x"}, "Theirs", "main")
    landing = await landed(checkout, head, change, "main")
    assert (landing.branch, landing.why, landing.change.base) == ("main", "", theirs)
    assert (await server.branches(NAME))["main"] == landing.change.commit
    messages = [message.split("\n")[0] for message in await server.messages(NAME, "main")]
    assert messages == ["Two", "One", "Theirs", "Begin"]
    assert await server.read(NAME, "main", "src/a.py") == "a=3\nb = 1\nc = 1\nd = 9\n"
    log = await asyncio.to_thread(server.hosting.git, NAME, "log", "-2", "--format=%an %cn", "main")
    assert log == b"onhand onhand\nonhand onhand\n"
    again = await landed(checkout, head, change, "main")
    assert again.change.commit == landing.change.commit, "cut off after the push and done again, it is the same"
    assert again.change.subjects == landing.change.subjects == ("One", "Two")
    assert (await server.branches(NAME))["main"] == landing.change.commit


async def test_commits_that_somebody_took_away_from_the_branch_meanwhile_stay_away(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    head = msgspec.structs.replace(source, head="main")
    before = (await server.branches(NAME))["main"]
    await server.commit(NAME, {"wrong.py": "x\n"}, "Wrong", "main")
    change = await work(checkout, head, "main", box, "echo c >c.py")
    await asyncio.to_thread(server.hosting.git, NAME, "update-ref", "refs/heads/main", before)
    landing = await landed(checkout, head, change, "main")
    assert (landing.branch, landing.change.base) == ("main", before)
    assert {"c.py", "wrong.py"} & set(await server.files(NAME, "main")) == {"c.py"}
    assert (await landed(checkout, head, change, "main")).change.commit == landing.change.commit


async def test_a_box_goes_on_from_what_it_has_pushed_itself(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    """A request that comes at the end of a run is worked on in the same box, whose base is older than the branch by then."""
    first = await work(checkout, source, BRANCH, box, "echo c >c.py && git add . && git commit -qm One")
    assert (await landed(checkout, source, first, BRANCH)).branch == BRANCH
    joined = (
        "git checkout -qb side && git commit -q --allow-empty -m Side && git checkout -q - && git merge -q --no-ff side"
    )
    assert (await box.run(f"echo d >d.py && git add . && git commit -qm Two && {joined}")).exit_code == 0
    second = await checkout.take(source, first.base, BRANCH, box, "Greet")
    assert second is not None
    landing = await landed(checkout, msgspec.structs.replace(source, head=BRANCH), second, BRANCH)
    assert (landing.branch, landing.change.commit, landing.change.base) == (BRANCH, second.commit, first.commit)
    assert (await server.branches(NAME))[BRANCH] == second.commit


async def test_a_branch_that_somebody_deleted_meanwhile_does_not_come_back(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    await server.commit(NAME, {"b.py": "b\n"}, "Begin a branch", BRANCH)
    head = msgspec.structs.replace(source, head=BRANCH)
    change = await work(checkout, head, BRANCH, box, "echo c >c.py")
    await asyncio.to_thread(server.hosting.git, NAME, "update-ref", "-d", f"refs/heads/{BRANCH}")
    landing = await landed(checkout, head, change, BRANCH)
    assert (landing.branch, f"deleted `{BRANCH}`" in landing.why) == (SPARE, True)
    assert BRANCH not in await server.branches(NAME)


async def test_commits_that_do_not_fit_are_kept_on_a_branch_of_ours(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    head = msgspec.structs.replace(source, head="main")
    change = await work(checkout, head, "main", box, "sed -i s/a.=.1/a=2/ src/a.py")
    theirs = await server.commit(NAME, {"src/a.py": "a = 7\n"}, "Theirs", "main")
    landing = await landed(checkout, head, change, "main")
    assert (landing.branch, "pushed to `main` meanwhile" in landing.why) == (SPARE, True)
    assert await server.branches(NAME) == {"main": theirs, SPARE: change.commit}


async def test_history_that_somebody_rewrote_meanwhile_is_not_brought_back(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    await server.commit(NAME, {"secret.txt": "oops\n"}, "A mistake", "topic")
    head = msgspec.structs.replace(source, head="topic")
    change = await work(checkout, head, "topic", box, "echo c >c.py")
    await asyncio.to_thread(server.hosting.git, NAME, "update-ref", "refs/heads/topic", "refs/heads/main")
    await server.commit(NAME, {"better.txt": "x\n"}, "Without the mistake", "topic")
    landing = await landed(checkout, head, change, "topic")
    assert landing.branch == "topic"
    assert set(await server.files(NAME, "topic")) == {"README.md", "src/a.py", "better.txt", "c.py"}


# --- rules of the forge ----------------------------------------------------------------------------------------------


async def test_a_protected_branch_is_left_alone_and_the_work_kept(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    rule = f"while read old new ref; do if [ $ref = refs/heads/main ]; then {GH006}; fi; done"
    await asyncio.to_thread(server.hosting.hook, NAME, "pre-receive", rule)
    head = msgspec.structs.replace(source, head="main")
    change = await work(checkout, head, "main", box, "echo c >c.py")
    landing = await landed(checkout, head, change, "main")
    assert landing.branch == SPARE
    assert landing.why == (
        "The rules of the repository do not let me push to `main`: GH006: Protected branch update failed for "
        "refs/heads/main. Changes must be made through a pull request."
    )
    assert (await server.branches(NAME))[SPARE] == change.commit


async def test_where_every_branch_is_protected_the_work_is_a_patch(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    await asyncio.to_thread(server.hosting.hook, NAME, "pre-receive", GH006)
    landing = await landed(checkout, source, await work(checkout, source, BRANCH, box, "echo c >c.py"), BRANCH)
    assert landing.patch is not None
    assert (landing.branch, "c.py" in landing.patch.exact) == ("", True)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("error: GH013: Repository rule violations found. Push cannot contain secrets", "secrets"),
        ("error: GH001: Large files detected.", "declined"),
    ],
)
async def test_what_a_forge_declines_for_its_content_is_shown_nowhere_else(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox, said: str, word: str
) -> None:
    await asyncio.to_thread(server.hosting.hook, NAME, "pre-receive", f"echo '{said}'; exit 1")
    change = await work(checkout, source, BRANCH, box, "echo c >c.py")
    with pytest.raises(Refused, match=said.partition(": ")[2].rstrip(".")) as refused:
        await landed(checkout, source, change, BRANCH)
    assert refused.value.word == word


def no_to_every_ref(reason: str) -> str:
    """Return a `proc-receive` hook that declines each ref with a reason of its own, as GitHub does (githooks(5))."""
    return f"""exec {sys.executable} -c '
import os, sys
def packet(text): os.write(1, b"%04x" % (len(text) + 4) + text if text else b"0000")
def packets():
    while size := int(sys.stdin.buffer.read(4), 16):
        yield sys.stdin.buffer.read(size - 4)
list(packets())
packet(b"version=1"), packet(b"")
refs = [line.split()[2] for line in packets()]
for ref in refs:
    packet(b"ng " + ref + b" " + bytes.fromhex("{reason.encode().hex()}"))
packet(b"")
'"""


@pytest.mark.parametrize(
    "reason",
    [
        "refusing to allow a Personal Access Token to create or update workflow `.github/ci.yml` without `workflow` scope",
        "refusing to allow a GitHub App to create or update workflow `.github/ci.yml` without `workflows` permission",
        "push declined due to email privacy restrictions",
    ],
)
async def test_what_the_token_may_not_push_is_said_in_the_forges_words_and_becomes_a_patch(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox, reason: str
) -> None:
    await asyncio.to_thread(server.hosting.git, NAME, "config", "receive.procReceiveRefs", "refs/heads")
    await asyncio.to_thread(server.hosting.hook, NAME, "proc-receive", no_to_every_ref(reason))
    landing = await landed(checkout, source, await work(checkout, source, BRANCH, box, "echo c >c.py"), BRANCH)
    assert landing.patch is not None
    assert (landing.branch, "c.py" in landing.patch.exact) == ("", True)
    assert f"`{BRANCH}`: {reason}." in landing.why


@pytest.mark.parametrize("reason", ["Internal Server Error", "fatal error in commit_refs"])
async def test_a_forge_that_fails_in_the_middle_of_a_push_is_waited_for(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox, reason: str
) -> None:
    change = await work(checkout, source, BRANCH, box, "echo c >c.py")
    await asyncio.to_thread(server.hosting.git, NAME, "config", "receive.procReceiveRefs", "refs/heads")
    await asyncio.to_thread(server.hosting.hook, NAME, "proc-receive", no_to_every_ref(reason))
    with pytest.raises(ProviderError) as failed:
        await checkout.push(source, change, BRANCH, TOKEN)
    assert failed.value.word == "unavailable"


# --- repositories of every kind --------------------------------------------------------------------------------------

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"


async def test_pointers_of_git_lfs_stay_pointers_and_what_was_changed_of_them_is_named(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    await server.commit(
        NAME, {".gitattributes": "*.png filter=lfs diff=lfs merge=lfs -text\n", "a.png": POINTER}, "Art"
    )
    commands = ("grep -q 'size 12345' a.png", "echo x >b.png; echo y >c.txt; git add b.png")
    change = await work(checkout, source, BRANCH, box, *commands)
    assert change.lfs == ("b.png",)
    assert (await landed(checkout, source, change, BRANCH)).branch == BRANCH
    assert await server.read(NAME, BRANCH, "a.png") == POINTER


async def test_submodules_are_left_as_they_are_and_a_changed_pointer_is_data(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = http://127.0.0.1:1/lib.git\n'
    stream = (
        f"commit refs/heads/main\ncommitter A <a@b> now\ndata 3\nSub\nfrom refs/heads/main^0\nM 160000 {'1' * 40} lib\n"
    )
    stream += f"M 100644 inline .gitmodules\ndata {len(modules)}\n{modules}\ndone\n"
    imported = ("fast-import", "--quiet", "--date-format=now")
    await asyncio.to_thread(server.hosting.git, NAME, *imported, stdin=stream.encode())
    kept = await work(checkout, source, BRANCH, box, "echo x >new.txt")
    assert [file[0] for file in kept.files] == ["new.txt"]
    moved = await work(checkout, source, BRANCH, box, f"git update-index --cacheinfo 160000,{'2' * 40},lib")
    assert [file[0] for file in moved.files] == ["lib", "new.txt"]
    await landed(checkout, source, moved, BRANCH)
    tree = await asyncio.to_thread(server.hosting.git, NAME, "ls-tree", BRANCH, "lib")
    assert tree.decode().split()[:3] == ["160000", "commit", "2" * 40]


async def test_a_repository_of_ten_thousand_files_is_worked_on(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    await server.commit(NAME, {f"d{n % 100}/f{n}.txt": f"{n}\n" for n in range(10_000)}, "Many")
    change = await work(checkout, source, BRANCH, box, "test $(git ls-files | wc -l) = 10002", "echo x >new.txt")
    assert change.files == (("new.txt", 1, 0),)
    assert (await landed(checkout, source, change, BRANCH)).branch == BRANCH


async def test_a_default_branch_that_was_renamed_is_followed(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    await checkout.fetch(source, TOKEN)
    await asyncio.to_thread(server.hosting.git, NAME, "branch", "-m", "main", "trunk")
    with pytest.raises(Refused, match="no branch main"):
        await checkout.fetch(source, TOKEN)
    renamed = msgspec.structs.replace(source, base="trunk")
    change = await work(checkout, renamed, BRANCH, box, "echo x >new.txt", "git rev-parse -q --verify origin/trunk")
    assert (await landed(checkout, renamed, change, BRANCH)).branch == BRANCH


async def test_a_repository_that_was_moved_is_followed_for_reading_and_pushing(
    server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    server.hosting.moved["octo/old"] = NAME
    old = msgspec.structs.replace(source, url=f"{server.url}/octo/old.git")
    change = await work(checkout, old, BRANCH, box, "echo x >new.txt")
    assert (await landed(checkout, old, change, BRANCH)).branch == BRANCH
    assert (await server.branches(NAME))[BRANCH] == change.commit
