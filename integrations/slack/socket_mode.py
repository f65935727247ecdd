"""Socket Mode: the same deliveries over a connection that we open, where Slack cannot reach us.

https://docs.slack.dev/apis/events-api/using-socket-mode
"""

import asyncio
import json
import logging

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from bot.core.errors import ProviderError, Rejected, Unavailable
from bot.core.ports import Take
from bot.core.secret import Secret
from integrations.slack import webhook
from integrations.slack.api import refused

log = logging.getLogger(__name__)


async def listen(app_token: Secret, url: str, take: Take) -> None:
    """Hand every delivery to `take` until cancelled, and acknowledge it once that has returned. Raises ProviderError.

    The library opens the connection anew when it breaks off. What was not acknowledged is sent again by Slack.
    """
    web = AsyncWebClient(base_url=url.rstrip("/") + "/", retry_handlers=[])
    client = SocketModeClient(app_token=app_token.reveal(), web_client=web)

    async def received(client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        try:
            answer = await take(webhook.over_socket(request.payload))
        except Rejected as error:  # it will not become any better
            log.info("a delivery over the socket was refused: %s", error)
            answer = None
        except Unavailable as error:
            log.error("a delivery over the socket was not stored: %s", error)
            return
        payload = json.loads(answer) if answer else None
        await client.send_socket_mode_response(SocketModeResponse(request.envelope_id, payload))

    client.socket_mode_request_listeners.append(received)
    try:
        opened = await web.apps_connections_open(app_token=app_token.reveal())  # the library would try for ever
        client.wss_uri = opened["url"]
        await client.connect()  # type: ignore[no-untyped-call]
        log.info("listening to Slack over a socket")
        await asyncio.Event().wait()
    except SlackApiError as error:
        raise refused("apps.connections.open", error) from None
    except (aiohttp.ClientError, SlackClientError, OSError) as error:
        raise ProviderError("unavailable", f"no socket to Slack: {type(error).__name__}") from None
    finally:
        await client.close()  # type: ignore[no-untyped-call]
