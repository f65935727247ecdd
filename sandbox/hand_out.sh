# Commits what is not committed, and bundles the work. Runs inside the box, with the box's own bash and git.
#
# Arguments: base commit, file, "known" (the base need not be in the bundle) or nothing, kept settings, branch. Stdin: a message.
# Prints what is left out in the end, then "nothing" or the bundle's size. Ends with 3 (NO_BASE) where there is no repository that
# holds the base commit.
#
# The agent may have broken anything: whatever can be mended is mended first.
set -e

# Another git in front, or other places.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
unset -f git
PATH=/usr/local/bin:/usr/bin:/bin:$PATH
export GIT_TERMINAL_PROMPT=0 GIT_EDITOR=true GIT_PAGER=cat GIT_CEILING_DIRECTORIES=${PWD%/*}/
# No program of the repository's settings runs, and no line of a message is a comment.
export GIT_CONFIG_COUNT=5
export GIT_CONFIG_KEY_0=core.fsmonitor GIT_CONFIG_VALUE_0=false
export GIT_CONFIG_KEY_1=commit.gpgSign GIT_CONFIG_VALUE_1=false
export GIT_CONFIG_KEY_2=core.safecrlf GIT_CONFIG_VALUE_2=false
export GIT_CONFIG_KEY_3=core.hooksPath GIT_CONFIG_VALUE_3=/dev/null
export GIT_CONFIG_KEY_4=core.commentChar GIT_CONFIG_VALUE_4=$'\001'
message=$(cat)

# Rights that were taken; locks of a git that was killed; pipes, for which git waits for ever.
find . -type d ! -perm -u=rwx -exec chmod u+rwx {} \; -o -type f ! -perm -u=r -exec chmod u+r {} + || true
[ -d .git ] || exit 3
find .git -path .git/objects -prune -o \( -name '*.lock' -o -type p \) -prune -exec rm -rf {} + || true
find .git -path .git/objects -prune -o -type f ! -perm -u=w -exec chmod u+w {} + || true

# Settings, HEAD and index, each begun anew only where git cannot work with it.
sane() {
    git var GIT_COMMITTER_IDENT && git var GIT_AUTHOR_IDENT && test "$(git rev-parse --is-inside-work-tree)" = true &&
        git rev-parse --verify HEAD^{commit} && { git diff --cached --quiet --no-ext-diff || [ $? = 1 ]; }
} >/dev/null 2>&1
begin_anew() {
    mkdir -p .git/objects .git/refs
    sed -i '/^[0-9a-f]* refs\/[^ ]*$/!d' .git/packed-refs
    git rev-parse --git-dir || { rm -rf .git/HEAD; printf 'ref: refs/heads/%s\n' "$2" >.git/HEAD; }
    git rev-parse --verify HEAD^{commit} || git update-ref HEAD "$1" || printf '%s\n' "$1" >.git/HEAD
} >/dev/null 2>&1
sane || export GIT_CONFIG_GLOBAL=/dev/null
sane || cp -- "$4" .git/config || true
sane || begin_anew "$1" "$5" || true
sane || { rm -rf .git/index; git reset --quiet; } || true
sane && git cat-file -e "$1^{commit}" 2>/dev/null || exit 3

# Files that git was told to overlook.
if marked=$(git ls-files -v | grep '^[a-zS] '); then
    printf '%s\n' "$marked" | sed -n 's/^[a-z] //p' | git update-index --no-assume-unchanged --stdin || true
    printf '%s\n' "$marked" | sed -n 's/^[Ss] //p' |
        while IFS= read -r file; do [ ! -e "$file" ] || printf '%s\n' "$file"; done |
        git update-index --no-skip-worktree --stdin || true
fi

# Of one file that it cannot store, git leaves all out that were to be stored with it: then they are added one by one.
add() { GIT_LITERAL_PATHSPECS=1 git -c advice.addEmbeddedRepo=false add --all --ignore-errors -- "$1" >/dev/null 2>&1; }
add . || git ls-files -z --modified --others --exclude-standard | while IFS= read -r -d '' file; do add "$file" || true; done
# A repository inside would be a name without files.
git -c core.quotePath=false diff --cached --raw --no-renames --diff-filter=A | sed -n 's/^:000000 160000 [^\t]*\t//p' |
    while IFS= read -r nested; do git rm --quiet --cached --force -- "$nested"; done

if ! git diff --cached --quiet; then
    trailer=$(git config onhand.coAuthor || true)
    if [ -n "$trailer" ]; then
        message=$(printf '%s\n' "$message" |
            git interpret-trailers --if-exists addIfDifferent --trailer "Co-authored-by: $trailer")
    fi
    printf '%s\n' "$message" | git commit --quiet --no-verify --cleanup=strip --file=-
fi

# What is left out: what cannot be stored, repositories inside (also committed ones that .gitmodules does not name), other branches.
git status --porcelain --untracked-files=normal --no-renames | cut -c4- | head -n 20 | sed 's/^/left out: /'
git -c core.quotePath=false diff-tree -r --raw --no-renames --diff-filter=AT --ignore-submodules=none "$1" HEAD |
    sed -n 's/^:[0-7]* 160000 [^\t]*\t//p' | head -n 20 | while IFS= read -r nested; do
        git config --blob HEAD:.gitmodules --get-regexp '[.]path$' 2>/dev/null | cut -d' ' -f2- | grep -Fxq -e "$nested" ||
            [ -n "$(GIT_LITERAL_PATHSPECS=1 git status --porcelain -- "$nested")" ] || printf 'left out: %s\n' "$nested"
    done
git for-each-ref --no-merged=HEAD --count=20 --format='left out: %(refname)' refs/heads refs/stash || true

# Refs called HEAD, beside which git does not know which one is bundled.
[ "$(git symbolic-ref --quiet HEAD)" != refs/heads/HEAD ] || git update-ref --no-deref HEAD "$(git rev-parse HEAD)"
git for-each-ref --format='delete %(refname)' refs/HEAD refs/heads/HEAD refs/tags/HEAD | git update-ref --no-deref --stdin || true

if [ "$(git rev-parse HEAD)" = "$1" ]; then
    echo nothing
    exit 0
fi
git bundle create --quiet "$2" HEAD ${3:+"^$1"}
echo
wc -c <"$2"
