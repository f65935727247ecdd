"""A delivery becomes durable work, before it is answered."""

import logging
from dataclasses import dataclass
from typing import Literal

from bot.core.errors import Rejected, Unavailable
from bot.core.inbound import Delivery, Inbound
from bot.core.ports import Services

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receipt:
    """What to answer the provider."""

    status: Literal["accepted", "duplicate", "ignored"]
    event: str
    conversation_ids: tuple[str, ...] = ()
    reason: str = ""


async def receive(services: Services, service: str, inbound: Inbound) -> Receipt:
    """Verify and understand a delivery; if it asks for work, store it and ring the doorbell.

    Raises Rejected (401, 400, 404). When it returns `accepted`, the request is in the database. One that asks for nothing
    touches neither database nor Redis.
    """
    integration = services.integrations.get(service)
    if integration is None or not integration.receives:
        raise Rejected("no_endpoint", f"no webhook secret is configured for {service!r}", 404)
    delivery = integration.parse(integration.verify(inbound, services.clock()))
    if not delivery.triggers:
        return Receipt("ignored", delivery.event, reason=delivery.ignored)
    return await accept(services, delivery)


async def accept(services: Services, delivery: Delivery) -> Receipt:
    """Store a delivery once and ring for what is new in it; a redelivery of a half-done one is finished."""
    accepted = await services.inbox.accept(delivery)
    await _ring(services, delivery, accepted.fresh + accepted.unanswered)
    if accepted.fresh:
        return Receipt("accepted", delivery.event, tuple(dict.fromkeys(cid for cid, _ in accepted.fresh)))
    return Receipt("duplicate", delivery.event, accepted.known)


async def _ring(services: Services, delivery: Delivery, requests: tuple[tuple[str, int], ...]) -> None:
    try:
        for conversation_id, seq in requests:
            await services.bus.acknowledge(conversation_id, seq)
    except Unavailable as error:  # Redis is away; the sweep rings again
        log.warning("the doorbell is out of reach; the sweep will ring for delivery %s: %s", delivery.id, error)
