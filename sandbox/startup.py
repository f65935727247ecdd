"""How the action server is started in a box of whatever kind: its command, what it is told, the environment of commands."""

from collections.abc import Sequence

from bot.core.ports import BoxSpec
from sandbox.home import SOCKET

_BEGIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sandbox.inside.start import main; main(sys.argv[1:])"


def arguments(program: str, words: Sequence[str]) -> list[str]:
    """Return python3's arguments that start the server out of the folder `program`."""
    return ["-I", "-S", "-c", _BEGIN, program, *words]


def words(spec: BoxSpec, run: str, workspace: str) -> list[str]:
    """Return what every server is told: the folders of its socket and key and of the work, and its bounds."""
    return [
        *(f"socket={run}/{SOCKET}", f"key={run}/key", f"workspace={workspace}"),
        *(f"pids={spec.pids}", f"memory_mb={spec.memory_mb}", f"disk_mb={spec.disk_mb}"),
        *(f"FSIZE={spec.disk_mb << 20}", "CORE=0"),
    ]


def environment(home: str, workspace: str) -> dict[str, str]:
    """Return the small environment that commands begin with; the PATH is the box's own."""
    return {
        "HOME": home,
        "USER": "box",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "WORKSPACE": workspace,
    }
