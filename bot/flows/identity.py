"""Who asks, and with which token onhand may act for them. It fails closed: both the person and the bot must have the right."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.core.errors import NeedsAccount, Refused
from bot.core.inbound import Repository, Thread, Trigger
from bot.core.ports import Forge, Services, User
from bot.core.secret import Secret

Token = Callable[[], Awaitable[Secret]]
"""Gives the token of this moment: it may be short-lived, so it is asked for anew before every call."""


@dataclass(frozen=True)
class Grant:
    """Leave to act: for whom, with what, and what class of token it is (`bot`: from the settings, `user`: their own)."""

    user: User
    token: Token
    token_class: str


async def admit(services: Services, trigger: Trigger, use: str = "") -> Grant:
    """Return the grant for a request after asking the provider. `use` is as in `Integration.token`.

    Raises NeedsAccount (with the link), Refused (with the reason), ProviderError.
    """
    user = await services.auth.user_of(trigger.actor)
    if user is None:
        link = services.auth.connect_url(trigger.actor, services.clock())
        if not link:
            raise Refused(
                "stranger", "I work for one account only, and it is not yours. Whoever runs onhand can change that."
            )
        raise NeedsAccount(
            "account",
            f"I do not know yet who you are here. Please connect your account and I will go on by myself: {link}",
        )
    grant = await _grant(services, user, trigger.thread, use)
    forge, repository = where_code_lives(services, trigger)
    if not await forge.may_write(repository, trigger.actor, await grant.token()):
        raise Refused(
            "permission",
            f"I may only work for people who can write to {repository.name}, and only where I can write myself. "
            "Somebody with that right can ask me, or give it to you or to me.",
        )
    return grant


async def recheck(services: Services, trigger: Trigger, grant: Grant) -> None:
    """Ask the provider again, just before something is pushed. Raises Refused, ProviderError."""
    forge, repository = where_code_lives(services, trigger)
    if not await forge.may_write(repository, trigger.actor, await grant.token()):
        raise Refused("permission", f"The right to write to {repository.name} is gone, so nothing was pushed.")


def where_code_lives(services: Services, trigger: Trigger) -> tuple[Forge, Repository]:
    """Return the forge that serves the trigger's repository. Raises Refused when there is none."""
    repository, named = trigger.repository, trigger.request.options.get("repo", "")
    if repository is not None and named.casefold() not in ("", repository.name.casefold()):
        raise Refused(
            "repository", f"Here I work on {repository.name}. Please ask in an issue of the other repository."
        )
    if repository is None and named:
        repository = Repository(trigger.thread.service, named)
    if repository is None:
        raise Refused("repository", "I do not know which repository you mean. Name it with repo=owner/name.")
    integration = services.integrations.get(repository.service)
    if integration is None or not isinstance(integration, Forge):
        raise Refused("repository", f"I am not set up to work on repositories of {repository.service}.")
    return integration, repository


async def bots_token(services: Services, thread: Thread, use: str = "") -> Token | None:
    """Return with what the bot itself may speak in a thread; None where it has no token, or is not let in.

    Raises ProviderError.
    """
    integration = services.integrations[thread.service]

    async def token() -> Secret:
        return _masked(services, thread, await integration.token(thread.place, use))

    try:
        await token()
    except Refused:
        return None
    return token


async def _grant(services: Services, user: User, thread: Thread, use: str) -> Grant:
    async def users() -> Secret:
        return _masked(services, thread, await services.vault.get(user.id, thread.service))

    if bots := await bots_token(services, thread, use):
        return Grant(user, bots, "bot")
    await users()
    return Grant(user, users, "user")


def _masked(services: Services, thread: Thread, token: Secret | None) -> Secret:
    if not token:
        raise Refused(
            "token",
            f"I have no token for {thread.service}. Whoever runs onhand can set one "
            f"(ONHAND_{thread.service.upper()}__TOKEN) or link yours.",
        )
    services.mask(token)
    return token
