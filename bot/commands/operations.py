"""`onhand db`, `keys` and `users`: what an operator does to the stored things."""

import time

from bot import bootstrap
from bot.auth import api_token as api
from bot.auth import tickets
from bot.config import Settings
from bot.core.errors import ConfigError, Unavailable, UserError
from bot.core.inbound import Account
from bot.core.ports import Services, User
from bot.core.secret import Redactor, Secret


async def upgrade_database(settings: Settings) -> str:
    """Bring the tables to this version."""
    await bootstrap.prepare_database(settings, anyway=True)
    return "the database is up to date"


async def rotate_keys(settings: Settings) -> int:
    """Encrypt every stored token with the first key; return how many there are."""
    async with bootstrap.build(settings, Redactor()) as built:
        return await built.store.vault.rotate()


async def list_users(settings: Settings) -> list[tuple[User, Account, bool]]:
    """Return users with their accounts."""
    async with bootstrap.build(settings, Redactor()) as built:
        return await built.services.accounts.list()


async def link(settings: Settings, name: str, user: str | None, account_id: str | None, token: str) -> str:
    """Connect an account, with a token where one is given, and ring for the requests that wait for it."""
    service, login = _account_name(name)
    async with bootstrap.build(settings, Redactor()) as built:
        services = built.services
        given = Secret(token) if token else None
        account = Account(service, account_id, login) if account_id else await _account(services, service, login, given)
        linked = await services.accounts.link(account, user or account.login, given)
        theirs = [account for owner, account, _ in await services.accounts.list() if owner.id == linked.id]
        waiting = [request for account in theirs for request in await services.inbox.waiting_for(account)]
        went_on = await _ring(services, waiting) if waiting else ""
    return f"{service}:{account.login} ({account.id}) belongs to {linked.id}{went_on}"


async def _ring(services: Services, waiting: list[tuple[str, int]]) -> str:
    """Ring for requests that may go on, and say so; where Redis is away, the sweep does it later."""
    some = f"{len(waiting)} waiting request{'s' if len(waiting) != 1 else ''}"
    try:
        for conversation_id, seq in waiting:
            await services.bus.acknowledge(conversation_id, seq)
    except Unavailable as error:
        return f"; {some} will go on when Redis is back ({error})"
    return f"; {some} went on"


async def _account(services: Services, service: str, login: str, given: Secret | None) -> Account:
    """Ask the platform whose account it is, with the given token or the bot's."""
    integration = services.integrations.get(service)
    token = given or (await integration.token("") if integration else None)
    if integration is None or token is None:
        raise UserError("usage", f"{service} is not configured with a token, so the account's id is needed: --id")
    if not given:
        return await integration.account(login, token)
    account = await integration.identify(given)
    if account.login.lower() != login.lower():
        raise UserError("usage", f"the token belongs to {account.login}, not to {login}")
    return account


async def unlink(settings: Settings, name: str) -> str:
    """Disconnect an account."""
    service, login = _account_name(name)
    async with bootstrap.build(settings, Redactor()) as built:
        accounts = built.services.accounts
        for _, account, _ in await accounts.list():
            if (account.service, account.login.lower()) == (service, login.lower()):
                await accounts.unlink(account)
                return f"{name} is not connected any more"
    raise UserError("missing", f"{name} is not connected; see: onhand users list")


async def api_token(settings: Settings, user: str, days: int) -> str:
    """Return a token for the REST API."""
    key = bootstrap.signing_key(settings)
    return tickets.issue(key, api.PURPOSE, user, time.time() + days * 86_400)


def _account_name(name: str) -> tuple[str, str]:
    service, _, login = name.partition(":")
    if not service or not login:
        raise ConfigError(f"expected SERVICE:LOGIN, such as github:alice; got {name!r}")
    return service, login
