"""Who asks, and with which tokens onhand may act for them. It fails closed: both the person and the bot must have the right."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from bot.core.errors import NeedsAccount, Refused
from bot.core.inbound import Account, Repository, Thread, Trigger
from bot.core.patience import patiently, renewing
from bot.core.ports import Forge, Installer, Renewer, Services, User, installed_in
from bot.core.secret import Secret
from bot.flows.whereabouts import forge_of

T = TypeVar("T")

Token = Callable[[], Awaitable[Secret]]
"""Gives the token of this moment: it may be short-lived, so it is asked for anew before every call."""


@dataclass(frozen=True)
class Grant:
    """Leave to act: for whom, and with what where it was asked and where the code lives."""

    user: User
    token: Token
    """For the thread."""
    code: Token
    """For the repository's forge."""
    token_class: str
    """`bot`: from the settings, `user`: their own."""
    author: Account | None = None
    """The person at the forge; None where that is not known."""


async def admit(
    services: Services,
    trigger: Trigger,
    repository: Repository | None,
    use: str = "",
    meanwhile: Callable[[Grant], None] | None = None,
) -> Grant:
    """Return the grant for a request after asking the platform, and the forge where a repository is known.

    `use` is as in `Integration.token`. `meanwhile` may begin to read with the grant while the forge, the last one, is asked.
    Raises NeedsAccount (with the link), Refused (with the reason), ProviderError.
    """
    user = await services.auth.user_of(trigger.actor)
    if user is None:
        raise _stranger(services, trigger)
    thread = trigger.thread
    token, token_class = await _token(services, user, thread.service, thread.place, use)
    if not await services.integrations[thread.service].may_ask(thread, trigger.actor, await token()):
        raise Refused("permission", "I may only work for people who can have work done here, and not for guests.")
    if repository is None:
        return Grant(user, token, token, token_class)
    code = token
    if (repository.service, repository.name) != (thread.service, thread.place):
        code, token_class = await _token(services, user, repository.service, repository.name, use)
    author = await _author(services, trigger, user, repository)
    grant = Grant(user, token, code, token_class, author)
    if meanwhile:
        meanwhile(grant)
    if not await _may_write(services, repository, grant):
        raise Refused(
            "permission",
            f"I may only work for people who can write to {repository.name}, and only where I can write myself. "
            "Somebody with that right can ask me, or give it to you or to me.",
        )
    return grant


async def recheck(services: Services, repository: Repository, grant: Grant) -> None:
    """Ask the forge again, just before something is pushed. Raises Refused, ProviderError."""
    if not await patiently(lambda: _may_write(services, repository, grant)):
        raise Refused("permission", f"The right to write to {repository.name} is gone, so nothing was pushed.")


async def _may_write(services: Services, repository: Repository, grant: Grant) -> bool:
    return await forge_of(services, repository).may_write(repository, grant.author, await grant.code())


async def patiently_with(token: Token, ask: Callable[[Secret], Awaitable[T]]) -> T:
    """Ask with the token of this moment, and patiently. Raises what `ask` raises."""

    async def once() -> T:
        return await ask(await token())

    return await patiently(once)


async def signed_in(forge: Forge, token: Token, ask: Callable[[Secret], Awaitable[T]]) -> T:
    """Have git do what it does with the token of this moment, and once more with a new one where that has ended meanwhile.

    Raises what `ask` raises.
    """

    async def renew(ended: Secret) -> Secret | None:
        renewed = await forge.renew(ended) if isinstance(forge, Renewer) else None
        return await token() if renewed else None  # masked, as every token is that is given out here

    return await renewing(ask, await token(), renew)


async def bots_token(services: Services, thread: Thread, use: str = "") -> Token | None:
    """Return with what the bot itself may speak in a thread; None where it has no token, or is not let in.

    Raises ProviderError.
    """
    try:
        return await _bots(services, thread.service, thread.place, use)
    except Refused:
        return None


async def _author(services: Services, trigger: Trigger, user: User, repository: Repository) -> Account | None:
    """Return the person's account at the forge. None where nobody connects accounts: then the bot's right alone counts.

    Raises NeedsAccount.
    """
    if trigger.actor.service == repository.service:
        return trigger.actor
    if linked := await services.accounts.account_of(user.id, repository.service):
        return linked
    if services.auth.connects:
        raise _stranger(services, trigger, f" at {repository.service}")
    return None


def _stranger(services: Services, trigger: Trigger, where: str = " here") -> NeedsAccount | Refused:
    link = services.auth.connect_url(trigger.actor, services.clock())
    if not link:
        return Refused(
            "stranger", "I work for one account only, and it is not yours. Whoever runs onhand can change that."
        )
    please = f"I do not know yet who you are{where}. Please connect your account"
    return NeedsAccount(f"{please} and I will go on by myself: {link}", f"{please}, then write `retry`: {link}")


async def _token(services: Services, user: User, service: str, place: str, use: str) -> tuple[Token, str]:
    async def users() -> Secret:
        return _masked(services, service, await services.vault.get(user.id, service))

    try:
        return await _bots(services, service, place, use), "bot"
    except Refused as refused:
        why = refused
    try:
        await users()
    except Refused:
        raise why from None  # the bot is not let in, and nobody has linked a token: the first says more
    return users, "user"


async def _bots(services: Services, service: str, place: str, use: str) -> Token:
    integration = services.integrations[service]

    async def token() -> Secret:
        token = await integration.token(place, use)
        if not token and isinstance(integration, Installer):
            token = await services.vault.get(installed_in(place), service)
        return _masked(services, service, token)

    await token()
    return token


def _masked(services: Services, service: str, token: Secret | None) -> Secret:
    if not token:
        raise Refused(
            "token",
            f"I have no token for {service}. Whoever runs onhand can set one "
            f"(ONHAND_{service.upper()}__TOKEN) or link yours.",
        )
    services.mask(token)
    return token
