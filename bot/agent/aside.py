"""An event loop on a thread of its own, for work that would stop the loop it is asked from. It ends with the process."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")


class Aside:
    """A loop beside. What it hands to its executor waits in line: every thread more is one more that holds up the rest."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(1, f"{name}-executor"))
        threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin the work there, with the context variables of here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do the work there while this loop goes on. Cancelling cancels it."""
        return await asyncio.wrap_future(self.start(work))
