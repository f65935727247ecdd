"""The action server: answers on a unix socket for as long as the box lives.

One thread, one loop. It avoids what is slow to import (json, socket, signal, typing): half of the time that a box needs
to come up is spent here.
"""

from __future__ import annotations

import _operator
import _signal  # type: ignore[import-not-found]
import _socket
import os
import select
import time

from sandbox.inside.files import read, write
from sandbox.inside.processes import SIGCHLD, SIGINT, bury
from sandbox.inside.session import Run, Session
from sandbox.inside.watchdog import Watchdog
from sandbox.inside.wire import MAX_LINE, VERSION, Refusal, frame, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.inside.session import Answer


class Loop:
    """Calls back when a descriptor can be read, and where asked when it can be written."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._calls: dict[int, tuple[Callable[[], object], bool]] = {}

    def watch(self, fd: int, call: Callable[[], object], *, writing: bool = False) -> None:
        """Call from now on; replaces an earlier call for the same descriptor."""
        events = select.EPOLLIN | (select.EPOLLOUT if writing else 0)
        if fd not in self._calls:
            self._poll.register(fd, events)
        elif self._calls[fd][1] != writing:
            self._poll.modify(fd, events)
        self._calls[fd] = (call, writing)

    def forget(self, fd: int) -> None:
        """Call no more; to be said before the descriptor is closed."""
        if self._calls.pop(fd, None):
            self._poll.unregister(fd)

    def turn(self, seconds: float) -> None:
        """Wait at most so long, and call whom it concerns."""
        for fd, _ in self._poll.poll(max(0.0, seconds)):
            if fd in self._calls:
                self._calls[fd][0]()


class Peer:
    """One connection. It is a stranger until it has shown the key."""

    def __init__(self, server: Server, socket: _socket.socket) -> None:
        self._server, self._socket, self._known = server, socket, False
        self._incoming = bytearray()
        self._outgoing: list[memoryview] = []
        socket.setblocking(False)
        server.loop.watch(socket.fileno(), self._ready)

    def _ready(self) -> None:
        try:
            if self._outgoing:
                self._flush()
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._incoming += data
        try:
            while data and self._take():
                pass
        except (ValueError, KeyError):
            data = b""
        if not data:
            self._close()

    def _take(self) -> bool:
        """Answer one frame, if a whole one is there. Raises ValueError, KeyError for what is none."""
        end = self._incoming.find(b"\n", 0, MAX_LINE)
        if end < 0 and len(self._incoming) < MAX_LINE:
            return False
        fields = parse(bytes(self._incoming[: max(0, end)]))
        size = int(fields["size"])
        if not self._known and size > MAX_LINE:
            raise ValueError("a stranger's frame is small")
        if len(self._incoming) < end + 1 + size:
            return False
        with memoryview(self._incoming) as view:
            body = bytes(view[end + 1 : end + 1 + size])
        del self._incoming[: end + 1 + size]
        (self._serve if self._known else self._greet)(fields, body)
        return True

    def _greet(self, fields: dict[str, str], body: bytes) -> None:
        if fields.get("version") != str(VERSION):
            wrong, text = "version", f"this box speaks version {VERSION} of the protocol, not {fields.get('version')}"
        elif not _operator._compare_digest(body, self._server.key):  # noqa: SLF001 - it is hmac.compare_digest
            wrong, text = "key", "this is not the key of this box"
        else:
            self._known = True
            self.send(frame({"version": VERSION}))
            return
        self.send(frame({"error": wrong}, text.encode()))
        raise ValueError(wrong)

    def _serve(self, fields: dict[str, str], body: bytes) -> None:
        number = int(fields["id"])

        def answer(more: dict[str, object], body: bytes) -> None:
            self.send(frame({"id": number, **more}, body))

        try:
            self._server.operate(self, fields, body, answer)
        except Refusal as refusal:
            answer({"error": refusal.word}, str(refusal).encode("utf-8", "surrogateescape"))
        except OSError as error:
            word = "missing" if isinstance(error, (FileNotFoundError, NotADirectoryError)) else "failed"
            answer({"error": word}, f"{error.strerror}: {error.filename}".encode("utf-8", "surrogateescape"))

    def send(self, data: bytes) -> None:
        """Send a frame, the rest of it as soon as they take it."""
        self._outgoing.append(memoryview(data))
        try:
            self._flush()
        except OSError:
            self._outgoing.clear()  # they are gone, which reading will show

    def _flush(self) -> None:
        try:
            while self._outgoing:
                sent = self._socket.send(self._outgoing[0])
                self._outgoing[0] = self._outgoing[0][sent:]
                if not self._outgoing[0]:
                    self._outgoing.pop(0)
        except BlockingIOError:
            pass
        self._server.loop.watch(self._socket.fileno(), self._ready, writing=bool(self._outgoing))

    def _close(self) -> None:
        self._server.session.drop(self)
        self._server.loop.forget(self._socket.fileno())
        self._socket.close()


class Server:
    """The socket, the session and the watchdog of a box."""

    def __init__(self, socket: _socket.socket, settings: dict[str, str]) -> None:
        self.loop, self._socket = Loop(), socket
        with open(settings["key"], "rb") as file:
            self.key = file.read().strip()
        os.unlink(settings["key"])
        self._workspace = settings["workspace"]
        self._listen_to_children()
        self.session = Session(self.loop, self._workspace)
        limits = (int(settings.get(name, "0")) for name in ("pids", "memory_mb", "disk_mb"))
        places = [self._workspace, *settings.get("beside", "").split()]
        self._watchdog = Watchdog(self.session, places, *limits)
        self.loop.watch(socket.fileno(), self._accept)

    def _listen_to_children(self) -> None:
        self._bell, bell = os.pipe()
        os.set_blocking(bell, False)
        _signal.signal(SIGINT, _signal.SIG_IGN)
        _signal.signal(SIGCHLD, lambda signal, at: None)
        _signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        self.loop.watch(self._bell, self._reap)

    def _accept(self) -> None:
        fd, _ = self._socket._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - all that socket.accept adds is a class
        Peer(self, _socket.socket(fileno=fd))

    def _reap(self) -> None:
        """Bury the dead, orphans too."""
        os.read(self._bell, 4096)
        status = bury().get(self.session.shell.pid)
        if status is not None:
            self.session.died(status)

    def _path(self, raw: bytes) -> str:
        """Return the real path: /workspace is a name for the folder in which relative paths begin."""
        path = os.fsdecode(raw)
        if path == "/workspace" or path.startswith("/workspace/"):
            path = path[len("/workspace/") :]
        return os.path.join(self._workspace, path)

    def operate(self, peer: Peer, fields: dict[str, str], body: bytes, answer: Answer) -> None:
        """Do one operation and answer, at once or later. Raises Refusal, OSError."""
        op = fields.get("op")
        if op == "run":
            end = len(body) - int(fields["stdin"])
            self.session.add(Run(body[:end], body[end:], float(fields["timeout"]), answer, peer))
            return
        if op == "read":
            answer({}, read(self._path(body), int(fields["limit"])))
            return
        if op == "write":
            end = int(fields["path"])
            write(self._path(body[:end]), body[end:])
        elif op == "interrupt":
            self.session.stop("interrupt")
        elif op == "restart":
            self.session.restart(self._workspace)
        elif op == "drop":  # a worker that was slow to notice must not end the command of the one that took over
            self.session.drop(peer)
        elif op != "ping":
            raise Refusal("operation", f"expected run, interrupt, restart, drop, read, write or ping, got {op}")
        answer({}, b"")

    def serve(self) -> None:
        """Go on for ever."""
        while True:
            now = time.monotonic()
            self.session.tick(now)
            self._watchdog.tick(now)
            self.loop.turn(min(self.session.due(), self._watchdog.next) - time.monotonic())
