"""Tokens of people, encrypted at rest, each for the very row that it stands in."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, delete, insert, select, update

from bot.core.secret import Secret
from bot.store.database import Database
from bot.store.keys import Sealer
from bot.store.tables import secrets


class SqlVault:
    """Implements the port Vault."""

    def __init__(self, database: Database, clock: Callable[[], float], keys: Sequence[Secret]) -> None:
        self._database, self._clock, self._sealer = database, clock, Sealer(keys)

    async def get(self, user_id: str, service: str) -> Secret | None:
        """See the port. Raises ConfigError when what is stored cannot be decrypted with our keys."""
        query = select(secrets.c.sealed).where(secrets.c.user_id == user_id, secrets.c.service == service)
        sealed = await self._database.read(lambda connection: connection.execute(query).scalar())
        return None if sealed is None else self._sealer.open(sealed, _place(user_id, service))

    async def put(self, user_id: str, service: str, token: Secret) -> None:
        sealed, at = self.seal(user_id, service, token), self._clock()
        await self._database.write(lambda connection: store_sealed(connection, user_id, service, sealed, at))

    async def rotate(self) -> int:
        """Encrypt every token anew with the first key, all or none. Return how many."""
        return await self._database.write(self._rotate)

    def seal(self, user_id: str, service: str, token: Secret) -> str:
        """Return the token encrypted for this row alone."""
        return self._sealer.seal(token, _place(user_id, service))

    def _rotate(self, connection: Connection) -> int:
        rows = connection.execute(select(secrets).with_for_update()).all()
        for user_id, service, sealed, _ in rows:
            token = self._sealer.open(sealed, _place(user_id, service))
            row = (secrets.c.user_id == user_id) & (secrets.c.service == service)
            connection.execute(update(secrets).where(row).values(sealed=self.seal(user_id, service, token)))
        return len(rows)


def store_sealed(connection: Connection, user_id: str, service: str, sealed: str, at: float) -> None:
    """Put a sealed token into its row, in place of what was there."""
    connection.execute(delete(secrets).where(secrets.c.user_id == user_id, secrets.c.service == service))
    connection.execute(insert(secrets).values(user_id=user_id, service=service, sealed=sealed, updated_at=at))


def _place(user_id: str, service: str) -> str:
    return f"{user_id}\n{service}"
