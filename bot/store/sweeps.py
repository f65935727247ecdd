"""What the sweeps found, one row each."""

from collections.abc import Callable

from sqlalchemy import Connection, select, update

from bot.core.ports import Sweep
from bot.store.database import Database, insert_new
from bot.store.tables import sweeps


class SqlSweeps:
    """Implements the port Sweeps."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def note(self, name: str, found: int, trouble: str = "") -> None:
        now = {"at": self._clock(), "found": found, "trouble": trouble}
        await self._database.write(lambda connection: _note(connection, name, now), durable=False)

    async def list(self) -> list[Sweep]:
        query = select(sweeps).order_by(sweeps.c.name)
        return await self._database.read(lambda connection: [Sweep(*row) for row in connection.execute(query)])


def _note(connection: Connection, name: str, now: dict[str, object]) -> None:
    insert_new(connection, sweeps, name=name, total=0, **now)
    connection.execute(update(sweeps).where(sweeps.c.name == name).values(**now, total=sweeps.c.total + now["found"]))
