"""One bash process that is kept: how it is given commands, and how it says what became of them."""
# ruff: noqa: SIM105 - contextlib would cost a third of the server's start

from __future__ import annotations

import os

from sandbox.inside.processes import SIGCHLD, SIGINT, SIGPIPE, SIGTERM, SIGXFSZ, has_only, open_children

# A command, its input and its output are files of the server, which bash opens through /proc. Descriptors 198 (orders)
# and 199 (statuses) are closed while a command runs, and the copies that bash then makes close on exec: no command
# inherits them. A shell that ends leaves variables, functions, options and directory in STATE, for the next one.
# All of it is one line, so that bash counts the lines of a command from 1.
_SCRIPT = """
builtin cd -- "$1" 2>/dev/null
builtin set --
if [[ -s STATE ]]; then . STATE 2>/dev/null; : >STATE; fi
builtin set +e
__onhand_list() { builtin declare -p; declare -f; alias -p; builtin shopt -p; builtin set +o; builtin umask -p; }
__onhand_save() { builtin set +e; { __onhand_list; builtin printf 'builtin cd -- %q\\n' "$PWD"; } >STATE 2>/dev/null; }
builtin trap __onhand_save EXIT
__onhand_was() { builtin return "$1"; }
__onhand_st=0 __onhand_c= __onhand_i= __onhand_o=
builtin printf 'ready\\n' >&199
while IFS=' ' builtin read -r -u 198 __onhand_c __onhand_i __onhand_o
do IFS= builtin read -r -d '' __onhand_c <FILES/"$__onhand_c"
__onhand_was "$__onhand_st"
builtin eval -- "$__onhand_c" <FILES/"$__onhand_i" >FILES/"$__onhand_o" 2>&1 198<&- 199>&-
__onhand_st=$?
builtin set +e
builtin printf '%s\\n' "$__onhand_st" >&199
done
builtin exit 125
"""


class Shell:
    """A bash process. It may die at any time; whoever made it is told by the kernel."""

    def __init__(self, cwd: str, state: int) -> None:
        self._cwd, self._heard, self.ready = cwd, b"", False
        orders, self._orders = os.pipe()
        self.statuses, statuses = os.pipe()
        os.set_blocking(self.statuses, False)
        null = os.open(os.devnull, os.O_RDWR)
        files = f"/proc/{os.getpid()}/fd"
        script = _SCRIPT.strip().replace("\n", "; ").replace("FILES", files).replace("STATE", f"{files}/{state}")
        try:
            self.pid = os.posix_spawn(
                "/bin/bash",
                ["bash", "--norc", "--noprofile", "-c", script, "bash", cwd],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, fd, to)
                    for fd, to in ((null, 0), (null, 1), (null, 2), (orders, 198), (statuses, 199))
                ],
                setsigdef=[SIGINT, SIGPIPE, SIGXFSZ, SIGTERM, SIGCHLD],
                setsid=True,
            )
        except OSError:
            os.close(self._orders)
            os.close(self.statuses)
            raise
        finally:
            for fd in (orders, statuses, null):
                os.close(fd)
        self._children = open_children(self.pid)
        self._offer_to_the_oom_killer()

    def _offer_to_the_oom_killer(self) -> None:
        """Where memory runs out, the kernel is to end a command rather than the server."""
        try:
            with open(f"/proc/{self.pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write("500")
        except OSError:
            pass

    def start(self, command: int, stdin: int, output: int) -> None:
        """Let it run what the file `command` holds. The numbers are descriptors of this process."""
        try:  # short: bash reads an order byte by byte
            os.write(self._orders, b"%d %d %d\n" % (command, stdin, output))
        except OSError:
            pass  # it is dead, which the kernel tells

    def heard(self) -> list[str]:
        """Return what it has said since: `ready` once, then a status a command."""
        try:
            self._heard += os.read(self.statuses, 4096)
        except OSError:
            pass
        *lines, self._heard = self._heard.split(b"\n")
        return [line.decode("ascii", "replace") for line in lines]

    def is_alone(self) -> bool:
        """Whether it has no children."""
        return has_only(self._children, None)

    def where(self) -> str:
        """Return its directory; of a dead one the last that was known."""
        try:
            self._cwd = os.readlink(f"/proc/{self.pid}/cwd")
        except OSError:
            pass
        return self._cwd

    def close(self) -> None:
        """Let go of its descriptors."""
        for fd in (self._orders, self.statuses, self._children):
            os.close(fd)
