"""What the checkout lets run inside a box: shell scripts that use the box's own git. Their arguments are data."""

import re
import shlex
from pathlib import Path

_START = 'w=${WORKSPACE:-/workspace}; [ -r "$w" -a -w "$w" -a -x "$w" ] || chmod u+rwx -- "$w"; cd -- "$w" && '

KEPT_CONFIG = ".git/onhand-config"
"""Where the repository's settings are kept as they were: those in use may be broken when the work is handed out."""

HAS_WORK = 'test "$(git symbolic-ref --quiet --short HEAD)" = "$1" && git rev-parse --quiet --verify HEAD'
"""Whether the working copy is there already. Argument: branch."""

HOOK = """#!/bin/sh
trailer=$(git config onhand.coAuthor) || exit 0
git interpret-trailers --in-place --if-exists addIfDifferent --trailer "Co-authored-by: $trailer" "$1"
"""
"""Names the co-author in every commit."""

LAY_OUT = f"""set -e
export GIT_TERMINAL_PROMPT=0
git init --quiet --initial-branch="$1" .
git symbolic-ref HEAD "refs/heads/$1"
if [ -n "$7" ]; then git update-ref "refs/remotes/origin/$6" "$7"; fi
git reset --quiet "--$8" "$2"
if [ "$8" = mixed ] && files=$(git ls-files | wc -l) && [ "$files" -gt 0 -a "$files" = "$(git ls-files --deleted | wc -l)" ]; then
    echo 'none of the files is there any more'
    exit 1
fi
git config user.name "$3"
git config user.email "$4"
if [ -n "$5" ]; then
    git config onhand.coAuthor "$5"
    mkdir -p .git/hooks
    cat >.git/hooks/commit-msg <<'EOF'
{HOOK}EOF
    chmod +x .git/hooks/commit-msg
fi
cp .git/config {KEPT_CONFIG}
"""
"""Lay out the working copy of a pack.

Arguments: branch, commit, author's name and mail, co-author or nothing, base's name and commit, "hard" or,
where the files are there already, "mixed"; then a workspace without any of them was lost, and is no work."""

REMOVE_GIT = "rm -rf .git"
"""Make room for a repository in the place of one that the work cannot be taken from."""

NO_BASE = 3
"""What HAND_OUT ends with when there is no repository that holds the commit from which the work began."""

REST = ".git/onhand-rest"
"""Where WRITE_REST finds the paths that are still to be written, each followed by a NUL."""

WRITE_REST = f"""set -e
export GIT_TERMINAL_PROMPT=0 GIT_LFS_SKIP_SMUDGE=1
git checkout-index --force --index -z --stdin <{REST}
rm {REST}
"""

HAND_OUT = Path(__file__).with_name("hand_out.sh").read_text("utf-8")
"""Commit what is not committed, and bundle."""

CLEAN_UP = 'rm -f -- "$1"'
"""Remove a file. Argument: its path."""


def command(script: str, *arguments: str) -> str:
    """Return the command that runs a script with arguments in the workspace."""
    return " ".join(
        shlex.quote(word) for word in ("/bin/bash", "-c", _START + "{ " + script + "\n}", "onhand", *arguments)
    )


def person(text: str) -> tuple[str, str]:
    """Read `Name <mail>`; nothing in it may end a line or a bracket early."""
    name, _, mail = text.rpartition(" <") if "<" in text else (text, "", "")
    clean = [re.sub(r"[<>\x00-\x1f\x7f\u0085\u2028\u2029]+", " ", part).strip() for part in (name, mail)]
    return clean[0] or "onhand", clean[1].replace(" ", "")
