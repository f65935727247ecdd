"""Deliveries that come over a connection of an integration's own: taken in like those that come over HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.core.errors import ProviderError
from bot.core.inbound import Verified
from bot.core.ports import Integration, Listener, Services
from bot.flows.intake import take

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


@asynccontextmanager
async def listening(services: Services) -> AsyncIterator[None]:
    """Listen, on every integration whose settings ask for it, as long as this is entered."""
    tasks = [
        asyncio.create_task(_listen(services, integration, integration))
        for integration in services.integrations.values()
        if isinstance(integration, Listener) and integration.listens
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(services: Services, integration: Integration, listener: Listener) -> None:
    """Listen for ever; after a refusal again, ever more seldom."""

    async def taken(verified: Verified) -> bytes | None:
        return (await take(services, integration, integration.parse(verified))).body

    pause = _FIRST_PAUSE
    while True:
        try:
            await listener.listen(taken)
        except ProviderError as error:
            log.error("cannot listen to %s, trying again in %.0f s: %s", integration.name, pause, error)
        except Exception:
            log.exception("listening to %s failed, trying again in %.0f s", integration.name, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
