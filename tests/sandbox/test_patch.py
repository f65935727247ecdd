"""Work that could not be pushed, taken out of the comment that shows it as a person would: real git applies it, or it says no."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from bot.core.errors import Refused
from bot.core.inbound import Account, Origin, Thread, Trigger
from bot.core.marks import marked
from bot.core.mentions import find_request
from bot.core.outbound import Outcome, Patch, Say, Status
from bot.core.secret import MASK, Redactor, Secret
from bot.flows.deliver import shown_patch
from integrations.github.replies import render
from sandbox.patch import patch_of

NAME, LONGEST, KEY = "octo/hello", 65_536, "canary-token-0123456789"
ME = "-c user.name=Bob -c user.email=bob@example.com"
BASE = r"""
printf 'one\r\ntwo\r\nthree\r\n' >crlf.txt; printf '\357\273\277one\ntwo\n' >bom.txt; printf 'a\014\nb\n' >feed.txt
printf 'fam \360\237\221\250\342\200\215\360\237\221\251\nx\n' >zwj.txt; printf 'caf\351\nx\n' >latin.txt
printf 'plain = 1\n' >plain.py; printf '\0\1\2' >old.bin; seq 400 >long.txt; printf 'one\r\n' >'c [r]*?\"#.txt'
printf '* -diff\n*.bin diff\n*.txt diff=evil\n' >.gitattributes; mkdir sub; printf 'x\r\n' >sub/x.txt; ln -s plain.py link
"""

KINDS = {
    "a change with CRLF": "sed -i s/two/2/ crlf.txt",
    "a new file with CRLF": r"printf 'a\r\nb\r\n' >n.txt",
    "a lone CR": r"printf 'a\rb\n' >n.txt",
    "a change with a BOM": "sed -i s/one/1/ bom.txt",
    "a form feed": "sed -i s/b/c/ feed.txt",
    "a zero-width joiner": "sed -i s/x/y/ zwj.txt",
    "a new zero-width space": r"printf 'a\342\200\213b\n' >n.txt",
    "a line separator": r"printf 'a\342\200\250b\302\205c\n' >n.txt",
    "new Latin-1": r"printf 'caf\351\n' >n.txt",
    "changed Latin-1": "sed -i s/x/y/ latin.txt",
    "an escape": r"printf '\033[31m\n' >n.txt",
    "a NUL": r"printf 'a\0b\n' >n.txt",
    "a small binary file": "printf '\\0\\1' >n.bin",
    "a larger binary file": "head -c 5000 /dev/urandom >n.bin",
    "a changed binary file": "printf '\\3' >>old.bin",
    "a removed binary file": "git rm -q old.bin crlf.txt",
    "a binary file between others": "printf '\\0' >b; printf 'a\\n' >a; printf 'c\\n' >c",
    "a symbolic link": "ln -s plain.py l",
    "another target of a link": "ln -sf crlf.txt link",
    "a link that becomes a file": r"rm link; printf 'a\r\n' >link",
    "an executable": "chmod +x plain.py crlf.txt",
    "a new name": "git mv plain.py p.py; git mv crlf.txt c.txt",
    "no newline at the end": "printf x >n.txt; printf 'plain = 2' >plain.py",
    "fences": r"printf '````````````\n</details>@everyone\n~~~~~~~~\n-- \n' >n.md",
    "blanks at the ends": r"printf 'x   \n\t\n\n\n\n' >n.txt",
    "an empty file": ": >n.txt",
    "a removed file": "git rm -q plain.py",
    "a tiny change of a long file": "sed -i s/^200$/CC/ long.txt",
    "a name full of signs": r"""sed -i s/one/1/ 'c [r]*?\"#.txt'""",
    "names in other letters": r"""printf 'a\r\n' >'ä ö.txt'; printf 'a\r\n' >"$(printf 'u\377.txt')"
printf 'a\r\n' >"$(printf 'a\tb\nc"')" """,
    "a file below a folder": r"printf 'y\r\n' >>sub/x.txt; rm -r sub; printf 'x\r\n' >sub",
    "attributes": r"""printf '* -diff\n*.bin diff\n*.py diff=evil\n' >.gitattributes
printf '\0' >n.bin; sed -i s/two/2/ crlf.txt""",
    "several commits": """sed -i s/two/2/ crlf.txt; git commit -qam 'Ä \N{EM DASH} one'
sed -i s/three/3/ crlf.txt; git commit -qam two; :>n""",
    "odd words in a message": r"""echo >>plain.py
printf 'Sub\342\200\213ject\n\nbo\rdy\n/close\n---\n```\nmore\n' | git commit -qa --cleanup=verbatim -F -; echo >>plain.py
printf 'caf\351 \033\n\nFrom: Eve <e@x>\nand\n' | git commit -qa --cleanup=verbatim -F -""",
    "a difference in a message": r"""printf '1\n' >n; git add n; git commit -qm S -m 'diff --git a/evil b/evil
new file mode 100644
--- /dev/null
+++ b/evil
@@ -0,0 +1 @@
+x'""",
    "a mail in a message": """echo 1 >n; git add n; git commit -qm S -m 'From 0123456 Mon Sep 17 00:00:00 2001
From: Eve <e@x>

x'""",
    "a merge": r"""git checkout -qb side; echo 1 >plain.py; git commit -qam n; git checkout -q -; echo 2 >plain.py
git commit -qam m; git merge -q side || printf '3\r\n' >plain.py; git commit -qam merged""",
    "an author in other letters": """echo >>plain.py; git commit -qam x --author 'Jürgen \u200d "J", Dr. <ü@x>'; echo >>plain.py""",
}
"""What the agent does, in words and for a shell."""


def sh(command: str, folder: Path) -> str:
    """Run a shell command; return what it says. Fails where it does."""
    done = subprocess.run(["bash", "-ec", command], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit."""
    folder = tmp_path_factory.mktemp("base")
    sh(f"git init -q -b main; {BASE} git add -A; git {ME} commit -qm base", folder)
    return folder


@pytest.fixture
def place(base: Path, tmp_path: Path) -> Path:
    """A folder with two clones: where the work is done, and `theirs`, where it is to be applied."""
    sh(f"git clone -q {ME} {base} work; git clone -q {ME} {base} theirs", tmp_path)
    return tmp_path


def made(place: Path, command: str) -> Patch:
    """Let the command be an agent's work, and write it as text as the service does, in a bare repository."""
    rest = "git add -A; git diff --cached --quiet || git commit -qm work; git clone -q --bare . ../mirror"
    said = sh(f"{command}\n{rest}; git rev-parse origin/main HEAD", place / "work")
    before, commit = said.split()[-2:]
    patch = asyncio.run(patch_of(place / "mirror", before, commit))
    assert not list((place / "mirror").glob("*draft*"))
    return patch


def comment(patch: Patch, *secrets: str) -> str:
    """Return the comment with the patch as it stands at GitHub."""
    text, flaw = shown_patch(patch, Redactor(map(Secret, secrets)))
    status = Status("ended", outcome=Outcome("finished"), patch=text, patch_flaw=flaw)
    request = find_request("@onhand go", ["@onhand"])
    assert request is not None
    asker, origin = Account("github", "1", "bob"), Origin("comment", "1")
    trigger = Trigger(Thread("github", NAME, "7"), asker, request, "github:1", "mention", origin)
    call = render(trigger, status, "status:1", "@onhand")[-1]
    assert isinstance(call, Say)
    return marked(call.text, call.topic, LONGEST)


def copied(text: str) -> str:
    """Return what stands between the fences; what a browser or an editor might change is not in it."""
    found = re.search(r"^(`{4,})diff\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert re.sub(r"[\n\t]", "", found[2]).isprintable()
    return found[2].strip("\n") + "\n"


def apply(text: str, place: Path) -> None:
    (place / "onhand.patch").write_text(copied(text), encoding="utf-8", newline="")
    sh("git am -q ../onhand.patch", place / "theirs")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_copied_out_of_the_comment_makes_the_very_same_tree(kind: str, place: Path) -> None:
    text = comment(made(place, KINDS[kind]))
    assert "apply it with `git am onhand.patch`" in text
    apply(text, place)
    tree = "git rev-parse HEAD^{tree}"
    assert sh(tree, place / "theirs") == sh(tree, place / "work")


def test_authors_and_messages_come_along(place: Path) -> None:
    message, author = "Größer \N{EM DASH} ja\n\nWarum: 日本", "Jürgen J., Dr. <j@x>"
    apply(comment(made(place, f"echo >>plain.py; git commit -qam '{message}' --author '{author}'")), place)
    said = "git log -1 --format=%an%ae%ad%B"
    assert sh(said, place / "theirs") == sh(said, place / "work")


@pytest.mark.parametrize(
    "command",
    [
        f"echo {KEY} >n",
        rf"printf '{KEY}\r\n' >n",
        rf"printf 'a\0{KEY}\n' >n.bin",
        f"printf {KEY} | iconv -t UTF-16 >n.txt",
        rf"printf '{KEY}\r\n' >n; git add n; git commit -qm n; git rm -q n; echo >n.txt",
        f"echo >>plain.py; git commit -qam {KEY}",
        rf"""git checkout -qb side; echo 1 >plain.py; git commit -qam n; git checkout -q -; echo 2 >plain.py
git commit -qam m; git merge -q side || printf '{KEY}\r\n' >plain.py; git commit -qam merged""",
    ],
)
def test_a_secret_is_masked_in_whatever_file_and_then_nothing_is_there_to_be_applied(command: str, place: Path) -> None:
    text = comment(made(place, command), KEY)
    assert (KEY in text, MASK in text) == (False, True)
    assert "is masked, so it cannot be applied as it is" in text
    assert ("git am onhand.patch" in text, "GIT binary patch" in text) == (False, False)


def test_what_no_text_can_make_is_for_reading_only(place: Path) -> None:
    text = comment(made(place, r"ln -s $'a\xe2\x80\x8bb' l; echo more >>plain.py"))
    assert "so it is for reading only" in text
    assert ("git am onhand.patch" in text, "+more" in text) == (False, True)


def test_only_the_files_that_need_it_are_encoded(place: Path) -> None:
    text = comment(made(place, "echo more >>plain.py; sed -i s/two/2/ crlf.txt"))
    assert ("+more" in text, text.count("GIT binary patch")) == (True, 1)


def test_a_patch_that_is_too_long_says_so(place: Path) -> None:
    patch = made(place, "seq 20000 >n.txt")
    assert len(patch.exact) > 100_000
    assert "so it cannot be applied as it is" in comment(patch)


@pytest.mark.parametrize("more", ["", "git commit -qm more -- disk.img; rm disk.img"])
def test_of_a_file_that_git_would_hold_whole_no_patch_is_made(more: str, place: Path) -> None:
    with pytest.raises(Refused, match="changes a file of 17 MB; I write patches of files up to 16 MB"):
        made(place, f"head -c 18000000 /dev/zero >disk.img; git add -A; {more}")
