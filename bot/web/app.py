"""The web application, put together: THE endpoint in front, Litestar for everything else."""

import logging
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp, Receive, Scope, Send

from bot.bootstrap import Built
from bot.core.errors import Unavailable
from bot.web import installing, service
from bot.web.conversations import Conversations
from bot.web.metrics import Metrics
from bot.web.webhooks import PREFIX, RETRY, Webhooks

log = logging.getLogger(__name__)


def create(built: Built) -> ASGIApp:
    """Return the application over services that are open; whoever opened them closes them after it."""
    metrics = Metrics()
    webhooks, pages = Webhooks(built.services, metrics), _litestar(built, metrics)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Litestar's own work on a request costs as much as checking a signature, and deliveries need none of it
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith(PREFIX):
            await webhooks(scope, receive, send)
        else:
            await pages(scope, receive, send)

    return app


class _Pages(Litestar):
    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Leave out those of Pydantic and attrs: nothing here is made of either, and importing both is a tenth of the start."""
        return [*plugins, MsgspecDIPlugin()]


def _litestar(built: Built, metrics: Metrics) -> Litestar:
    return _Pages(
        route_handlers=[
            Conversations,
            service.health,
            service.ready,
            service.metrics,
            service.connect,
            *installing.HANDLERS,
        ],
        state=State({"built": built, "services": built.services, "metrics": metrics}),
        exception_handlers={Unavailable: _unavailable},
        logging_config=None,
        openapi_config=OpenAPIConfig("onhand", "1", path="/schema", render_plugins=[JsonRenderPlugin(path="/")]),
    )


def _unavailable(_: Request[Any, Any, Any], error: Unavailable) -> Response[dict[str, str]]:
    log.error("a page cannot be shown: %s", error)
    told = {"error": "unavailable", "detail": "the database cannot be read now; please try again"}
    return Response(told, status_code=503, headers=RETRY)
