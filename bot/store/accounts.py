"""Whose account is whose. In a link's transaction its token goes into the vault, and what waits for it is marked."""

from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update

from bot.core.inbound import Account
from bot.core.ports import User
from bot.core.secret import Secret
from bot.store.database import Database, insert_new
from bot.store.tables import accounts, requests, secrets, users
from bot.store.vault import SqlVault, store_sealed


class SqlAccounts:
    """Implements the port Accounts. Accounts are known by the provider's id; the login is kept for people to read."""

    def __init__(self, database: Database, clock: Callable[[], float], vault: SqlVault) -> None:
        self._database, self._clock, self._vault = database, clock, vault

    async def user_of(self, account: Account) -> User | None:
        query = select(users.c.id, users.c.name).join(accounts, accounts.c.user_id == users.c.id).where(_this(account))
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else User(*row)

    async def account_of(self, user_id: str, service: str) -> Account | None:
        mine = (accounts.c.user_id == user_id) & (accounts.c.service == service)
        query = select(accounts.c.service, accounts.c.id, accounts.c.login).where(mine)
        newest = query.order_by(accounts.c.linked_at.desc(), accounts.c.id).limit(1)
        row = await self._database.read(lambda connection: connection.execute(newest).one_or_none())
        return None if row is None else Account(*row)

    async def link(self, account: Account, user_id: str, token: Secret | None = None) -> User:
        """See the port. Without a token, one that this user has stored for the service stays."""
        sealed = None if token is None else self._vault.seal(user_id, account.service, token)
        at = self._clock()
        return await self._database.write(lambda connection: _link(connection, account, user_id, sealed, at))

    async def unlink(self, account: Account) -> bool:
        """Undo a link; the token goes with the user's last account at the service. Whether there was one."""
        return await self._database.write(lambda connection: _unlink(connection, account))

    async def list(self) -> list[tuple[User, Account, bool]]:
        kept = (secrets.c.user_id == accounts.c.user_id) & (secrets.c.service == accounts.c.service)
        query = (
            select(
                users.c.id,
                users.c.name,
                accounts.c.service,
                accounts.c.id,
                accounts.c.login,
                secrets.c.sealed.is_not(None),
            )
            .join(accounts, accounts.c.user_id == users.c.id)
            .outerjoin(secrets, kept)
            .order_by(users.c.id, accounts.c.service, accounts.c.id)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [(User(row[0], row[1]), Account(row[2], row[3], row[4]), bool(row[5])) for row in rows]


def _link(connection: Connection, account: Account, user_id: str, sealed: str | None, at: float) -> User:
    before = connection.execute(select(accounts.c.user_id).where(_this(account)).with_for_update()).scalar()
    if before is not None and before != user_id:
        _unlink(connection, account)
    insert_new(connection, users, id=user_id, name=account.login or user_id, created_at=at)
    connection.execute(delete(accounts).where(_this(account)))
    link = {"service": account.service, "id": account.id, "login": account.login, "user_id": user_id, "linked_at": at}
    connection.execute(insert(accounts).values(link))
    if sealed is not None:
        store_sealed(connection, user_id, account.service, sealed, at)
    _mark_waiting(connection, user_id)
    return User(user_id, connection.execute(select(users.c.name).where(users.c.id == user_id)).scalar_one())


def _mark_waiting(connection: Connection, user_id: str) -> None:
    """Mark what waits for an account of the user: whoever rings for it may be killed, or not be heard."""
    of_user = exists().where(
        accounts.c.user_id == user_id, accounts.c.service == requests.c.service, accounts.c.id == requests.c.account
    )
    connection.execute(update(requests).where(requests.c.phase == "waiting", of_user).values(phase="connected"))


def _unlink(connection: Connection, account: Account) -> bool:
    user_id = connection.execute(delete(accounts).where(_this(account)).returning(accounts.c.user_id)).scalar()
    if user_id is None:
        return False
    others = select(func.count()).where(accounts.c.user_id == user_id, accounts.c.service == account.service)
    if not connection.execute(others).scalar():
        token = (secrets.c.user_id == user_id) & (secrets.c.service == account.service)
        connection.execute(delete(secrets).where(token))
    return True


def _this(account: Account) -> ColumnElement[bool]:
    return (accounts.c.service == account.service) & (accounts.c.id == account.id)
