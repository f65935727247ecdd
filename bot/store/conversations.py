"""The shelf of conversations, as lists show them."""

from sqlalchemy import Row, select

from bot.core.ports import Record
from bot.store.database import Database
from bot.store.tables import conversations

_COLUMNS = [conversations.c[name] for name in Record.__struct_fields__]


class SqlConversations:
    """Implements the port Conversations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, conversation_id: str) -> Record | None:
        query = select(*_COLUMNS).where(conversations.c.id == conversation_id)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _record(row)

    async def list(self, limit: int = 50, before: float | None = None) -> list[Record]:
        query = select(*_COLUMNS).order_by(conversations.c.updated_at.desc(), conversations.c.id).limit(limit)
        if before is not None:
            query = query.where(conversations.c.updated_at < before)
        return await self._database.read(lambda connection: [_record(row) for row in connection.execute(query)])


def _record(row: Row[*tuple[object, ...]]) -> Record:
    return Record(**row._mapping)  # noqa: SLF001 -- SQLAlchemy's documented accessor
