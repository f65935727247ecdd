"""What a box has on the worker's disk: a folder of its own, with its key, and the action server's files to mount.

HOME/program/<hash>/sandbox/inside/    the action server, compiled, as it was when the first box needed it
HOME/<box id>/key                      0600; the box cannot see it
HOME/<box id>/box.json                 labels, and what the backend wants to remember
HOME/<box id>/run/                     the socket; seen by the box as /run/onhand
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bot.core.errors import SandboxError, SandboxGone
from bot.core.secret import Secret
from sandbox.deletion import delete

SOCKET = "socket"
BOX_USER = 1000
"""As whom everything in a box runs, in its own numbers."""

_INSIDE = Path(__file__).parent / "inside"
_ID = re.compile(r"[0-9a-f]{16}")


@cache
def install_program(home: Path, python: str) -> Path:
    """Return the folder that holds the server's package, laid there and compiled by `python` if need be."""
    sources = sorted(_INSIDE.glob("*.py"))
    name = hashlib.sha256(b"\0".join(p.name.encode() + p.read_bytes() for p in sources)).hexdigest()[:16]
    program = home / "program" / name
    if not program.exists():
        draft = home / "program" / f"{name}.{secrets.token_hex(4)}"
        package = draft / "sandbox" / "inside"
        package.mkdir(parents=True)
        (draft / "sandbox" / "__init__.py").touch()
        for source in sources:
            shutil.copyfile(source, package / source.name)
        subprocess.run([python, "-I", "-m", "compileall", "-q", str(package)], check=False, stdout=subprocess.DEVNULL)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        with contextlib.suppress(OSError):  # another worker was quicker
            draft.rename(program)
        shutil.rmtree(draft, ignore_errors=True)
    return program


class BoxFolder:
    """The folder of one box."""

    def __init__(self, home: Path, box_id: str) -> None:
        self.id, self.path = box_id, home / box_id

    @property
    def state(self) -> str:
        """By what the box is found again; `box_of` reads it."""
        return json.dumps({"box": self.id})

    @property
    def socket(self) -> Path:
        """Where its server listens."""
        return self.path / "run" / SOCKET

    @property
    def key(self) -> Secret:
        """The box's key. Raises SandboxGone when there is no such box."""
        try:
            return Secret((self.path / "key").read_text())
        except OSError:
            raise SandboxGone(f"box {self.id} is gone: it has no folder in {self.path.parent}") from None

    def hand_over_key(self) -> None:
        """Lay a copy of the key where the server takes it, once.

        The box may have laid a link, a pipe or a folder there meanwhile: what is there is replaced, never opened.
        """
        draft, place = self.path / "key.new", self.path / "run" / "key"
        _write(draft, self.key.reveal(), 0o644)
        try:
            draft.replace(place)
        except IsADirectoryError:
            delete(place)
            draft.replace(place)

    def note(self, **facts: Any) -> None:
        """Write down what the backend has to remember, labels among it."""
        draft = self.path / "box.json.new"
        _write(draft, json.dumps(facts), 0o600)
        draft.rename(self.path / "box.json")

    def facts(self) -> dict[str, Any]:
        """Return what was written down. Raises SandboxGone when there is no such box."""
        try:
            facts = json.loads((self.path / "box.json").read_text())
        except (OSError, ValueError):
            raise SandboxGone(f"box {self.id} is gone: it has no folder in {self.path.parent}") from None
        return facts if isinstance(facts, dict) else {}

    def delete(self) -> None:
        """Delete the folder, read-only parts of it too.

        The key goes first, so that nobody attaches to what is half gone, and what lists know it by last, so that a deletion
        that was cut off is begun again.
        """
        (self.path / "key").unlink(missing_ok=True)
        for _ in range(3):
            delete(*self._parts())
            delete(self.path)
            if not self.path.exists():
                return

    def _parts(self) -> list[Path]:
        """Return all that is in it but the labels."""
        with contextlib.suppress(OSError):
            return [path for path in self.path.iterdir() if path.name != "box.json"]
        return []


def new_box(home: Path, labels: Mapping[str, str]) -> BoxFolder:
    """Make the folder of a new box, with a key."""
    folder = BoxFolder(home, secrets.token_hex(8))
    folder.path.mkdir(mode=0o700, parents=True)
    run = folder.path / "run"
    run.mkdir()
    run.chmod(0o777)  # the box's user is another one; the folder above keeps everybody else out
    _write(folder.path / "key", secrets.token_hex(32), 0o600)
    folder.note(labels=dict(labels))
    return folder


def box_of(home: Path, state: str) -> BoxFolder:
    """Return the folder that a state names. Raises SandboxError for what is no state of ours."""
    try:
        box_id = json.loads(state)["box"]
    except (ValueError, KeyError, TypeError):
        box_id = None
    if not isinstance(box_id, str) or not _ID.fullmatch(box_id):
        raise SandboxError('expected a state such as {"box": "<id>"}')
    return BoxFolder(home, box_id)


def labels_of_boxes(home: Path) -> dict[str, Mapping[str, str]]:
    """Return the labels of every box that has a folder, by its state."""
    found: dict[str, Mapping[str, str]] = {}
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(home.iterdir()):
            if _ID.fullmatch(path.name):
                folder = BoxFolder(home, path.name)
                with contextlib.suppress(SandboxGone):
                    found[folder.state] = folder.facts().get("labels", {})
    return found


def own_python() -> str:
    """Return a python3 for the server that every user of this machine can run; the system's starts quickest."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = ("/usr/bin/python3", f"{sys.base_prefix}/bin/{version}", f"{sys.base_prefix}/bin/python3")
    found = next((path for path in candidates if os.access(path, os.X_OK)), None)
    return found or sys.executable


def _write(path: Path, text: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, mode)
        file.write(text)
