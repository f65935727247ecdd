"""How much there is to do, counted over the requests of all conversations."""

from sqlalchemy import Connection, func, select

from bot.core.ports import Load
from bot.store.database import Database
from bot.store.tables import conversations, requests

PHASES = ("asked", "waiting", "admitted")


class SqlQueue:
    """Implements the port Queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Load:
        return await self._database.read(_load)


def _load(connection: Connection) -> Load:
    phases = dict.fromkeys(PHASES, 0) | dict(connection.execute(_BY_PHASE).all())
    statuses: dict[str, int] = dict(connection.execute(_STATUSES).all())
    return Load(phases, connection.execute(_OLDEST).scalar(), statuses)


_BY_PHASE = select(requests.c.phase, func.count()).where(requests.c.phase.in_(PHASES)).group_by(requests.c.phase)
_OLDEST = select(func.min(requests.c.asked_at)).where(requests.c.phase.in_(("asked", "admitted")))
_STATUSES = select(conversations.c.status, func.count()).group_by(conversations.c.status)
