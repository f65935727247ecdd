"""Connections to a platform whose library blocks: worked with on threads, each with one token and by one thread at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Generic, Protocol, TypeVar

from bot.core.errors import ProviderError
from bot.core.secret import Secret

_THREADS = 64
"""More than the calls that a worker can have under way, so that none waits behind others that hang."""
_TOKENS = 64
"""Tokens whose connections are kept."""
_NO_ANSWER = (OSError, RuntimeError, ValueError, TypeError, AttributeError, AssertionError)
"""What libraries raise where nothing comes, or no answer: the errors of `requests` are OSErrors."""


class Line(Protocol):
    """A connection that is signed in."""

    def close(self) -> object: ...


L = TypeVar("L", bound=Line)
T = TypeVar("T")


class Lines(Generic[L]):
    """Lines to one platform, which people know as `name`; `connect` makes one for a token.

    `connect` and what is done with a line run on threads: the library is imported there, by the first request, as the web
    process makes none. `timeout` is in seconds: of each read from a line, and a little more of the whole work.
    """

    def __init__(self, name: str, timeout: float, connect: Callable[[Secret], L]) -> None:
        self._name, self._timeout, self._connect = name, timeout, connect
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
        self._idle: dict[Secret, list[L]] = {}
        self._lock = Lock()

    async def do(self, token: Secret, what: str, work: Callable[[L], T]) -> T:
        """Return what `work` makes of a line. Raises ProviderError: that of `work`, `unavailable` where no answer came."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._work, token, what, work)
        try:
            async with asyncio.timeout(self._timeout + 5):
                return await future
        except TimeoutError:
            raise ProviderError("unavailable", f"{self._name} did not answer {what} in {self._timeout} s") from None

    def close(self) -> None:
        """Let go of connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            idle, self._idle = self._idle, {}
        for line in (line for lines in idle.values() for line in lines):
            line.close()

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
            if idle := self._idle.get(token):
                return idle.pop()
        return self._connect(token)

    def _give(self, token: Secret, line: L) -> None:
        with self._lock:
            self._idle[token] = [*self._idle.pop(token, []), line]  # the token used last is the last one
            forgotten = self._idle.pop(next(iter(self._idle))) if len(self._idle) > _TOKENS else []
        for old in forgotten:
            old.close()
