"""The Litestar application, put together."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from bot.bootstrap import Built
from bot.web import service
from bot.web.conversations import Conversations
from bot.web.metrics import Metrics
from bot.web.webhooks import endpoint


def create(build: Callable[[], AbstractAsyncContextManager[Built]]) -> Litestar:
    """Return the application. `build` opens the services when the server starts and closes them when it ends."""
    metrics = Metrics()

    @asynccontextmanager
    async def services(app: Litestar) -> AsyncIterator[None]:
        async with build() as built:
            app.state.built, app.state.services, app.state.metrics = built, built.services, metrics
            yield

    return Litestar(
        route_handlers=[
            endpoint(metrics),
            Conversations,
            service.health,
            service.ready,
            service.metrics,
            service.connect,
        ],
        lifespan=[services],
        logging_config=None,
        openapi_config=OpenAPIConfig("onhand", "1", path="/schema", render_plugins=[JsonRenderPlugin(path="/")]),
    )
