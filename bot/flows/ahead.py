"""Boxes that are begun before a run asks for them: while a request is acknowledged, for people who may have work done.

And boxes whose removal goes on when the run that began it is cancelled, because its worker is told to stop.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bot.core.errors import SandboxError
from bot.core.ports import Sandbox, Sandboxes

logger = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds after which a box that no run has taken is removed: another worker has the run, or it waits in the line."""
_PAUSE = 600.0
"""Seconds without boxes ahead after one that was not taken: where many workers share the queues, most would not be."""
_MOST = 2
"""Boxes that are ahead at a time."""
_LATELY = 3600.0
"""Seconds after being admitted in which a person's next box is begun while it is asked again whether they may."""
_PEOPLE = 1000
"""People who are remembered for that."""
_LEAVING = 4.0
"""Seconds that boxes which are being removed have at the end of a worker: nobody may come after it who finds them."""


class BoxesAhead:
    """Implements the port Sandboxes over a backend: `create` hands out what was begun with the same labels."""

    def __init__(self, sandboxes: Sandboxes, has_room: Callable[[], bool] = lambda: True) -> None:
        """`has_room` tells whether this worker would begin a run now."""
        self._sandboxes, self._has_room = sandboxes, has_room
        self.name = sandboxes.name
        self._begun: dict[str, asyncio.Task[Sandbox]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._admitted: dict[str, float] = {}
        """When people were admitted last, oldest first."""

    def expect(self, conversation_id: str, person: str) -> None:
        """Begin a box for somebody who has yet to be admitted, if they were so lately. Nobody else can have boxes made."""
        if asyncio.get_running_loop().time() - self._admitted.get(person, -_LATELY) < _LATELY:
            self._begin(conversation_id)

    def admit(self, conversation_id: str, person: str) -> None:
        """Begin a box, unless it is, for a conversation whose run will ask for one in a moment."""
        self._admitted.pop(person, None)
        self._admitted[person] = asyncio.get_running_loop().time()
        if len(self._admitted) > _PEOPLE:
            del self._admitted[next(iter(self._admitted))]
        self._begin(conversation_id)

    def _begin(self, conversation_id: str) -> None:
        loop = asyncio.get_running_loop()
        if conversation_id in self._begun or len(self._begun) >= _MOST or loop.time() < self._not_before:
            return
        if not self._has_room():
            return
        task = loop.create_task(self._sandboxes.create(labels_of(conversation_id)))
        self._begun[conversation_id] = task
        loop.call_later(_PATIENCE, self._give_up, conversation_id, task)

    async def create(self, labels: Mapping[str, str]) -> Sandbox:
        """Return the box that was begun with these labels, else a new one."""
        conversation_id = labels.get("conversation", "")
        if labels == labels_of(conversation_id) and (begun := self._begun.pop(conversation_id, None)):
            return await begun
        return await self._sandboxes.create(labels)

    async def attach(self, state: str) -> Sandbox:
        return await self._sandboxes.attach(state)

    async def remove(self, state: str) -> None:
        """As the backend does. Who is cancelled meanwhile leaves the rest to `close`."""
        leaving = self._leaves(self._sandboxes.remove(state))
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            leaving.add_done_callback(_say_why)  # nobody else hears of it any more
            raise

    async def list(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        return await self._sandboxes.list()

    async def check(self) -> str:
        return await self._sandboxes.check()

    async def close(self) -> None:
        """Remove what nobody has taken, and see what is being removed to its end. The backend is closed by whoever opened it."""
        for conversation_id, task in list(self._begun.items()):
            self._give_up(conversation_id, task)
        if self._leaving and (left := (await asyncio.wait(self._leaving, timeout=_LEAVING))[1]):
            logger.warning("%d boxes could not be removed in time; they are left to the sweep", len(left))

    def _give_up(self, conversation_id: str, task: asyncio.Task[Sandbox]) -> None:
        if self._begun.get(conversation_id) is task:
            del self._begun[conversation_id]
            self._not_before = asyncio.get_running_loop().time() + _PAUSE
            self._leaves(discard(task))

    def _leaves(self, removal: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        leaving = asyncio.create_task(removal)
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        return leaving


def _say_why(removal: asyncio.Task[None]) -> None:
    if not removal.cancelled() and (error := removal.exception()):
        logger.warning("a box could not be removed; it is left to the sweep: %s", error)


def labels_of(conversation_id: str) -> dict[str, str]:
    """Return the labels of a conversation's box."""
    return {"conversation": conversation_id}


async def discard(coming: asyncio.Task[Sandbox]) -> None:
    """Remove a box that is not wanted any more, once it is there. One that could not be made is none."""
    with suppress(SandboxError, OSError):
        await (await coming).remove()
