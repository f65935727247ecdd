"""Installing our app in a further workspace: the operator's link leads to the platform's page, and that one back here."""

import logging
from typing import Annotated

from litestar import MediaType, Response, get
from litestar.datastructures import State
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect

from bot.auth import tickets
from bot.bootstrap import Built, public_url
from bot.core.errors import ProviderError, Refused
from bot.core.ports import Installer, installed_in

log = logging.getLogger(__name__)

_RETURNS = "installed"
_SECONDS = 600.0
"""For which a person may look at the platform's page."""

Text = Annotated[str, QueryParameter(max_length=2000)]


@get("/api/install/{service:str}", tags=["service"])
async def invited(state: State, service: FromPath[str], ticket: Text = "") -> Response[str]:
    """Lead whoever has the operator's link (`onhand init SERVICE`) to the page on which our app is let in."""
    built: Built = state.built
    try:
        _redeem(built, tickets.INSTALL, service, ticket)
    except Refused as error:
        return _said(error.text, 400)
    installer = built.services.integrations.get(service)
    returns = tickets.issue(built.key, _RETURNS, service, built.services.clock() + _SECONDS)
    url = installer.install_url(_back(built, service), returns) if isinstance(installer, Installer) else ""
    return Redirect(url) if url else _said(f"There is nothing to install at {service}.", 404)


@get("/api/install/{service:str}/done", tags=["service"])
async def let_in(
    state: State,
    service: FromPath[str],
    code: Text = "",
    ticket: Annotated[str, QueryParameter(name="state", max_length=2000)] = "",
) -> Response[str]:
    """Keep the token that the platform gives for the code."""
    built: Built = state.built
    installer = built.services.integrations.get(service)
    try:
        _redeem(built, _RETURNS, service, ticket)
        if not isinstance(installer, Installer) or not code:
            return _said("Nothing was installed.", 400)
        installed = await installer.install(code, _back(built, service))
    except Refused as error:
        return _said(error.text, 400)
    except ProviderError as error:
        log.warning("the app could not be installed at %s: %s", service, error)
        return _said("The platform did not let the app in. Please begin again.", 502)
    await built.services.vault.put(installed_in(installed.place), service, installed.token)
    log.info("installed at %s in %s", service, installed.place)
    return _said(f"Installed in {installed.name}. Invite me to a channel and write to me.", 200)


def _redeem(built: Built, purpose: str, service: str, ticket: str) -> None:
    if tickets.redeem(built.key, purpose, ticket, built.services.clock()) != service:
        raise Refused("ticket", "This link is for another service.")


def _back(built: Built, service: str) -> str:
    return f"{public_url(built.settings)}/api/install/{service}/done"


def _said(text: str, status: int) -> Response[str]:
    return Response(text, status_code=status, media_type=MediaType.TEXT)


HANDLERS = (invited, let_in)
