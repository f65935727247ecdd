"""The Slack app that onhand needs: its scopes, its events, and the manifest that makes one. Pure.

https://docs.slack.dev/reference/app-manifest
"""

import json
from urllib.parse import quote

from bot.core.platform import endpoint

SCOPES = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:read",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "mpim:history",
    "mpim:read",
    "reactions:write",
    "users:read",
)
EVENTS = ("agent_session_stopped", "app_mention", "message.channels", "message.groups", "message.im", "message.mpim")


def manifest(public_url: str, socket_mode: bool) -> dict[str, object]:
    """Return the manifest of an app for the onhand at `public_url`."""
    url = endpoint(public_url, "slack")
    where = {} if socket_mode else {"request_url": url}
    menus = {} if socket_mode else {"message_menu_options_url": url}
    command = {"command": "/onhand", "description": "Have work done", "usage_hint": "what to do", "should_escape": True}
    return {
        "display_information": {"name": "onhand", "description": "A coding agent that answers with pull requests"},
        "features": {
            "app_home": {"messages_tab_enabled": True, "messages_tab_read_only_enabled": False},
            "bot_user": {"display_name": "onhand", "always_online": True},
            "agent_view": {"agent_description": "Fixes, changes and explains code, and opens pull requests."},
            "slash_commands": [command if socket_mode else {**command, "url": url}],
        },
        "oauth_config": {
            "redirect_urls": [f"{public_url}/api/install/slack/done"],
            "scopes": {"bot": list(SCOPES)},
        },
        "settings": {
            "event_subscriptions": {**where, "bot_events": list(EVENTS)},
            "interactivity": {"is_enabled": True, **where, **menus},
            "socket_mode_enabled": socket_mode,
            "org_deploy_enabled": False,
            "token_rotation_enabled": False,
        },
    }


def steps(public_url: str, socket_mode: bool) -> list[str]:
    """Return what a person does to make the app, a line each."""
    made = manifest(public_url, socket_mode)
    form = quote(json.dumps(made, separators=(",", ":")), safe="")
    lines = [
        f"1. Make the app (the form is filled in): https://api.slack.com/apps?new_app=1&manifest_json={form}",
        "2. Install it in your workspace; the bot token (xoxb-...) goes into ONHAND_SLACK__BOT_TOKEN.",
        "3. Basic Information shows the signing secret: ONHAND_SLACK__SIGNING_SECRET.",
        "4. Invite @onhand to a channel, then: onhand doctor",
    ]
    if socket_mode:
        lines[2] = (
            "3. Socket Mode is on by ONHAND_SLACK__APP_TOKEN; no signing secret and no public address are needed."
        )
    return lines
