"""What bubblewrap is told: which files of this machine a box may see, and in which namespaces it lives (bwrap(1)).

As an ordinary user bwrap does it all. Root first sees to it that the box's files are within anybody's reach
(sandbox/reach.py), becomes a user that owns nothing else, and goes on like everybody: no process of a box is root outside.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bot.core.errors import ConfigError
from sandbox import reach
from sandbox.startup import environment

_OWN = {"workspace": "/workspace", "home": "/home/box", "run": "/run/onhand", "tmp": "/tmp"}  # noqa: S108
_SHARED = "/dev/shm"  # noqa: S108 -- on the disk like /tmp: memory that is had as files has no bounds
_FIRST_UID = 1_879_100_000  # above every range that distributions and container engines hand out
_UIDS = 100_000_000

_Child = subprocess.Popen[bytes]


class Bubblewrap:
    """Starts programs in boxes."""

    def __init__(self, *, network: bool) -> None:
        self._network = network
        self._root = os.geteuid() == 0

    def check(self) -> str:
        """Return a line that says what this is. Raises ConfigError when bwrap is missing or may not work."""
        missing = [name for name in ("bwrap", "setsid", *(["setpriv"] if self._root else [])) if not shutil.which(name)]
        if missing:
            raise ConfigError(
                f"sandbox 'local' needs {' and '.join(missing)}; install bubblewrap and util-linux "
                "(Debian, Ubuntu, Fedora: the packages of these names), or choose another sandbox"
            )
        if said := self._trial():
            raise ConfigError(
                f"sandbox 'local' cannot make a namespace: {said}. Allow user namespaces "
                "(sysctl kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0) "
                "or choose another sandbox"
            )
        version = subprocess.run(["bwrap", "--version"], check=False, capture_output=True, text=True).stdout.strip()
        network = "open" if self._network else "none"
        return f"{version}: own user, process, mount, ipc and network namespaces, no capabilities; network {network}"

    def prepare(self, box: Path) -> None:
        """Give the folder of a new box to the user that will own it."""
        if self._root:
            uid = _FIRST_UID + secrets.randbelow(_UIDS)
            for path in (box, *(box / name for name in ("workspace", "home", "tmp", "run"))):
                os.chown(path, uid, uid)

    def start(self, box: Path, shared: Mapping[str, Path], server: Sequence[str], **options: Any) -> _Child:
        """Start `server` as the first process of a box, a child of nobody here; `shared` are its `program` and `etc`.

        `options` are Popen's; what is returned has ended at once. Raises OSError.
        """
        base = Path(sys.base_prefix)
        elsewhere = {} if base.is_relative_to("/usr") else {"python": base}
        sources = {"box": box, **shared, **elsewhere}
        seen = {name: reach.PLACE / name for name in sources} if self._root else sources
        command = ["bwrap", *self._namespaces(), *_view(seen)]
        command += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"] if self._network else []
        if elsewhere:
            command += ["--ro-bind", str(seen["python"]), str(base)]
        command += ["--remount-ro", "/", "--chdir", "/workspace", "--clearenv"]
        path = (f"{base}/bin:" if elsewhere else "") + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        for name, value in {**environment("/home/box", "/workspace"), "PATH": path}.items():
            command += ["--setenv", name, value]
        return self._begin([*command, *server], sources, box.stat().st_uid, ["setsid", "--fork"], **options)

    def _trial(self) -> str:
        """Return what stands in the way of a box, nothing when one can be made."""
        command = ["bwrap", *self._namespaces(), "--ro-bind", "/usr", "/usr", *_links(), "true"]
        try:
            child = self._begin(command, {}, _FIRST_UID, [], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except OSError as error:
            return str(error)
        said = child.communicate()[1].decode(errors="replace").strip()
        return said or f"bwrap ended with {child.returncode}" if child.returncode else ""

    def _begin(
        self, command: list[str], sources: Mapping[str, Path], owner: int, first: list[str], **options: Any
    ) -> _Child:
        environment = {"PATH": os.defpath}
        if not self._root:
            return subprocess.Popen([*first, *command], env=environment, **options)
        ids = [f"--reuid={owner}", f"--regid={owner}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        return reach.start([*first, "setpriv", *ids, *command], sources, env=environment, **options)

    def _namespaces(self) -> list[str]:
        flags = ["--unshare-all", "--unshare-user", "--as-pid-1", "--new-session", "--cap-drop", "ALL"]
        flags += ["--uid", "1000", "--gid", "1000", "--hostname", "onhand"]
        flags += ["--share-net"] if self._network else []
        return flags + (["--disable-userns"] if _knows("--disable-userns") else [])


def _view(seen: Mapping[str, Path]) -> list[str]:
    """Return the mounts: the machine's programs, read-only; of /etc what programs need; the box's own folders."""
    view = ["--ro-bind", "/usr", "/usr", *_links(), "--proc", "/proc", "--dev", "/dev"]
    for name, place in _OWN.items():
        view += ["--bind", str(seen["box"] / name), place]
    view += ["--bind", str(seen["box"] / "tmp"), _SHARED, "--remount-ro", "/dev"]
    return [*view, "--ro-bind", str(seen["etc"]), "/etc", "--ro-bind", str(seen["program"]), "/run/program"]


def _links() -> list[str]:
    """Return the top folders of programs as this machine has them: links into /usr, or folders."""
    arguments: list[str] = []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    return arguments


@cache
def _knows(option: str) -> bool:
    """Whether this machine's bwrap has an option; --disable-userns came with 0.8."""
    asked = subprocess.run(["bwrap", "--help"], check=False, capture_output=True, text=True)
    return option in asked.stdout + asked.stderr
