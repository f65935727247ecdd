"""Working on a conversation that nobody else works on: the one place among the flows that knows about leases."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bot.core.errors import LeaseLost, Unavailable
from bot.core.ports import Services

logger = logging.getLogger(__name__)

LEASE_SECONDS = 6.0
RENEW_EVERY = 2.0
LEFT_WHILE_RENEWED = LEASE_SECONDS - RENEW_EVERY
"""Seconds for which a lease has to go at least, as long as its holder lives."""
_LETTING_GO = 2.0
"""Seconds to wait for a database that is asked to let go of a lease: those of many runs wait in line where it is locked."""


async def under_lease(
    services: Services, conversation_id: str, worker: str, work: Callable[[str], Coroutine[Any, Any, None]]
) -> float:
    """Do the work while the lease is held; it is told by whom: every call has a holder of its own, named after the worker.

    Returns 0.0 when it is done, else the seconds after which the lease of another holder, who may have taken over, may be free.
    """
    holder = f"{worker}/{uuid.uuid4().hex[:8]}"
    busy_for = await services.leases.take(conversation_id, holder, LEASE_SECONDS)
    if busy_for:
        return busy_for
    try:
        await _renewing(services, conversation_id, holder, asyncio.create_task(work(holder)))
    except LeaseLost as lost:
        logger.warning("%s", lost)
        return LEASE_SECONDS
    finally:
        with suppress(TimeoutError):  # then it runs out by itself
            async with asyncio.timeout(_LETTING_GO):
                await services.leases.release(conversation_id, holder)
    return 0.0


async def _renewing(services: Services, conversation_id: str, holder: str, work: "asyncio.Task[None]") -> None:
    """Renew the lease until the work is done. Raises LeaseLost, with the work cancelled, when it is not ours any more.

    A database that is away is waited for: the lease is found lost or ours when it is back, and until then the work cannot
    write, and so cannot go far.
    """
    try:
        while not (await asyncio.wait({work}, timeout=RENEW_EVERY))[0]:
            try:
                ours = await services.leases.renew(conversation_id, holder, LEASE_SECONDS)
            except Unavailable as error:
                logger.warning("the lease of conversation %s could not be renewed: %s", conversation_id, error)
                continue
            if not ours:
                raise LeaseLost(f"the lease of conversation {conversation_id} ran out")
        work.result()
    finally:
        await end(work)


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel the tasks until they have ended: a cancellation can get lost on the way."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1.0)
    await asyncio.gather(*tasks, return_exceptions=True)
