"""Deliveries over a connection of an integration's own, and requests whose thread has yet to be begun."""

import asyncio

import msgspec
import pytest
from msgspec import structs

from bot.core.conversation import conversation_id
from bot.core.errors import ProviderError
from bot.core.inbound import Delivery, Inbound, Thread, Verified
from bot.core.ports import Take
from bot.core.secret import Secret
from bot.flows import intake, listening
from bot.testing.integrations import RecordingClient
from tests.flows.conftest import World


class Chat(RecordingClient):
    """A platform that connects by itself, and on which people ask without a message."""

    def __init__(self, refusals: int = 0) -> None:
        super().__init__()
        self.refusals, self.opened = refusals, 0
        self.coming: asyncio.Queue[tuple[Delivery, asyncio.Future[bytes | None]]] = asyncio.Queue()

    listens = True

    async def listen(self, take: Take) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ProviderError("unavailable", "not now")
        while True:
            delivery, answered = await self.coming.get()
            answered.set_result(await take(Verified({}, msgspec.json.encode(delivery))))

    async def open_thread(self, delivery: Delivery, token: Secret | None) -> Delivery:
        self.opened += 1
        if token is None:
            return structs.replace(delivery, triggers=(), ignored="no_thread", answer=b'"no"')
        thread = Thread("memory", "C1", "100.1")
        return structs.replace(delivery, triggers=tuple(structs.replace(t, thread=thread) for t in delivery.triggers))


async def command(world: World) -> Delivery:
    """A request that was asked nowhere yet."""
    await world.ask("@onhand help")
    state = await world.state()
    trigger = structs.replace(state.requests[1].trigger, thread=Thread("memory", "C1", ""), meaning="memory:c")
    return Delivery("memory", "command-1", "command", (trigger,), answer=b"")


@pytest.mark.parametrize("refusals", [0, 1])
async def test_a_delivery_over_a_connection_of_its_own_is_stored_and_answered(world: World, refusals: int) -> None:
    chat = Chat(refusals)
    delivery = await command(world)
    world.use(integrations={"memory": chat})
    rung = len(world.bus.acknowledged)
    async with listening.listening(world.services):
        answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        await chat.coming.put((delivery, answered))
        assert await answered == b""
    assert world.bus.acknowledged[rung:] == [(conversation_id(Thread("memory", "C1", "100.1")), 1)]


@pytest.mark.parametrize("away", [False, True])
async def test_a_thread_that_cannot_be_begun_is_answered_and_nothing_is_stored(world: World, away: bool) -> None:
    delivery = await command(world)
    chat = Chat()
    chat.token = _away if away else _no_token  # type: ignore[method-assign]
    world.use(integrations={"memory": chat})
    rung = len(world.bus.acknowledged)
    body = msgspec.json.encode(delivery)
    read = intake.read(world.services, "memory", Inbound({"x-memory": "signed"}, body))
    receipt = await intake.take(world.services, *read)
    assert (receipt.status, receipt.reason, receipt.body) == ("ignored", "no_thread", b'"no"')
    assert len(world.bus.acknowledged) == rung


async def _no_token(place: str, use: str = "") -> Secret | None:
    return None


async def _away(place: str, use: str = "") -> Secret | None:
    raise ProviderError("unavailable", "not now")
