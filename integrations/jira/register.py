"""Registering the webhook, for `onhand init jira`: by an administrator's token, else the steps that are left."""

import re
import secrets
from collections.abc import Sequence

from msgspec import Struct

from bot.core.errors import ConfigError, ProviderError
from bot.core.platform import endpoint
from bot.core.secret import Secret
from integrations.jira.api import Api

_PATH = "/rest/webhooks/1.0/webhook"
_EVENTS = ("jira:issue_created", "jira:issue_updated", "comment_created", "comment_updated")
_KEY = re.compile(r"[A-Z][A-Z0-9_]{1,99}")


class Hook(Struct, frozen=True):
    """A webhook that is there."""

    url: str = ""


async def register(
    api: Api, token: Secret, secret: Secret | None, public_url: str, projects: Sequence[str]
) -> list[str]:
    """Make sure that a webhook for these projects (all, if none is named) leads to us; return what to show the operator.

    Raises ConfigError for a project's key that is none, ProviderError.
    https://developer.atlassian.com/cloud/jira/platform/webhooks/
    """
    if wrong := [key for key in projects if not _KEY.fullmatch(key)]:
        raise ConfigError(f"expected keys of projects such as ABC, found {', '.join(wrong)}")
    if not secret:
        return [f"Set ONHAND_JIRA__WEBHOOK_SECRET={secrets.token_urlsafe(32)} and run this again."]
    address = endpoint(public_url, "jira")
    try:
        known = await api.get(token, _PATH, list[Hook])
        if any(hook.url == address for hook in known):
            return [f"The webhook to {address} is there already."]
        await api.send(token, "POST", _PATH, body=_wanted(address, secret, projects))
    except ProviderError as error:
        if error.worth_retrying:
            raise
        by_hand = (
            f"By hand: System, WebHooks; address {address}, the secret of ONHAND_JIRA__WEBHOOK_SECRET, issue created and "
            "updated, comment created and updated. Without an administrator: integrations/jira/README.md, Automation."
        )
        return [f"The webhook takes an administrator's token to register ({error.word}).", by_hand]
    return [f"The webhook to {address} is registered."]


def _wanted(address: str, secret: Secret, projects: Sequence[str]) -> dict[str, object]:
    filters = {"issue-related-events-section": f"project in ({', '.join(projects)})"} if projects else {}
    return {
        "name": "onhand",
        "url": address,
        "events": _EVENTS,
        "filters": filters,
        "excludeBody": False,
        "secret": secret.reveal(),
    }
