"""How much there is to do, counted over the requests of all conversations."""

from typing import Any, get_args

from sqlalchemy import ColumnElement, CompoundSelect, Connection, bindparam, func, select, tuple_, union_all

from bot.core.conversation import RUN_VERBS
from bot.core.ports import Circle, InLine, Load
from bot.store.database import Database
from bot.store.tables import conversations, requests

PHASES = ("asked", "waiting", "connected", "admitted")


class SqlQueue:
    """Implements the port Queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Load:
        return await self._database.read(_load)

    async def line(self) -> list[InLine]:
        return await self._database.read(lambda connection: [InLine(*row) for row in connection.execute(_LINE)])

    async def admitted(self, conversation_id: str, seq: int, circle: Circle, since: float) -> list[float]:
        given = {"conversation_id": conversation_id, "seq": seq, "since": since}
        times = await self._database.read(lambda c: c.execute(_TIMES[circle], given).scalars().all(), few=True)
        return sorted(times, reverse=True)


def _times(circle: Circle) -> CompoundSelect[Any]:
    """Return the statement for `admitted`, made once: to build it costs more than to run it."""
    row, me = requests.c, requests.alias("me").c
    circles: dict[Circle, ColumnElement[bool]] = {
        "person": (row.service == me.service) & (row.account == me.account),
        "place": (row.service == me.service) & (row.place == me.place),
        "thread": row.conversation_id == me.conversation_id,
    }
    mine = (me.conversation_id == bindparam("conversation_id")) & (me.seq == bindparam("seq"))
    counts = mine & circles[circle] & row.verb.in_(RUN_VERBS)
    admitted = select(row.admitted_at).where(counts, row.admitted_at > bindparam("since"))
    place = tuple_(row.asked_at, row.conversation_id, row.seq)
    earlier = place < tuple_(me.asked_at, me.conversation_id, me.seq)
    return union_all(admitted, select(row.asked_at).where(counts, row.phase == "asked", earlier))


def _load(connection: Connection) -> Load:
    phases = dict.fromkeys(PHASES, 0) | dict(connection.execute(_BY_PHASE).all())
    statuses: dict[str, int] = dict(connection.execute(_STATUSES).all())
    return Load(phases, connection.execute(_OLDEST).scalar(), statuses)


_BY_PHASE = select(requests.c.phase, func.count()).where(requests.c.phase.in_(PHASES)).group_by(requests.c.phase)
_OLDEST = select(func.min(requests.c.asked_at)).where(requests.c.phase.in_(("asked", "admitted")))
_LINE = (
    select(
        requests.c.conversation_id,
        func.min(requests.c.seq),
        func.min(requests.c.admitted_at).label("since"),
        func.min(requests.c.service),
    )
    .join(conversations, conversations.c.id == requests.c.conversation_id)
    .where(requests.c.phase == "admitted", requests.c.verb.in_(RUN_VERBS), conversations.c.status != "running")
    .group_by(requests.c.conversation_id)
    .order_by("since", requests.c.conversation_id)
)
_STATUSES = select(conversations.c.status, func.count()).group_by(conversations.c.status)
_TIMES: dict[Circle, CompoundSelect[Any]] = {circle: _times(circle) for circle in get_args(Circle)}
