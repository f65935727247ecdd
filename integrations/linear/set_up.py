"""`onhand init linear`: what the API lets us do, and the steps that are left. Apps are made by hand at Linear."""

from msgspec import Struct

from bot.core.secret import Secret
from integrations.linear import answers, documents
from integrations.linear.api import Api


class Hook(Struct, frozen=True):
    """A webhook."""

    url: str | None = None


def by_hand(address: str) -> list[str]:
    """Return what has to be done at Linear before there is a token."""
    return [
        "1. Linear, Settings, API, OAuth applications, New: name onhand, client credentials on.",
        f"2. Webhooks on, address {address}, events: Agent session events, Issues.",
        "3. Its signing secret becomes ONHAND_LINEAR__WEBHOOK_SECRET, its id and secret ONHAND_LINEAR__CLIENT_ID and",
        "   ONHAND_LINEAR__CLIENT_SECRET; then run this again.",
        "   In a workspace without agents: a person's API key as ONHAND_LINEAR__TOKEN, any random text as the webhook secret.",
    ]


async def with_token(api: Api, token: Secret, address: str, secret: Secret | None) -> list[str]:
    """Say as whom we act; for a person make the webhook, if it is not there. Raises ProviderError."""
    us = await api.ask(token, documents.VIEWER, {}, answers.User)
    lines = [f"acts as {us.displayName or us.name}"]
    if us.app:
        return [*lines, f"set ONHAND_LINEAR__APP_USER_ID={us.id}", f"the app's webhook must lead to {address}"]
    if secret is None:
        return [
            *lines,
            "set ONHAND_LINEAR__WEBHOOK_SECRET to a random text and run this again: the webhook is made then",
        ]
    hooks = await api.ask(token, documents.WEBHOOKS, {}, list[Hook], "nodes")
    if any(hook.url == address for hook in hooks):
        return [*lines, f"the webhook to {address} is there"]
    made = {"url": address, "secret": secret.reveal(), "label": "onhand", "allPublicTeams": True}
    await api.ask(
        token, documents.CREATE_WEBHOOK, {"input": {**made, "resourceTypes": ["Comment", "Issue"]}}, dict[str, object]
    )
    return [*lines, f"made the webhook to {address}, for comments and issues"]
