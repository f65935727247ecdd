"""Making the GitHub App from its manifest, for `onhand init github`: the form to send, and what to keep of the answer."""

import json
from urllib.parse import quote, urlencode

from msgspec import Struct

from bot.core.errors import ProviderError
from bot.core.ports import Form, Registered
from bot.core.secret import Secret
from integrations.github.api import NOBODY, Api
from integrations.github.manifest import manifest

_SPENT = (
    "GitHub does not take the code of the new App: it is good once, and for an hour. "
    "Delete the App where its owner's settings show it, and run onhand init github again"
)


class Conversion(Struct, frozen=True):
    """The App as GitHub has made it, with its secrets, which are told this once."""

    id: int
    slug: str
    html_url: str
    client_id: str
    client_secret: str
    webhook_secret: str
    pem: str


class Registration:
    """Implements `bot.core.ports.Registration`. https://docs.github.com/rest/apps/apps#create-a-github-app-from-a-manifest"""

    def __init__(self, api_url: str, web_url: str, timeout: int) -> None:
        self._api_url, self._web, self._timeout = api_url.rstrip("/"), web_url.rstrip("/"), timeout

    def form(self, name: str, public_url: str, back: str, state: str, owner: str) -> Form:
        account = f"/organizations/{quote(owner, safe='')}" if owner else ""
        address = f"{self._web}{account}/settings/apps/new?{urlencode({'state': state})}"
        return Form(address, {"manifest": json.dumps(manifest(name, public_url, back))})

    async def register(self, code: str) -> Registered:
        api = Api(self._api_url, self._timeout)
        try:
            answer = await api.request(NOBODY, "POST", f"/app-manifests/{quote(code, safe='')}/conversions")
        except ProviderError as error:
            raise ProviderError("missing", _SPENT) if error.word == "missing" else error from None
        finally:
            api.close()
        made = answer.read(Conversion)
        values: dict[str, str | Secret] = {
            "app_id": str(made.id),
            "bot_login": f"{made.slug}[bot]",
            "client_id": made.client_id,
            "client_secret": Secret(made.client_secret),
            "webhook_secret": Secret(made.webhook_secret),
            "private_key": Secret(made.pem),
        }
        return Registered(values, f"Install it where it shall work: {made.html_url}/installations/new")
