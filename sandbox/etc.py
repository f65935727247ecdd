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
def install_etc(home: Path, host: Path = _HOST) -> Path:
    """Return the folder, laid there if this machine's /etc (`host`) is not the one that it was made from.

    Only what anybody may read is in it: a worker that is root reads more than a box may.
    """
    sources = [host / part for part in _PARTS if (host / part).exists()]
    facts = [_fact(path) for source in sources for path in (source, *_below(source))]
    name = hashlib.sha256(repr((facts, _OURS)).encode()).hexdigest()[:16]
    etc = home / "program" / f"etc-{name}"
    if not etc.exists():
        draft = etc.with_name(f"{etc.name}.{secrets.token_hex(4)}")
        _open_folder(draft)
        for source in sources:
            if all(map(_open_to_all, (source.resolve(), *source.resolve().parents))):
                _copy(source, draft / source.relative_to(host))
        for part, text in _OURS.items():
            (draft / part).write_text(text)
            (draft / part).chmod(0o644)
        with contextlib.suppress(OSError):  # another worker was quicker
            draft.rename(etc)
        shutil.rmtree(draft, ignore_errors=True)
    return etc


def _below(source: Path) -> Iterator[Path]:
    yield from sorted(source.rglob("*")) if source.is_dir() else ()


def _fact(path: Path) -> tuple[str, int, int, int]:
    found = path.lstat()
    return str(path), found.st_mode, found.st_size, found.st_mtime_ns


def _copy(source: Path, to: Path) -> None:
    """Copy a file, or a folder with the links in it."""
    _open_folder(to.parent)
    with contextlib.suppress(OSError):  # shutil.Error is one
        if source.is_dir():
            shutil.copytree(source, to, symlinks=True, ignore=_closed)
        else:
            shutil.copy2(source, to)


def _closed(folder: str, names: list[str]) -> list[str]:
    """Return which of a folder's entries are not for everybody. A link is only a name, for whatever is there in the box."""
    paths = (Path(folder, name) for name in names)
    return [path.name for path in paths if not path.is_symlink() and not _open_to_all(path)]


def _open_to_all(path: Path) -> bool:
    wanted = 0o005 if path.is_dir() else 0o004
    return path.stat().st_mode & wanted == wanted


def _open_folder(folder: Path) -> None:
    """Make a folder of ours that anybody may look into, whatever the umask is."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
