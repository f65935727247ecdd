"""Registering our webhook in projects and groups, for `onhand init gitlab GROUP/PROJECT...`. Doing it again renews it.

https://docs.gitlab.com/api/project_webhooks/
"""

import base64
import re
import secrets
from collections.abc import Sequence
from urllib.parse import quote

from bot.core.errors import ConfigError, ProviderError
from bot.core.platform import endpoint
from bot.core.refusals import unless
from bot.core.secret import Secret
from integrations.gitlab import webhook
from integrations.gitlab.answers import Hook, Project
from integrations.gitlab.api import Api

_EVENTS = {
    "issues_events": True,
    "confidential_issues_events": True,
    "merge_requests_events": True,
    "note_events": True,
    "confidential_note_events": True,
    "push_events": False,
}
_IDEMPOTENCY_KEY = (17, 4)
"""The version from which on deliveries carry an Idempotency-Key."""
_SIGNING_TOKEN = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")


async def register(
    api: Api, token: Secret, signing: Secret | None, secret: Secret | None, public_url: str, names: Sequence[str]
) -> list[str]:
    """Make or renew the webhook in each project or group; return lines to show. Raises ConfigError, ProviderError."""
    if wrong := [name for name in names if not webhook.is_project(f"{name}/x")] or not names:
        raise ConfigError(f"name the projects or groups: onhand init gitlab group/project; found {wrong or 'none'}")
    if signing and not _SIGNING_TOKEN.fullmatch(signing.reveal()):
        raise ConfigError("gitlab.signing_token: expected whsec_ and 32 bytes in base64, as GitLab generates it")
    if not (signing or secret):
        fresh = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        raise ConfigError(f"no secret to register; a new one: ONHAND_GITLAB__SIGNING_TOKEN={fresh}")
    body = {
        "url": endpoint(public_url.rstrip("/"), "gitlab"),
        "name": "onhand",
        "enable_ssl_verification": public_url.startswith("https://"),
        **_EVENTS,
        **({"signing_token": signing.reveal()} if signing else {}),
        **({"token": secret.reveal()} if secret else {}),
    }
    lines = [line for name in names for line in await _in(api, token, name, body)]
    return [*lines, *await _version(api, token), "Then: onhand doctor, and Test at the webhook's page must answer 200."]


async def _in(api: Api, token: Secret, name: str, body: dict[str, object]) -> list[str]:
    path = await _path(api, token, name)
    try:
        hooks = await api.get(token, f"{path}/hooks", list[Hook], {"per_page": 100})
        ours = [hook for hook in hooks if hook.url == body["url"]]
        verb, target = ("put", f"{path}/hooks/{ours[0].id}") if ours else ("post", f"{path}/hooks")
        made = await api.request(token, verb, target, Hook, body=body)
    except ProviderError as error:
        if error.word not in ("forbidden", "unauthorized"):
            raise
        return [f"{name}: the token may not manage webhooks; that needs Maintainer (of a group: Owner) while this runs"]
    lines = [f"{name}: webhook {'renewed' if ours else 'made'}"]
    if "signing_token" in body and not made.signing_token_present:
        lines.append(f"{name}: this GitLab does not sign; set ONHAND_GITLAB__WEBHOOK_SECRET and run this again")
    if len(ours) > 1:
        lines.append(f"{name}: {len(ours)} webhooks lead to this address; one is enough")
    return lines


async def _path(api: Api, token: Secret, name: str) -> str:
    """Return the path of a project, else of a group. Raises ProviderError."""
    quoted = quote(name, safe="")
    if project := await unless(api.get(token, f"/projects/{quoted}", Project), "missing"):
        return f"/projects/{project.id}"
    return f"/groups/{await api.get(token, f'/groups/{quoted}', int, {'with_projects': 'false'}, at=('id',))}"


async def _version(api: Api, token: Secret) -> list[str]:
    version = await api.get(token, "/version", str, at=("version",))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if len(numbers) < 2 or numbers >= _IDEMPOTENCY_KEY:
        return []
    return [
        f"GitLab {version} sends no Idempotency-Key (17.4 does): a delivery that comes again is known by what it asks"
    ]
