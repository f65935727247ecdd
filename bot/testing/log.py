"""An event log in memory, for tests of whatever reads and writes one."""

from collections.abc import Callable, Sequence
from itertools import count

from bot.core.errors import Conflict
from bot.core.events import Draft, Event
from bot.core.wire import decode, encode


class MemoryLog:
    """Implements the port EventLog. Facts go through the wire shape, as in a database.

    Without a clock a second passes with each append. `on_append` is called with the conversation and its last seq after
    each append, to let a test act at that very moment.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.events: dict[str, list[Event]] = {}
        self.on_append: Callable[[str, int], None] = lambda _conversation_id, _seq: None
        self._clock = clock or count(1.0).__next__

    async def append(self, conversation_id: str, drafts: Sequence[Draft], *, expected: int) -> list[Event]:
        log = self.events.setdefault(conversation_id, [])
        if len(log) != expected:
            raise Conflict(conversation_id, expected, len(log))
        at = self._clock()
        new = [
            Event(seq, at, d.source, decode(encode(d.fact)), d.cause, d.call_id)
            for seq, d in enumerate(drafts, expected + 1)
        ]
        log.extend(new)
        if new:
            self.on_append(conversation_id, len(log))
        return new

    async def read(self, conversation_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        return self.events.get(conversation_id, [])[after:][:limit]
