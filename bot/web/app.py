"""The Litestar application, put together."""

from litestar import Litestar
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from bot.bootstrap import Built
from bot.web import service
from bot.web.conversations import Conversations
from bot.web.metrics import Metrics
from bot.web.webhooks import endpoint


def create(built: Built) -> Litestar:
    """Return the application over services that are open; whoever opened them closes them after it."""
    metrics = Metrics()
    return Litestar(
        route_handlers=[
            endpoint(metrics),
            Conversations,
            service.health,
            service.ready,
            service.metrics,
            service.connect,
        ],
        state=State({"built": built, "services": built.services, "metrics": metrics}),
        logging_config=None,
        openapi_config=OpenAPIConfig("onhand", "1", path="/schema", render_plugins=[JsonRenderPlugin(path="/")]),
    )
