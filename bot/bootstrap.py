"""The only chooser: turns settings into services. Everything else is told what to use."""

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import Struct

from bot import config, registry
from bot.bus import RedisBus, connect
from bot.config import Settings
from bot.core.errors import ConfigError, OnhandError, Refused
from bot.core.ports import (
    AuthContext,
    AuthStrategy,
    BoxSpec,
    Equipped,
    Integration,
    Limits,
    Model,
    Rates,
    Sandboxes,
    Services,
    Us,
    Workshop,
)
from bot.core.secret import Redactor, Secret
from bot.redis_server import EmbeddedRedis, running
from bot.store import Store, keys_from, open_store, upgrade

SCRIPT = "script:"
"""Prefix of a model name that plays a script from a file."""


@dataclass(frozen=True)
class Built:
    """The services, open, with what only doors need."""

    settings: Settings
    services: Services
    store: Store
    bus: RedisBus
    key: Secret
    """Signs links and tokens."""
    stack: AsyncExitStack

    async def check(self) -> dict[str, str]:
        """Return `ok` or what is wrong, for the database and for Redis: whether each takes what it is given."""
        return {"database": await _try(self.store.database.check()), "redis": await _try(self.bus.check())}

    async def workshop(self) -> Workshop:
        """Open what a worker needs beside the services. Takes seconds: its libraries are imported here."""
        for integration in self.services.integrations.values():
            if isinstance(integration, Equipped):
                import_module(integration.library)
        sandboxes = open_sandboxes(self.settings)
        await sandboxes.check()
        self.stack.push_async_callback(sandboxes.close)
        limits = self.settings.limits
        return Workshop(
            model=_models(self.settings),
            tools={tool.name: tool for tool in (registry.load("tools", name)() for name in registry.names("tools"))},
            sandboxes=sandboxes,
            checkout=registry.load("checkouts", "git")(self.settings.home / "mirrors"),
            limits=Limits(limits.steps, limits.cost_usd, limits.minutes, limits.command_seconds),
        )


@asynccontextmanager
async def build(settings: Settings, redactor: Redactor | None = None) -> AsyncIterator[Built]:
    """Open the services and close them in the end. `redactor` learns every secret. Raises ConfigError, Unavailable."""
    redactor = redactor or Redactor()
    check(settings)
    async with AsyncExitStack() as stack:
        redis_url = settings.redis_url.reveal() if settings.redis_url else await _own_redis(settings, stack)
        providers = integrations(settings)
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        keys = keys_from(settings.home, settings.secret_keys)
        _teach(redactor, settings, providers.values(), keys)
        bus = RedisBus(connect(redis_url))
        stack.push_async_callback(bus.close)
        await prepare_database(settings)
        store = await open_store(database_url(settings), clock=time.time, redact=redactor, grown=bus.grown, keys=keys)
        stack.push_async_callback(store.close)
        key = _derived(keys)
        services = Services(
            integrations=providers,
            auth=_auth(settings, store, key),
            log=store.log,
            conversations=store.conversations,
            inbox=store.inbox,
            leases=store.leases,
            queue=store.queue,
            sweeps=store.sweeps,
            accounts=store.accounts,
            vault=store.vault,
            bus=bus,
            clock=time.time,
            mask=redactor.learn,
            rates=_rates(settings),
            defaults=_defaults(settings),
            redact=redactor,
        )
        yield Built(settings, services, store, bus, key, stack)


def check(settings: Settings) -> None:
    """Raise ConfigError for a section or name that nothing answers to."""
    known = {*registry.names("integrations"), *registry.names("sandboxes")}
    for name in settings.sections.keys() - known:
        raise ConfigError(
            f"ONHAND_{name.upper()}__...: there is no such section; known are: {', '.join(sorted(known))}"
        )
    integration_settings(settings)
    registry.load("auth", settings.auth.strategy)


def integration_settings(settings: Settings) -> dict[str, Struct]:
    """Return the settings of each platform that has a section."""
    found = {}
    for name in registry.names("integrations"):
        if name in settings.sections:
            factory = registry.load("integrations", name)
            found[name] = config.section(factory.Settings, settings.sections[name], name)
    return found


def integrations(settings: Settings) -> dict[str, Integration]:
    """Return each platform that has a section."""
    us = _us(settings)
    return {
        name: registry.load("integrations", name)(values, us) for name, values in integration_settings(settings).items()
    }


def configured(settings: Settings) -> list[str]:
    """Return the platforms whose deliveries are taken."""
    return [name for name, integration in integrations(settings).items() if integration.receives]


def database_url(settings: Settings) -> str:
    """Return the database's address: the setting, or SQLite in the data folder."""
    return settings.database_url.reveal() if settings.database_url else f"sqlite:///{settings.home / 'onhand.sqlite'}"


async def prepare_database(settings: Settings, anyway: bool = False) -> None:
    """Make and upgrade the tables of the embedded database; of a configured one only when told to (`anyway`)."""
    if anyway or settings.database_url is None:
        await upgrade(database_url(settings))


def signing_key(settings: Settings) -> Secret:
    """Return the key that signs links and tokens: derived from the first of the secret keys."""
    return _derived(keys_from(settings.home, settings.secret_keys))


def open_sandboxes(settings: Settings, kind: str = "") -> Sandboxes:
    """Return the backend of the setting, or of this kind."""
    box = settings.sandbox
    spec = BoxSpec(box.image, box.cpus, box.memory, box.pids, network=box.network)
    kind = kind or box.kind
    folder = settings.home / "boxes"
    sandboxes: Sandboxes = registry.load("sandboxes", kind)(spec, folder, settings.sections.get(kind, {}))
    return sandboxes


def _rates(settings: Settings) -> Rates:
    caps = settings.limits
    return Rates(
        caps.per_person, caps.per_repository, caps.per_thread, caps.loop_requests, loop_seconds=60 * caps.loop_minutes
    )


def _defaults(settings: Settings) -> dict[str, str]:
    places = settings.repositories.items()
    return {f"{service}:{place}".casefold(): name for service, its in places for place, name in its.items()}


def _us(settings: Settings) -> Us:
    return Us(settings.handle, settings.label, public_url(settings))


def public_url(settings: Settings) -> str:
    """Return how people reach the page."""
    return (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")


def _auth(settings: Settings, store: Store, key: Secret) -> AuthStrategy:
    context = AuthContext(store.accounts, key, public_url(settings), settings.auth.login)
    strategy: AuthStrategy = registry.load("auth", settings.auth.strategy)(context)
    return strategy


def _models(settings: Settings) -> Callable[[str], Model]:
    """Return the lookup of models by configuration name; the library behind them is loaded now."""
    from bot.agent import model as litellm_model
    from bot.testing.models import ScriptedModel

    named = {"": settings.llm, **settings.models}
    if any(llm.model and not llm.model.startswith(SCRIPT) for llm in named.values()):
        litellm_model.load()

    def find(name: str) -> Model:
        llm = named.get(name)
        if llm is None:
            known = ", ".join(sorted(settings.models)) or "none"
            raise Refused("model", f"There is no model named {name}. Known are: {known}.")
        if not llm.model:
            raise Refused("model", "No language model is configured. Whoever runs onhand sets ONHAND_LLM__MODEL.")
        if llm.model.startswith(SCRIPT):
            return ScriptedModel.load(Path(llm.model.removeprefix(SCRIPT)))
        return litellm_model.LiteLLMModel(
            llm.model, base_url=llm.base_url, api_key=llm.api_key, timeout=llm.timeout, total=3 * llm.timeout
        )

    return find


async def _own_redis(settings: Settings, stack: AsyncExitStack) -> str:
    if found := await running(settings.home):
        return found
    redis = EmbeddedRedis(settings.home)
    url = await redis.start()
    stack.push_async_callback(redis.stop)
    return url


def _derived(keys: list[Secret]) -> Secret:
    return Secret(hashlib.sha256(b"onhand tickets " + keys[0].reveal().encode()).hexdigest())


def _teach(redactor: Redactor, settings: Settings, providers: Iterable[Integration], keys: Iterable[Secret]) -> None:
    known: list[Secret | None] = [*keys, settings.secret_keys, settings.database_url, settings.redis_url]
    known += [llm.api_key for llm in (settings.llm, *settings.models.values())]
    for provider in providers:
        known += provider.secrets()
    for secret in known:
        if secret:
            redactor.add(secret)


async def _try(awaitable: Any) -> str:
    try:
        await awaitable
    except OnhandError as error:
        return str(error)
    except OSError as error:
        return f"out of reach: {error}"
    except Exception as error:  # noqa: BLE001  the client's own errors, whatever they are
        return f"out of reach: {type(error).__name__}"
    return "ok"
