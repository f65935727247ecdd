"""Who works on a conversation right now. Only the database's clock counts, so machines may disagree."""

from sqlalchemy import ColumnElement, Update, select, update

from bot.core.errors import OnhandError
from bot.store.database import Database, clock_of_database
from bot.store.tables import conversations

_LONGEST = 60.0
"""Seconds. A lease with longer to go is of a time before the database's clock was set back, or its machine started anew."""

_SOON = 0.05
"""What `take` answers when the lease ran out between its two looks."""


def free() -> ColumnElement[bool]:
    """Return the condition that nobody holds a conversation."""
    return conversations.c.lease_holder.is_(None) | _over()


class SqlLeases:
    """Implements the port Leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, conversation_id: str, holder: str, seconds: float) -> float:
        """See the port; its holder may take it again. Raises OnhandError if there is no such conversation."""
        lease = conversations.c
        if await self._write(
            _extended(conversation_id, holder, seconds).where(free() | (lease.lease_holder == holder))
        ):
            return 0.0
        left = select(lease.lease_until - clock_of_database()).where(lease.id == conversation_id)
        row = await self._database.read(lambda connection: connection.execute(left).one_or_none())
        if row is None:
            raise OnhandError(f"there is no conversation {conversation_id} to take a lease on")
        return max(row[0] or 0.0, _SOON)

    async def renew(self, conversation_id: str, holder: str, seconds: float) -> bool:
        """See the port. A lease that ran out but that nobody else took is still the holder's."""
        return await self._write(
            _extended(conversation_id, holder, seconds).where(conversations.c.lease_holder == holder)
        )

    async def release(self, conversation_id: str, holder: str) -> None:
        mine = (conversations.c.id == conversation_id) & (conversations.c.lease_holder == holder)
        await self._write(update(conversations).where(mine).values(lease_holder=None, lease_until=None))

    async def clear(self, older_than: float) -> int:
        cleared = update(conversations).where(_over(older_than)).values(lease_holder=None, lease_until=None)
        return await self._database.write(lambda connection: connection.execute(cleared).rowcount, durable=False)

    async def _write(self, statement: Update) -> bool:
        return await self._database.write(lambda connection: connection.execute(statement).rowcount > 0, durable=False)


def _over(ago: float = 0.0) -> ColumnElement[bool]:
    """Return the condition that a lease ran out so many seconds ago."""
    left = conversations.c.lease_until - clock_of_database()
    return (left <= -ago) | (left > _LONGEST)


def _extended(conversation_id: str, holder: str, seconds: float) -> Update:
    until = clock_of_database() + seconds
    return (
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(lease_holder=holder, lease_until=until)
    )
