"""A delivery becomes durable work, before it is answered."""

import asyncio
import logging
from typing import Literal

from msgspec import Struct, structs

from bot.core.conversation import conversation_id
from bot.core.errors import ProviderError, Refused, Rejected, Unavailable
from bot.core.inbound import Delivery, Inbound, Repository, Thread, Trigger
from bot.core.ports import Integration, Picker, Services, ThreadOpener
from bot.core.secret import Secret
from bot.flows.identity import bots_token
from bot.flows.whereabouts import search

log = logging.getLogger(__name__)

_SEARCH_SECONDS = 2.0
"""Slack shows an error to a person who has waited 3 s."""


class Taken(Struct, frozen=True):
    """What became of a delivery, and what to answer the provider."""

    status: Literal["accepted", "duplicate", "ignored"]
    event: str
    conversation_ids: tuple[str, ...] = ()
    reason: str = ""
    body: bytes | None = None
    """What the platform wants to hear (JSON, or nothing at all), in place of our own answer."""


def read(services: Services, service: str, inbound: Inbound) -> tuple[Integration, Delivery]:
    """Return the integration of this name, and what it verified and understood. Raises Rejected (401, 400, 404)."""
    integration = services.integrations.get(service)
    if integration is None:
        raise Rejected("no_endpoint", f"there is no integration named {service!r}", 404)
    return integration, integration.parse(integration.verify(inbound, services.clock()))


async def take(services: Services, integration: Integration, delivery: Delivery) -> Taken:
    """If a delivery asks for work, store it and ring the doorbell.

    When it returns `accepted`, the request is in the database. One that asks for nothing touches neither database nor Redis.
    What was sent is not held any more: many may wait here for a slow database, and a body has up to 25 MB.
    """
    if delivery.search is not None and isinstance(integration, Picker):
        body = integration.options(await _found(services, delivery.search))
        return Taken("ignored", delivery.event, reason="search", body=body)
    if delivery.triggers and not delivery.triggers[0].thread.item and isinstance(integration, ThreadOpener):
        delivery = await integration.open_thread(delivery, await _bots(services, delivery.triggers[0].thread))
    if not delivery.triggers:
        return Taken("ignored", delivery.event, reason=delivery.ignored, body=delivery.answer)
    return structs.replace(await accept(services, delivery), body=delivery.answer)


async def accept(services: Services, delivery: Delivery) -> Taken:
    """Store a delivery once and ring for what is new in it; a redelivery of a half-done one is finished.

    Follow-ups without a mention count only where we take part already.
    """
    triggers = tuple([trigger for trigger in delivery.triggers if await _counts(services, trigger)])
    if not triggers:
        return Taken("ignored", delivery.event, reason="not_our_thread")
    delivery = structs.replace(delivery, triggers=triggers)
    accepted = await services.inbox.accept(delivery)
    await _ring(services, delivery, accepted.fresh + accepted.unanswered)
    if accepted.fresh:
        return Taken("accepted", delivery.event, tuple(dict.fromkeys(cid for cid, _ in accepted.fresh)))
    return Taken("duplicate", delivery.event, accepted.known)


async def _bots(services: Services, thread: Thread) -> Secret | None:
    try:
        token = await bots_token(services, thread)
        return await token() if token else None
    except (ProviderError, Refused) as error:
        log.warning("no token to begin a thread in %s: %s", thread.place, error)
        return None


async def _counts(services: Services, trigger: Trigger) -> bool:
    if trigger.by != "follow_up":
        return True
    return await services.conversations.get(conversation_id(trigger.thread)) is not None


async def _found(services: Services, query: str) -> list[Repository]:
    """Search the forges; one that takes too long for somebody who waits has nothing."""
    try:
        async with asyncio.timeout(_SEARCH_SECONDS):
            return await search(services, query)
    except TimeoutError:
        return []


async def _ring(services: Services, delivery: Delivery, requests: tuple[tuple[str, int], ...]) -> None:
    try:
        for conversation_id, seq in requests:
            await services.bus.acknowledge(conversation_id, seq)
    except Unavailable as error:  # Redis is away; the sweep rings again
        log.warning("the doorbell is out of reach; the sweep will ring for delivery %s: %s", delivery.id, error)
