"""What bubblewrap is told: which files of this machine a box may see, and in which namespaces it lives (bwrap(1)).

As an ordinary user one bwrap does it all. Root first enters a mount namespace in which the box's files are within
anybody's reach, becomes a user that owns nothing else, and goes on like everybody: no process of a box is root outside.
"""

import os
import secrets
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from bot.core.errors import ConfigError

_OWN = {"workspace": "/workspace", "home": "/home/box", "run": "/run/onhand", "tmp": "/tmp"}  # noqa: S108
_FIRST_UID = 1_879_100_000  # above every range that distributions and container engines hand out
_UIDS = 100_000_000
_REACH = "/tmp/onhand"  # noqa: S108 - in a mount namespace where nobody else looks


class Bubblewrap:
    """Builds command lines for bwrap."""

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
        trial = subprocess.run(
            [*self._outer([]), "bwrap", *self._namespaces(), "--ro-bind", "/usr", "/usr", *_links(), "true"],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.defpath},
        )
        if trial.returncode:
            raise ConfigError(
                f"sandbox 'local' cannot make a namespace: {trial.stderr.strip()}. Allow user namespaces "
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

    def command(self, box: Path, program: Path, etc: Path, server: list[str]) -> list[str]:
        """Return the command that runs `server` as the first process of a box."""
        base = Path(sys.base_prefix)
        outside = not base.is_relative_to("/usr")
        sources = {"box": box, "program": program, "etc": etc, **({"python": base} if outside else {})}
        seen = {name: Path(_REACH, name) if self._root else path for name, path in sources.items()}
        inner = ["bwrap", *self._namespaces(), *self._view(seen["box"], seen["program"], seen["etc"])]
        if outside:
            inner += ["--ro-bind", str(seen["python"]), str(base)]
        inner += ["--remount-ro", "/", "--chdir", "/workspace"]
        path = (f"{base}/bin:" if outside else "") + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inner.append("--clearenv")
        for name, value in {**home_environment("/home/box", "/workspace"), "PATH": path}.items():
            inner += ["--setenv", name, value]
        owner = box.stat().st_uid
        return [*self._outer(list(sources.items()), owner), *inner, *server]

    def _namespaces(self) -> list[str]:
        flags = ["--unshare-all", "--unshare-user", "--as-pid-1", "--new-session", "--cap-drop", "ALL"]
        flags += ["--uid", "1000", "--gid", "1000", "--hostname", "onhand"]
        flags += ["--share-net"] if self._network else []
        return flags + (["--disable-userns"] if _knows("--disable-userns") else [])

    def _view(self, box: Path, program: Path, etc: Path) -> list[str]:
        """Return the mounts: the machine's programs, read-only; of /etc what programs need; the box's own folders."""
        view = ["--ro-bind", "/usr", "/usr", *_links(), "--proc", "/proc", "--dev", "/dev"]
        view += ["--ro-bind", str(etc), "/etc"]
        view += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"] if self._network else []
        for name, place in _OWN.items():
            view += ["--bind", str(box / name), place]
        return [*view, "--ro-bind", str(program), "/run/program"]

    def _outer(self, sources: list[tuple[str, Path]], owner: int = _FIRST_UID) -> list[str]:
        """Return what root does first; nothing for others."""
        if not self._root:
            return []
        outer = [
            "bwrap",
            "--dev-bind",
            "/",
            "/",
            "--cap-add",
            "ALL",
            "--tmpfs",
            str(Path(_REACH).parent),
            "--dir",
            _REACH,
        ]
        for name, path in sources:
            outer += ["--bind" if name == "box" else "--ro-bind", str(path), f"{_REACH}/{name}"]
        ids = [f"--reuid={owner}", f"--regid={owner}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        return [*outer, "setpriv", *ids]


def home_environment(home: str, workspace: str) -> dict[str, str]:
    """Return the small environment that commands begin with."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "USER": "box",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "WORKSPACE": workspace,
    }


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
