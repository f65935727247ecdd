"""The checkout against a real git server with authentication and real boxes: what it does, and what it prevents."""

import asyncio
import fcntl
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.errors import ProviderError, Refused, SandboxError
from bot.core.inbound import Repository
from bot.core.outbound import Change
from bot.core.ports import Sandbox, Sandboxes, Source
from bot.core.secret import Secret
from bot.testing.git_server import GitServer
from bot.testing.github import GitHubServer
from sandbox.checkout import GitCheckout

TOKEN = Secret("canary-token-0123456789")
BRANCH = "onhand/7-greet"
BOT, ALICE = "onhand <onhand@example.com>", "Alice <alice@example.com>"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "forge", {TOKEN.reveal()}) as server:
        await server.create("octo/hello", {"README.md": "Hello\n", ".gitignore": "*.log\n", "src/a.py": "a = 1\n"})
        yield server


@pytest.fixture
def checkout(tmp_path: Path) -> GitCheckout:
    return GitCheckout(tmp_path / "mirrors")


@pytest.fixture
def source(server: GitServer) -> Source:
    return Source(Repository("github", "octo/hello"), f"{server.url}/octo/hello.git", "main")


@pytest.fixture
async def base(checkout: GitCheckout, source: Source, box: Sandbox) -> str:
    """The commit from which a working copy was laid into the box."""
    commit = await checkout.fetch(source, TOKEN)
    await checkout.put(source, commit, BRANCH, box, BOT, ALICE)
    return commit


async def said(box: Sandbox, command: str) -> str:
    result = await box.run(command, timeout=30)
    assert result.exit_code == 0, result.output
    return result.output


async def take(checkout: GitCheckout, source: Source, base: str, box: Sandbox) -> Change | None:
    return await checkout.take(source, base, BRANCH, box, "Greet")


async def test_a_working_copy_with_history_lies_in_the_workspace_on_its_branch(
    server: GitServer, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    assert (await server.branches("octo/hello"))["main"] == base
    assert await said(box, "git branch --show-current; git status --short; ls; git log --format=%s") == (
        f"{BRANCH}\nREADME.md\nsrc\nBegin\n"
    )
    assert await said(box, "git diff --stat origin/main; git remote; git config user.email") == "onhand@example.com\n"


async def test_work_goes_out_and_is_pushed(
    server: GitServer, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(
        box, "echo 'b = 2' >src/b.py && git add . && git commit -qm 'Add b'; echo more >>README.md; echo x >x.log"
    )
    change = await take(checkout, source, base, box)
    assert change is not None
    assert change.files == (("README.md", 1, 0), ("src/b.py", 1, 0))
    assert change.subjects == ("Add b", "Greet")
    await checkout.push(source, change, BRANCH, TOKEN)
    await checkout.push(source, change, BRANCH, TOKEN)  # there already
    assert (await server.branches("octo/hello"))[BRANCH] == change.commit
    assert await server.files("octo/hello", BRANCH) == {
        "README.md": "Hello\nmore\n",
        ".gitignore": "*.log\n",
        "src/a.py": "a = 1\n",
        "src/b.py": "b = 2\n",
    }


@pytest.mark.parametrize(
    "hindrance",
    [
        "touch .git/index.lock .git/HEAD.lock",
        "echo '*.odd working-tree-encoding=NONE' >.gitattributes; echo x >a.odd",
        "git config core.autocrlf true; git config core.safecrlf true; export GIT_DIR=/nowhere",
        "printf 'exit 1' >/tmp/git; chmod +x /tmp/git; export PATH=/tmp:$PATH; git() { false; }; export -f git",
        "mkfifo .git/MERGE_HEAD",
        "ulimit -f 0",
        "export PATH=/nowhere",
        "export GIT_AUTHOR_NAME= GIT_COMMITTER_DATE=nonsense GIT_OBJECT_DIRECTORY=/nowhere BASH_ENV=/dev/full",
        "declare -i __onhand_c; set -o noglob; IFS=x; umask 0777; echo x >secret",
        "git config --remove-section user",
        "git config core.bare true",
        "git config core.compression much",
        "echo '[core' >.git/config",
        "echo '[core' >~/.gitconfig",
        "echo x >.git/index",
        "chmod 000 README.md src .",
        "f() { f | f & }; (f &); true",
        "rm -rf .git",
        "rm -rf .git; git init -q; git add -A; git -c user.name=a -c user.email=a commit -qm again",
        "git commit -qam x; rm -rf .git/objects",
        "rm .git/HEAD",
        ": >.git/HEAD",
        "rm -rf .git/refs .git/packed-refs",
        "echo junk >.git/packed-refs",
        "rm .git/index; mkdir -p .git/index/x",
        "chmod -R a-w .git",
        "chmod 000 .git",
        "mkdir .git/index.lock",
        "git update-ref refs/tags/HEAD HEAD; git update-ref refs/heads/HEAD HEAD; git symbolic-ref HEAD refs/heads/HEAD",
        "git update-index --assume-unchanged README.md",
        "git update-index --skip-worktree README.md; git update-index --skip-worktree src/a.py; rm src/a.py",
    ],
    ids=[
        "locks of a git that was killed",
        "a file that git cannot store",
        "settings of the session",
        "another git in front",
        "a pipe that git would read",
        "a limit of the session",
        "a session that finds no program",
        "a session that misleads git",
        "a session that misleads the shell",
        "nobody who commits",
        "settings of a bare repository",
        "a setting that has no sense",
        "settings that cannot be read",
        "settings of the box that cannot be read",
        "an index that cannot be read",
        "rights that were taken away",
        "processes without end",
        "no repository",
        "another repository",
        "no objects",
        "no HEAD",
        "an empty HEAD",
        "no branches",
        "branches that cannot be read",
        "a folder in place of the index",
        "a repository that cannot be written",
        "a repository that cannot be read",
        "a folder in place of a lock",
        "branches and tags named HEAD",
        "a file that git is to overlook",
        "a file that git is to leave alone",
    ],
)
async def test_work_goes_out_whatever_hinders_git(
    hindrance: str, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, f"echo more >>README.md; echo new >'*new'; {hindrance}")
    change = await take(checkout, source, base, box)
    assert change is not None
    assert {"README.md", "*new"} <= {path for path, _, _ in change.files}
    assert "src/a.py" not in {path for path, _, _ in change.files}


async def test_a_workspace_that_was_lost_is_no_work(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "find . -mindepth 1 -delete; echo work >new")
    with pytest.raises(SandboxError, match="none of the files is there any more"):
        await take(checkout, source, base, box)


async def test_what_is_left_out_is_named(checkout: GitCheckout, source: Source, base: str, box: Sandbox) -> None:
    await said(box, "mkdir app 'two words' && git init -q app && touch app/main.py && git init -q 'two words'")
    await said(box, "cd 'two words' && git -c user.name=n -c user.email=e commit -q --allow-empty -m x && cd ..")
    nothing = await take(checkout, source, base, box)
    assert nothing is not None
    assert (nothing.commit, nothing.left_out) == ("", ("app/", '"two words/"'))
    await said(box, "echo more >>README.md")
    change = await take(checkout, source, base, box)
    assert change is not None
    assert [path for path, _, _ in change.files] == ["README.md"]
    assert change.left_out == nothing.left_out


async def test_a_repository_that_the_agent_committed_inside_is_named(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    for path in ("inner", "zwölf"):
        await said(
            box, f"git init -q {path} && git -C {path} -c user.name=n -c user.email=e commit -q --allow-empty -m x"
        )
    await said(box, "git config diff.ignoreSubmodules all; git add inner zwölf 2>/dev/null; git init -q known")
    await said(
        box, "git -C known -c user.name=n -c user.email=e commit -q --allow-empty -m x; git add known 2>/dev/null"
    )
    await said(box, "git config -f .gitmodules submodule.known.path known; git add .gitmodules; git commit -qm Inner")
    change = await take(checkout, source, base, box)
    assert change is not None
    assert change.left_out == ("inner", "zwölf")


async def test_work_in_a_stash_or_on_another_branch_is_named(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "echo more >>README.md && git stash -q && git branch merged")
    await said(box, "git checkout -q -b other && echo 1 >one && git add . && git commit -qm One && git checkout -q -")
    change = await take(checkout, source, base, box)
    assert change is not None
    assert (change.commit, change.left_out) == ("", ("refs/heads/other", "refs/stash"))
    await said(box, "git merge -q other && git stash pop -q")
    change = await take(checkout, source, base, box)
    assert change is not None
    assert sorted(path for path, _, _ in change.files) == ["README.md", "one"]
    assert change.left_out == ()


async def test_every_commit_names_the_person_as_co_author_once(
    server: GitServer, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "echo 1 >one && git add . && git commit -qm One && git commit -q --amend --no-edit && echo 2 >two")
    change = await take(checkout, source, base, box)
    assert change is not None
    await checkout.push(source, change, BRANCH, TOKEN)
    messages = (await server.messages("octo/hello", BRANCH))[:2]
    assert [message.count(f"Co-authored-by: {ALICE}") for message in messages] == [1, 1]


async def test_a_title_that_begins_with_a_number_of_an_issue_is_a_commits_message(
    server: GitServer, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "echo 1 >one")
    change = await checkout.take(source, base, BRANCH, box, "#12 is wrong")
    assert change is not None
    await checkout.push(source, change, BRANCH, TOKEN)
    assert (await server.messages("octo/hello", BRANCH))[0].strip() == f"#12 is wrong\n\nCo-authored-by: {ALICE}"


async def test_nothing_changed_is_nothing_taken(checkout: GitCheckout, source: Source, base: str, box: Sandbox) -> None:
    assert await take(checkout, source, base, box) is None


async def test_what_the_agent_left_running_ends_when_its_work_is_taken(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "cd /tmp && X=5; sleep 300 & setsid sleep 300 & echo 1 >/workspace/one")
    assert await take(checkout, source, base, box) is not None
    assert await said(box, 'echo "$PWD $X"') == "/workspace \n"
    assert "sleep" not in await said(box, "cat /proc/[0-9]*/comm")


async def test_laying_out_again_leaves_the_work_alone(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "echo mine >>README.md")
    await checkout.put(source, base, BRANCH, box, BOT, ALICE)
    assert await said(box, "cat README.md") == "Hello\nmine\n"


async def test_a_second_change_goes_on_from_the_first(
    server: GitServer, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    for number in ("1", "2"):
        await said(box, f"echo {number} >{number}")
        change = await take(checkout, source, base, box)
        assert change is not None
        await checkout.push(source, change, BRANCH, TOKEN)
    assert len(await server.messages("octo/hello", BRANCH)) == 3


async def test_asked_in_a_change_the_work_starts_from_its_branch(server: GitServer, checkout: GitCheckout) -> None:
    head = await server.commit("octo/hello", {"new": "x"}, "New", branch="feature")
    source = Source(Repository("github", "octo/hello"), f"{server.url}/octo/hello.git", "main", head="feature")
    assert await checkout.fetch(source, TOKEN) == head


async def test_what_was_pushed_meanwhile_is_fetched(server: GitServer, checkout: GitCheckout, source: Source) -> None:
    await checkout.fetch(source, TOKEN)
    newer = await server.commit("octo/hello", {"new": "x"}, "New")
    assert await checkout.fetch(source, TOKEN) == newer


async def test_what_somebody_else_pushed_is_never_overwritten(
    server: GitServer, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    theirs = await server.commit("octo/hello", {"theirs": "x"}, "Theirs", branch=BRANCH)
    await said(box, "echo 1 >one")
    change = await take(checkout, source, base, box)
    assert change is not None
    with pytest.raises(ProviderError) as refused:
        await checkout.push(source, change, BRANCH, TOKEN)
    assert refused.value.word == "conflict"
    assert (await server.branches("octo/hello"))[BRANCH] == theirs


async def test_a_worker_without_the_mirror_takes_the_work_too(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox, tmp_path: Path
) -> None:
    await said(box, "echo 1 >one")
    other = GitCheckout(tmp_path / "mirrors of another worker")
    change = await take(other, source, base, box)
    assert change is not None
    assert change.files == (("one", 1, 0),)
    await other.push(source, change, BRANCH, TOKEN)


async def test_many_workers_fetch_at_once(server: GitServer, source: Source, tmp_path: Path) -> None:
    workers = [GitCheckout(tmp_path / "mirrors") for _ in range(6)]
    commits = await asyncio.gather(*(worker.fetch(source, TOKEN) for worker in workers))
    assert set(commits) == {(await server.branches("octo/hello"))["main"]}


# --- what the forge says no to ---------------------------------------------------------------------------------------


async def test_a_fetch_that_hangs_holds_up_no_other(checkout: GitCheckout, tmp_path: Path) -> None:
    async with GitHubServer(tmp_path / "github", echo=False) as github:
        token = Secret(github.person("onhand-bot").token)
        await github.repository("octo/hello", {"README.md": "Hello\n"}, {"onhand-bot": "write"})
        there = Source(Repository("github", "octo/hello"), f"{github.web_url}/octo/hello.git", "main")
        fault = github.hang("GET", r"/octo/hello\.git/info/refs.*")
        hanging = asyncio.create_task(checkout.fetch(there, token))
        await fault.met()
        async with asyncio.timeout(30):  # git itself gives it up after a minute
            assert await checkout.fetch(there, token)
        fault.release()
        with pytest.raises(ProviderError):
            await hanging


async def test_a_worker_that_was_stopped_with_the_mirror_in_its_hands_holds_up_no_other(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    (mirror,) = checkout._folder.glob("*.git")
    with mirror.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with asyncio.timeout(60):
            assert await checkout.fetch(source, TOKEN) == base
            await said(box, "echo more >>README.md")
            assert await take(checkout, source, base, box) is not None


@pytest.mark.parametrize(
    ("times", "known"),
    [
        (1, {}),
        (1, {"head": "topic", "head_ref": "refs/pull/3/head"}),
        (2, {"commit": "c" * 40}),
        (2, {"head": "topic", "head_ref": "refs/pull/3/head"}),
    ],
    ids=["a branch", "a fork's branch", "a branch that the API knows", "a pull request"],
)
async def test_a_page_in_the_place_of_gits_answer_says_nothing_of_the_repository(
    times: int, known: dict[str, str], checkout: GitCheckout, tmp_path: Path
) -> None:
    async with GitHubServer(tmp_path / "github", echo=False) as github:
        token = Secret(github.person("onhand-bot").token)
        await github.repository("octo/hello", {"README.md": "Hello\n"}, {"onhand-bot": "write"})
        await asyncio.to_thread(github.git.git, "octo/hello", "update-ref", "refs/pull/3/head", "main")
        there = Source(Repository("github", "octo/hello"), f"{github.web_url}/octo/hello.git", "main", **known)
        github.fail("GET", r"/octo/hello\.git/info/refs.*", status=200, message="a proxy's page", times=times)
        with pytest.raises(ProviderError, match="did not answer as git does") as away:
            await checkout.fetch(there, token)
        assert away.value.word == "unavailable"
        assert await checkout.fetch(there, token)


async def test_a_wrong_token_is_unauthorized(checkout: GitCheckout, source: Source) -> None:
    with pytest.raises(ProviderError) as refused:
        await checkout.fetch(source, Secret("wrong-token-0123456789"))
    assert refused.value.word == "unauthorized"
    assert "wrong-token" not in str(refused.value)


async def test_no_token_at_all_is_unauthorized(checkout: GitCheckout, source: Source) -> None:
    with pytest.raises(ProviderError) as refused:
        await checkout.fetch(source, Secret(""))
    assert refused.value.word == "unauthorized"


async def test_a_repository_that_is_not_there_is_missing(server: GitServer, checkout: GitCheckout) -> None:
    with pytest.raises(ProviderError) as refused:
        await checkout.fetch(Source(Repository("github", "octo/no"), f"{server.url}/octo/no.git", "main"), TOKEN)
    assert refused.value.word == "missing"


async def test_a_forge_that_does_not_answer_is_unavailable(checkout: GitCheckout) -> None:
    source = Source(Repository("github", "octo/hello"), "http://127.0.0.1:1/octo/hello.git", "main")
    with pytest.raises(ProviderError) as refused:
        await checkout.fetch(source, TOKEN)
    assert refused.value.word == "unavailable"
    assert refused.value.worth_retrying


async def test_an_empty_repository_is_refused_in_a_sentence(server: GitServer, checkout: GitCheckout) -> None:
    await server.create("octo/empty", {})
    with pytest.raises(Refused, match="octo/empty is empty"):
        await checkout.fetch(Source(Repository("github", "octo/empty"), f"{server.url}/octo/empty.git", "main"), TOKEN)


async def test_a_branch_that_is_not_there_is_refused_in_a_sentence(
    server: GitServer, checkout: GitCheckout, source: Source
) -> None:
    with pytest.raises(Refused, match="no branch trunk"):
        await checkout.fetch(Source(source.repository, source.url, "trunk"), TOKEN)
    with pytest.raises(Refused, match="no branch feature"):
        await checkout.fetch(Source(source.repository, source.url, "main", head="feature"), TOKEN)


@pytest.mark.parametrize(
    "name",
    ["--upload-pack=touch /tmp/pwned", "a..b", "a b", "a\nb", "", "@", "a.lock", "/a", "a/", "a~1", "x:y"],
)
async def test_a_branch_name_that_git_does_not_allow_is_refused(
    name: str, checkout: GitCheckout, source: Source
) -> None:
    with pytest.raises(Refused):
        await checkout.fetch(Source(source.repository, source.url, name), TOKEN)
    with pytest.raises(Refused):
        await checkout.push(source, Change("0" * 40, "0" * 40), name, TOKEN)


@pytest.mark.parametrize(
    ("path", "text", "refusal"),
    [
        ("n" * 256, "x", "has paths that cannot be written as files"),
        (".gitmodules", '[submodule "x"]\n path = x\n url = -u./x\n', "for unsafe: gitmodulesUrl"),
    ],
    ids=["a name that no file can have", "an attack on git"],
)
async def test_a_repository_that_cannot_be_laid_out_is_refused_in_a_sentence(
    path: str, text: str, refusal: str, server: GitServer, checkout: GitCheckout, source: Source, box: Sandbox
) -> None:
    await server.commit("octo/hello", {path: text}, "Add it")
    with pytest.raises(Refused, match=refusal):
        await checkout.put(source, await checkout.fetch(source, TOKEN), BRANCH, box, BOT, ALICE)


async def test_a_branch_that_stands_in_the_way_of_ours_is_named(
    server: GitServer, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await asyncio.to_thread(server.hosting.git, "octo/hello", "branch", "onhand", "main")
    await said(box, "echo more >>README.md")
    change = await take(checkout, source, base, box)
    assert change is not None
    with pytest.raises(Refused, match="There is a branch `onhand`, beside which"):
        await checkout.push(source, change, BRANCH, TOKEN)


@pytest.mark.parametrize(
    "url",
    ["file:///etc", "/etc", "ext::sh -c id", "ssh://x/y", "-u", "http://user:pw@host/x", "git@host:x", "http://a b/c"],
)
async def test_an_address_that_is_not_plain_http_is_refused(url: str, checkout: GitCheckout) -> None:
    with pytest.raises(Refused):
        await checkout.fetch(Source(Repository("github", "o/r"), url, "main"), TOKEN)


# --- hostile boxes ---------------------------------------------------------------------------------------------------


async def test_a_history_that_does_not_come_from_the_base_is_refused(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "git checkout -q --orphan other && echo 1 >one && git add . && git commit -qm Other")
    with pytest.raises(Refused, match="no longer builds on"):
        await take(checkout, source, base, box)


async def test_a_rewritten_history_is_refused(checkout: GitCheckout, source: Source, base: str, box: Sandbox) -> None:
    await said(box, "git commit -q --amend -m Mine")
    with pytest.raises(Refused, match="no longer builds on"):
        await take(checkout, source, base, box)


@pytest.mark.parametrize("rubbish", [b"no bundle\n", random.Random(7).randbytes(100_000), b""], ids=len)
async def test_rubbish_instead_of_a_bundle_is_a_sandbox_error(
    rubbish: bytes, checkout: GitCheckout, source: Source, base: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_path: str, **_: object) -> bytes:
        return rubbish  # whoever is in the box may answer so

    await said(box, "echo 1 >one")
    monkeypatch.setattr(box, "read", read)
    with pytest.raises(SandboxError):
        await take(checkout, source, base, box)


async def test_huge_work_is_not_read_and_that_is_said(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, "head -c 67500000 /dev/urandom >huge")
    with pytest.raises(Refused, match="larger than 64 MB"):
        await take(checkout, source, base, box)


async def test_nothing_that_the_box_configured_runs_in_the_worker(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox, tmp_path: Path
) -> None:
    mark = tmp_path / "pwned"
    await said(
        box,
        f"""git config core.fsmonitor 'touch {mark}'; git config diff.external 'touch {mark}'
        git config core.sshCommand 'touch {mark}'; git config filter.x.clean 'touch {mark}; cat'
        git config protocol.ext.allow always
        echo '* filter=x diff=x' >.gitattributes
        for hook in pre-commit post-commit pre-push reference-transaction; do
            printf '#!/bin/sh\\ntouch {mark}\\n' >.git/hooks/$hook; chmod +x .git/hooks/$hook
        done
        ln -s /etc/passwd link
        printf '[submodule "x"]\\n\\tpath = x\\n\\turl = ssh://127.0.0.1:1/x\\n' >.gitmodules""",
    )
    change = await take(checkout, source, base, box)
    assert change is not None
    await checkout.push(source, change, BRANCH, TOKEN)
    assert not mark.exists()


@pytest.mark.parametrize("commit", ["", "&& git -C inner -c user.name=x -c user.email=x commit -q --allow-empty -m x"])
async def test_a_repository_inside_the_working_copy_is_left_out(
    commit: str, checkout: GitCheckout, source: Source, base: str, box: Sandbox
) -> None:
    await said(box, f"git init -q inner {commit} && echo 1 >inner/file && echo 1 >one")
    change = await take(checkout, source, base, box)
    assert change is not None
    assert change.files == (("one", 1, 0),)


async def test_a_hostile_name_of_a_person_stays_a_name(checkout: GitCheckout, source: Source, box: Sandbox) -> None:
    commit = await checkout.fetch(source, TOKEN)
    evil = "Eve '$(touch /tmp/pwned)' \n\nSigned-off-by: x <e\nve@x>"
    await checkout.put(source, commit, BRANCH, box, BOT, evil)
    await said(box, "echo 1 >one && git add . && git commit -qm One")
    assert await said(box, "ls /tmp/pwned 2>&-; git log -1 --format=%B") == (
        "One\n\nCo-authored-by: Eve '$(touch /tmp/pwned)'  Signed-off-by: x <eve@x>\n\n"
    )


async def test_the_token_is_neither_in_the_box_nor_in_the_mirror_nor_in_arguments(
    checkout: GitCheckout, source: Source, base: str, box: Sandbox, tmp_path: Path
) -> None:
    look = "env; cat /proc/[0-9]*/cmdline ~/.git* .git/config; grep -rIl canary-toke[n] /workspace /tmp /run /etc ~"
    seen = await box.run(look, timeout=60)
    assert "canary-token" not in seen.output
    kept = [path for path in (tmp_path / "mirrors").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"canary-token" in path.read_bytes() or b"Y2FuYXJ5" in path.read_bytes()]


async def test_the_token_is_in_no_argument_while_git_runs(
    server: GitServer, checkout: GitCheckout, source: Source
) -> None:
    seen: list[bytes] = []

    async def look() -> None:
        while True:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: ASYNC230
                        seen.append(file.read())
                except OSError:
                    continue
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await checkout.fetch(source, TOKEN)
    looking.cancel()
    assert any(b"fetch" in line for line in seen)
    assert not any(b"canary-token" in line or b"extraHeader" in line for line in seen)


# --- containers ------------------------------------------------------------------------------------------------------


@pytest.mark.docker
async def test_a_container_takes_and_gives_work_as_well(
    server: GitServer, checkout: GitCheckout, source: Source, docker: Sandboxes
) -> None:
    box = await docker.create({})
    commit = await checkout.fetch(source, TOKEN)
    await checkout.put(source, commit, BRANCH, box, BOT, ALICE)
    await said(box, "echo 1 >one")
    change = await take(checkout, source, commit, box)
    assert change is not None
    await checkout.push(source, change, BRANCH, TOKEN)
    assert "one" in await server.files("octo/hello", BRANCH)


async def test_a_plain_process_takes_and_gives_work_as_well(
    server: GitServer, checkout: GitCheckout, source: Source, process: Sandboxes
) -> None:
    box = await process.create({})
    commit = await checkout.fetch(source, TOKEN)
    await checkout.put(source, commit, BRANCH, box, BOT, ALICE)
    await said(box, "echo 1 >one")
    change = await take(checkout, source, commit, box)
    assert change is not None
    assert change.files == (("one", 1, 0),)
