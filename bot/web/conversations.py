"""/api/v1/conversations: what is going on and what has been said, as JSON pages or a live stream."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Response, ServerSentEvent, ServerSentEventMessage

from bot.core.conversation import fold
from bot.core.ports import Record, Services
from bot.core.wire import to_wire

PAGE = 500


async def require_user(connection: ASGIConnection[Any, Any, Any, State], _: BaseRouteHandler) -> None:
    """Let in only whom the auth strategy knows."""
    services: Services = connection.app.state.services
    headers = {name.lower(): value for name, value in connection.headers.items()}
    if await services.auth.user_of_request(headers, services.clock()) is None:
        raise NotAuthorizedException(
            "expected Authorization: Bearer TOKEN (onhand users token), or with the strategy none a request on this machine"
        )


class View(msgspec.Struct, frozen=True):
    """One conversation with where it stands."""

    conversation: Record
    branch: str
    cost_usd: float
    tasks: list[dict[str, str]]
    open_requests: int
    links: dict[str, str]
    """Addresses of what was made at the provider, by topic."""


class Conversations(Controller):
    """Reading conversations."""

    path = "/api/v1/conversations"
    guards = (require_user,)
    tags = ("conversations",)

    @get("/")
    async def list_conversations(
        self,
        state: State,
        limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
        before: Annotated[float | None, QueryParameter(description="updated_at to go on from")] = None,
    ) -> list[Record]:
        """List conversations, the most recently changed first."""
        found: list[Record] = await state.services.conversations.list(limit, before)
        return found

    @get("/{conversation_id:str}")
    async def get_conversation(self, state: State, conversation_id: FromPath[str]) -> View:
        """Show one conversation."""
        services: Services = state.services
        record = await _find(services, conversation_id)
        now = fold(await services.log.read(conversation_id))
        links = {topic: receipt.url for topic, receipt in now.topics.items() if receipt and receipt.url}
        tasks = [{"title": task.title, "status": task.status} for task in now.tasks]
        return View(record, now.branch, round(now.cost_usd, 6), tasks, len(now.open()), links)

    @get("/{conversation_id:str}/events")
    async def list_events(
        self,
        state: State,
        request: Request[Any, Any, State],
        conversation_id: FromPath[str],
        after: Annotated[int, QueryParameter(ge=0)] = 0,
        limit: Annotated[int, QueryParameter(ge=1, le=PAGE)] = PAGE,
        last_event_id: Annotated[str, HeaderParameter(name="last-event-id")] = "",
    ) -> Response[Any]:
        """Return a page of events, or a live stream of them when `text/event-stream` is asked for.

        The stream begins after `Last-Event-ID`, or `after`.
        """
        services: Services = state.services
        await _find(services, conversation_id)
        if "text/event-stream" in request.headers.get("accept", ""):
            start = int(last_event_id) if last_event_id.isdigit() else after
            return ServerSentEvent(_stream(services, conversation_id, start))
        events = await services.log.read(conversation_id, after=after, limit=limit)
        return Response({"events": [to_wire(event) for event in events], "next": events[-1].seq if events else after})


async def _find(services: Services, conversation_id: str) -> Record:
    record = await services.conversations.get(conversation_id)
    if record is None:
        raise NotFoundException(f"there is no conversation {conversation_id[:64]!r}")
    return record


async def _stream(services: Services, conversation_id: str, after: int) -> AsyncIterator[ServerSentEventMessage]:
    async for _ in services.bus.follow(conversation_id):
        while events := await services.log.read(conversation_id, after=after, limit=PAGE):
            for event in events:
                yield ServerSentEventMessage(data=msgspec.json.encode(to_wire(event)).decode(), id=str(event.seq))
            after = events[-1].seq
        yield ServerSentEventMessage(data=None, comment="waiting")  # finds out whether anybody is still there
