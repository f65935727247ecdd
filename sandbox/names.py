"""What git may be given: names of branches and refs, ids of commits, addresses of repositories. Pure."""

import re
from urllib.parse import urlsplit

from bot.core.errors import Refused

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)")


def branch_ref(name: str) -> str:
    """Return `refs/heads/<name>` (rules of git-check-ref-format(1)). Raises Refused for what is no branch's name."""
    wrong = (
        _FORBIDDEN.search(name) or name[:1] in ("-", "/", ".", "") or name[-1:] in ("/", ".") or name in ("@", "HEAD")
    )
    if wrong or len(name.encode(errors="replace")) > 240 or not name.isprintable():
        raise Refused("branch", f"{name[:60]!a} is not a name that git allows for a branch; please use another one.")
    return f"refs/heads/{name}"


def read_ref(name: str) -> str:
    """Return a full name of what a forge lets be read beside branches, such as `refs/pull/7/head`. Raises Refused."""
    if not re.fullmatch(r"refs/[a-z-]{1,40}/[0-9]{1,19}/head", name):
        raise Refused("branch", f"{name[:60]!a} is not a name under which a forge shows a change.")
    return name


def address(url: str) -> str:
    """Return the address if it is one of git over HTTP without credentials in it. Raises Refused."""
    parts = urlsplit(url)
    plain = url.isprintable() and " " not in url and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password or not plain:
        raise Refused("address", f"{url[:100]!a} is not an address of a repository over http or https.")
    return url


def commit_id(text: str) -> str:
    """Return the text if it is a full id of a commit. Raises Refused."""
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", text) or not text.strip("0"):  # zeros would delete
        raise Refused("commit", f"expected the full id of a commit, got {text[:80]!a}.")
    return text
