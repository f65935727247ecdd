"""Connections to a platform whose library blocks: worked with on threads, each with one token and by one thread at a time.

Every work has a thread of its own, which nobody waits for at the end of the process: an answer that comes byte by byte holds
its thread for as long as it likes, and no pool may run empty of them.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, NamedTuple, Protocol, TypeVar

from bot.core.errors import ProviderError
from bot.core.secret import Secret

_KEPT = 64
"""Idle lines that are kept, those of all tokens together."""
_IDLE_SECONDS = 60.0
"""A line that was idle for longer is closed when another becomes idle: the other end may have left it."""
_NO_ANSWER = (OSError, RuntimeError, ValueError, TypeError, ArithmeticError, AttributeError, AssertionError)
"""What libraries raise where nothing comes, or no answer: the errors of `requests` are OSErrors."""


class Line(Protocol):
    """A connection that is signed in."""

    def close(self) -> object: ...


L = TypeVar("L", bound=Line)
T = TypeVar("T")


class _Idle(NamedTuple, Generic[L]):
    """A line that nobody works with, and since when."""

    token: Secret
    line: L
    since: float


class Lines(Generic[L]):
    """Lines to one platform, which people know as `name`; `connect` makes one for a token.

    `connect` and what is done with a line run on threads: the library is imported there, by the first request, as the web
    process makes none. `timeout` is in seconds: of each read from a line, and a little more of the whole work.
    """

    def __init__(
        self, name: str, timeout: float, connect: Callable[[Secret], L], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._timeout, self._connect, self._clock = name, timeout, connect, clock
        self._idle: list[_Idle[L]] = []
        """The one that was used last is the last one."""
        self._closed = False
        self._lock = Lock()

    async def do(self, token: Secret, what: str, work: Callable[[L], T]) -> T:
        """Return what `work` makes of a line. Raises ProviderError: that of `work`, `unavailable` where no answer came."""
        done = Future[T]()
        done.set_running_or_notify_cancel()
        Thread(target=self._answer, args=(done, token, what, work), name=self._name, daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout + 5):
                return await asyncio.wrap_future(done)
        except TimeoutError:
            raise ProviderError("unavailable", f"{self._name} did not answer {what} in {self._timeout} s") from None

    def close(self) -> None:
        """Let go of the connections; of those that are worked with when that is done."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for one in idle:
            one.line.close()

    def _answer(self, done: Future[T], token: Secret, what: str, work: Callable[[L], T]) -> None:
        try:
            done.set_result(self._work(token, what, work))
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            done.set_exception(error)

    def _work(self, token: Secret, what: str, work: Callable[[L], T]) -> T:
        line = self._take(token)
        try:
            done = work(line)
        except ProviderError:
            self._give(token, line)
            raise
        except _NO_ANSWER as error:
            line.close()
            raise ProviderError("unavailable", f"no answer to {what}: {type(error).__name__}") from None
        except BaseException:
            line.close()
            raise
        self._give(token, line)
        return done

    def _take(self, token: Secret) -> L:
        with self._lock:
            if idle := next((one for one in reversed(self._idle) if one.token == token), None):
                self._idle.remove(idle)
                return idle.line
        return self._connect(token)

    def _give(self, token: Secret, line: L) -> None:
        now = self._clock()
        with self._lock:
            self._idle.append(_Idle(token, line, now))
            stale = sum(one.since < now - _IDLE_SECONDS for one in self._idle)
            surplus = len(self._idle) if self._closed else max(stale, len(self._idle) - _KEPT)
            over, self._idle = self._idle[:surplus], self._idle[surplus:]
        for one in over:
            one.line.close()
