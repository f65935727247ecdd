"""What boxes on this machine see as /etc: a copy of those parts that programs need, made once and shared by all boxes.

HOME/program/etc-<hash>/    one mount a box, where sixteen of its thirty mounts would be parts of /etc
"""

import contextlib
import hashlib
import secrets
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_HOST = Path("/etc")
_PARTS = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "services", "protocols"),
    *("ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki", "crypto-policies", "debian_version", "os-release"),
    f"python{sys.version_info.major}.{sys.version_info.minor}",
)
_OURS = {
    "passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nbox:x:1000:1000:box:/home/box:/bin/bash\n",
    "group": "root:x:0:\nbox:x:1000:\n",
    "hosts": "127.0.0.1 localhost onhand\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
}


@cache
def install_etc(home: Path) -> Path:
    """Return the folder, laid there if this machine's /etc is not the one that it was made from."""
    sources = [_HOST / part for part in _PARTS if (_HOST / part).exists()]
    facts = [_fact(path) for source in sources for path in (source, *_below(source))]
    name = hashlib.sha256(repr((facts, _OURS)).encode()).hexdigest()[:16]
    etc = home / "program" / f"etc-{name}"
    if not etc.exists():
        draft = etc.with_name(f"{etc.name}.{secrets.token_hex(4)}")
        for source in sources:
            _copy(source, draft / source.relative_to(_HOST))
        for name, text in _OURS.items():
            (draft / name).write_text(text)
        for folder in (draft, *(path for path in draft.rglob("*") if path.is_dir() and not path.is_symlink())):
            folder.chmod(0o755)
        with contextlib.suppress(OSError):  # another worker was quicker
            draft.rename(etc)
        shutil.rmtree(draft, ignore_errors=True)
    return etc


def _below(source: Path) -> Iterator[Path]:
    yield from sorted(source.rglob("*")) if source.is_dir() else ()


def _fact(path: Path) -> tuple[str, int, int]:
    found = path.lstat()
    return str(path), found.st_size, found.st_mtime_ns


def _copy(source: Path, to: Path) -> None:
    """Copy a file or folder with the links in it; what may not be read here, a box would not have read either."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # shutil.Error is one
        if source.is_dir():
            shutil.copytree(source, to, symlinks=True)
        else:
            shutil.copy2(source, to)
