"""Bundles that a box makes up instead of handing its work out: what is unsafe or broken is refused, and nothing of it stays."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.errors import Refused, SandboxError
from bot.core.inbound import Repository
from bot.core.outbound import Change
from bot.core.ports import Sandbox, Source
from bot.core.secret import Secret
from bot.testing.git_server import GitServer
from sandbox.checkout import GitCheckout

TOKEN = Secret("canary-token-0123456789")
BRANCH, WHO = "onhand/7-greet", "Alice <alice@example.com>"
FILE = b"pwn\n"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "forge", {TOKEN.reveal()}) as server:
        await server.create("octo/hello", {"README.md": "Hello\n"})
        yield server


class Liar:
    """A box with a working copy that hands out what it was told to, and a repository to make that in."""

    def __init__(
        self, checkout: GitCheckout, source: Source, box: Sandbox, base: str, mirror: Path, place: Path
    ) -> None:
        self.checkout, self.source, self.box, self.base, self.mirror, self._place = (
            checkout,
            source,
            box,
            base,
            mirror,
            place,
        )

    def git(self, *arguments: str, stdin: bytes = b"", where: Path | None = None) -> bytes:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=where or self._place, input=stdin, stdout=subprocess.PIPE, check=True).stdout

    def written(self, kind: str, data: bytes) -> str:
        return self.git("hash-object", "-t", kind, "-w", "--stdin", "--literally", stdin=data).decode().strip()

    def tree(self, *entries: tuple[str, str, str]) -> str:
        """Write a tree of mode, name and id, as they come."""
        rows = [f"{mode} {name}".encode() + b"\0" + bytes.fromhex(at) for mode, name, at in entries]
        return self.written("tree", b"".join(rows))

    def commit(self, tree: str) -> str:
        return self.git("commit-tree", tree, "-p", self.base, "-m", "Greet").decode().strip()

    def pack(self, *ids: str) -> bytes:
        return self.git("pack-objects", "--stdout", "-q", stdin="".join(f"{one}\n" for one in ids).encode())

    def bundle(self, commit: str, pack: bytes, head: str = "") -> bytes:
        return f"# v2 git bundle\n{head}-{self.base} x\n{commit} HEAD\n\n".encode() + pack

    def all_of(self, commit: str) -> bytes:
        """Return a bundle of a commit and what is new below it."""
        listed = self.git("rev-list", "--objects", "--no-object-names", commit, f"^{self.base}").decode().split()
        return self.bundle(commit, self.pack(*listed))

    def kept(self) -> set[bytes]:
        """Return the objects, drafts and refs of taken work that the mirror has."""
        objects = self.git("cat-file", "--batch-all-objects", "--batch-check", where=self.mirror).splitlines()
        others = [str(file).encode() for at in ("*draft*", "refs/onhand/taken/*") for file in self.mirror.glob(at)]
        return {*objects, *others}

    async def taken(self, bundle: bytes, monkeypatch: pytest.MonkeyPatch) -> Change | None:
        async def read(_path: str, **_: object) -> bytes:
            return bundle

        await self.box.run("echo 1 >one", timeout=30)
        monkeypatch.setattr(self.box, "read", read)
        return await self.checkout.take(self.source, self.base, BRANCH, self.box, "Greet")


@pytest.fixture
async def liar(server: GitServer, box: Sandbox, tmp_path: Path) -> Liar:
    source = Source(Repository("github", "octo/hello"), f"{server.url}/octo/hello.git", "main")
    checkout, place = GitCheckout(tmp_path / "mirrors"), tmp_path / "place"
    base = await checkout.fetch(source, TOKEN)
    await checkout.put(source, base, BRANCH, box, WHO, "")
    [mirror] = (tmp_path / "mirrors").glob("*.git")
    place.mkdir()
    made = Liar(checkout, source, box, base, mirror, place)
    made.git("init", "-q")
    made.git("fetch", "-q", str(mirror), base)
    return made


UNSAFE = {
    "hasDotgit": [("40000", ".GIT", "folder")],
    "hasDotdot": [("40000", "..", "folder")],
    "fullPathname": [("100644", "/tmp/pwn", "file")],
    "duplicateEntries": [("120000", "a", "file"), ("40000", "a", "folder")],
    "gitmodulesUrl": [("100644", ".gitmodules", "modules")],
}


@pytest.mark.parametrize("fault", UNSAFE)
async def test_what_git_takes_for_an_attack_is_refused_and_nothing_of_it_stays(
    fault: str, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, modules = liar.written("blob", FILE), b'[submodule "x"]\n path = x\n url = -u./payload\n'
    ids = {"file": file, "folder": liar.tree(("100644", "config", file)), "modules": liar.written("blob", modules)}
    bundle = liar.all_of(liar.commit(liar.tree(*((mode, name, ids[kind]) for mode, name, kind in UNSAFE[fault]))))
    before = liar.kept()
    with pytest.raises(Refused, match=f"the work itself for unsafe: {fault}: .* I took nothing of it") as refused:
        await liar.taken(bundle, monkeypatch)
    assert (refused.value.word, liar.kept() - before) == ("unsafe", set())


async def test_a_commit_that_is_broken_is_refused(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = liar.tree(("100644", "a", liar.written("blob", FILE)))
    text = f"tree {tree}\nparent {liar.base}\nauthor a <a@b> 1 +0000\nno committer\n\nGreet\n"
    with pytest.raises(Refused, match="missingCommitter"):
        await liar.taken(liar.all_of(liar.written("commit", text.encode())), monkeypatch)


async def test_an_old_mistake_that_is_let_in_from_forges_is_let_out_of_boxes(
    liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded = liar.tree(("040000", "old", liar.tree(("100644", "a", liar.written("blob", FILE)))))
    change = await liar.taken(liar.all_of(liar.commit(padded)), monkeypatch)
    assert change is not None
    assert ("old/a", 1, 0) in change.files


@pytest.mark.parametrize("kind", ["a file is not there", "a second ref", "a head without an end", "half of a pack"])
async def test_a_bundle_that_is_broken_is_none_and_nothing_of_it_stays(
    kind: str, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = liar.written("blob", FILE)
    tree = liar.tree(("100644", "a", file))
    commit = liar.commit(tree)
    whole = liar.pack(commit, tree, file)
    bundles = {
        "a file is not there": liar.bundle(commit, liar.pack(commit, tree)),
        "a second ref": liar.bundle(commit, whole, f"{commit} refs/onhand/heads/main\n"),
        "a head without an end": liar.bundle(commit, whole, f"-{liar.base} {'x' * 2_000_000}\n"),
        "half of a pack": liar.bundle(commit, whole[:-30]),
    }
    before = liar.kept()
    with pytest.raises(SandboxError, match="no sound bundle"):
        await liar.taken(bundles[kind], monkeypatch)
    assert liar.kept() - before == set()


async def test_work_that_is_refused_for_its_history_leaves_nothing_either(
    liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = (
        liar.git("commit-tree", liar.tree(("100644", "a", liar.written("blob", FILE))), "-m", "Mine").decode().strip()
    )
    bundle, before = liar.all_of(alone), liar.kept()
    with pytest.raises(Refused, match="no longer builds on"):
        await liar.taken(bundle, monkeypatch)
    assert liar.kept() - before == set()
