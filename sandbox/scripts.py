"""What the checkout lets run inside a box: shell scripts that use the box's own git. Their arguments are data."""

import re
import shlex

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
where the files are there already, "mixed"."""

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

HAND_OUT = """set -e
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
unset -f git
PATH=/usr/local/bin:/usr/bin:/bin:$PATH
export GIT_TERMINAL_PROMPT=0 GIT_EDITOR=true GIT_PAGER=cat GIT_CEILING_DIRECTORIES=${PWD%/*}/
export GIT_CONFIG_COUNT=5 GIT_CONFIG_KEY_0=core.fsmonitor GIT_CONFIG_VALUE_0=false GIT_CONFIG_KEY_1=commit.gpgSign
export GIT_CONFIG_VALUE_1=false GIT_CONFIG_KEY_2=core.safecrlf GIT_CONFIG_VALUE_2=false
export GIT_CONFIG_KEY_3=core.hooksPath GIT_CONFIG_VALUE_3=/dev/null GIT_CONFIG_KEY_4=core.commentChar GIT_CONFIG_VALUE_4=$'\\001'
message=$(cat)
find . -type d ! -perm -u=rwx -exec chmod u+rwx {} \\; -o -type f ! -perm -u=r -exec chmod u+r {} + || true
[ -d .git ] || exit 3
find .git -path .git/objects -prune -o \\( -name '*.lock' -o -type p \\) -prune -exec rm -rf {} + || true
find .git -path .git/objects -prune -o -type f ! -perm -u=w -exec chmod u+w {} + || true
sane() {
    git var GIT_COMMITTER_IDENT && git var GIT_AUTHOR_IDENT && test "$(git rev-parse --is-inside-work-tree)" = true &&
        git rev-parse --verify HEAD^{commit} && { git diff --cached --quiet --no-ext-diff || [ $? = 1 ]; }
} >/dev/null 2>&1
begin_anew() {
    mkdir -p .git/objects .git/refs
    sed -i '/^[0-9a-f]* refs\\/[^ ]*$/!d' .git/packed-refs
    git rev-parse --git-dir || { rm -rf .git/HEAD; printf 'ref: refs/heads/%s\\n' "$2" >.git/HEAD; }
    git rev-parse --verify HEAD^{commit} || git update-ref HEAD "$1" || printf '%s\\n' "$1" >.git/HEAD
} >/dev/null 2>&1
sane || export GIT_CONFIG_GLOBAL=/dev/null
sane || cp -- "$4" .git/config || true
sane || begin_anew "$1" "$5" || true
sane || { rm -rf .git/index; git reset --quiet; } || true
sane && git cat-file -e "$1^{commit}" 2>/dev/null || exit 3
if marked=$(git ls-files -v | grep '^[a-zS] '); then
    printf '%s\\n' "$marked" | sed -n 's/^[a-z] //p' | git update-index --no-assume-unchanged --stdin || true
    printf '%s\\n' "$marked" | sed -n 's/^[Ss] //p' |
        while IFS= read -r file; do [ ! -e "$file" ] || printf '%s\\n' "$file"; done |
        git update-index --no-skip-worktree --stdin || true
fi
add() { GIT_LITERAL_PATHSPECS=1 git -c advice.addEmbeddedRepo=false add --all --ignore-errors -- "$1" >/dev/null 2>&1; }
add . || git ls-files -z --modified --others --exclude-standard | while IFS= read -r -d '' file; do add "$file" || true; done
git -c core.quotePath=false diff --cached --raw --no-renames --diff-filter=A | sed -n 's/^:000000 160000 [^\\t]*\\t//p' |
    while IFS= read -r nested; do git rm --quiet --cached --force -- "$nested"; done
if ! git diff --cached --quiet; then
    trailer=$(git config onhand.coAuthor || true)
    if [ -n "$trailer" ]; then
        message=$(printf '%s\\n' "$message" |
            git interpret-trailers --if-exists addIfDifferent --trailer "Co-authored-by: $trailer")
    fi
    printf '%s\\n' "$message" | git commit --quiet --no-verify --cleanup=strip --file=-
fi
git status --porcelain --untracked-files=normal --no-renames | cut -c4- | head -n 20 | sed 's/^/left out: /'
git -c core.quotePath=false diff-tree -r --raw --no-renames --diff-filter=AT --ignore-submodules=none "$1" HEAD |
    sed -n 's/^:[0-7]* 160000 [^\\t]*\\t//p' | head -n 20 | while IFS= read -r nested; do
        git config --blob HEAD:.gitmodules --get-regexp '[.]path$' 2>/dev/null | cut -d' ' -f2- | grep -Fxq -e "$nested" ||
            [ -n "$(GIT_LITERAL_PATHSPECS=1 git status --porcelain -- "$nested")" ] || printf 'left out: %s\\n' "$nested"
    done
git for-each-ref --no-merged=HEAD --count=20 --format='left out: %(refname)' refs/heads refs/stash || true
[ "$(git symbolic-ref --quiet HEAD)" != refs/heads/HEAD ] || git update-ref --no-deref HEAD "$(git rev-parse HEAD)"
git for-each-ref --format='delete %(refname)' refs/HEAD refs/heads/HEAD refs/tags/HEAD | git update-ref --no-deref --stdin || true
if [ "$(git rev-parse HEAD)" = "$1" ]; then echo nothing; exit 0; fi
git bundle create --quiet "$2" HEAD ${3:+"^$1"}
echo
wc -c <"$2"
"""
"""Commit what is not committed, and bundle. Stdin: a message.

Arguments: base commit, file, "known" or nothing, kept settings, branch.

The agent may have put another git in front, broken its settings, index or HEAD, told it to overlook files, or taken rights from
them, and a pipe in .git has git wait for ever. A git that was killed leaves locks; and of one file that it cannot store, git leaves
all files out that were to be stored with it. What is left out in the end (it cannot be stored, is a repository of its own, or lies
in a stash or on another branch) is printed, before "nothing" or the bundle's size. It ends with NO_BASE where nothing can be done
without another repository.
"""

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
