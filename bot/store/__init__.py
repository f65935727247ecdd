"""What onhand remembers. `open_store` gives every port that is kept in the database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.core.errors import Unavailable
from bot.core.secret import Secret
from bot.store.accounts import SqlAccounts
from bot.store.clean import Clean
from bot.store.conversations import SqlConversations
from bot.store.database import Database
from bot.store.inbox import SqlInbox
from bot.store.keys import keys_from
from bot.store.leases import SqlLeases
from bot.store.log import SqlLog
from bot.store.queue import SqlQueue
from bot.store.sweeps import SqlSweeps
from bot.store.upgrade import upgrade
from bot.store.vault import SqlVault
from bot.store.whisper import Grown, Whisper

__all__ = ["Store", "Unavailable", "keys_from", "open_store", "upgrade"]


@dataclass(frozen=True)
class Store:
    """The ports that one database stands behind."""

    database: Database
    log: SqlLog
    conversations: SqlConversations
    inbox: SqlInbox
    leases: SqlLeases
    queue: SqlQueue
    sweeps: SqlSweeps
    accounts: SqlAccounts
    vault: SqlVault
    whisper: Whisper

    async def close(self) -> None:
        """Finish what was begun and let the database go."""
        await self.whisper.close()
        await self.database.close()


async def open_store(
    url: str,
    *,
    clock: Callable[[], float],
    redact: Callable[[str], str],
    grown: Grown,
    keys: Sequence[Secret],
) -> Store:
    """Connect and return the ports. `grown` is told, after the commit, how far logs have grown.

    Raises ConfigError when the tables are not this version's (see `upgrade`), Unavailable when it is out of reach.
    """
    database = Database(url)
    await database.connect()
    clean, whisper, vault = Clean(redact), Whisper(grown), SqlVault(database, clock, keys)
    return Store(
        database,
        SqlLog(database, clock, clean, whisper),
        SqlConversations(database),
        SqlInbox(database, clock, clean, whisper),
        SqlLeases(database),
        SqlQueue(database),
        SqlSweeps(database, clock),
        SqlAccounts(database, clock, vault),
        vault,
        whisper,
    )
