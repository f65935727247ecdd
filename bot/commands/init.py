"""`onhand init`: sets onhand up at a platform.

Where the platform makes an app out of a form, that goes through the browser, and what belongs in the settings is written.
Elsewhere what the API allows is done, and the steps that are left are shown.
"""

import asyncio
import hmac
import html
import secrets
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import click
from msgspec import Struct

from bot import bootstrap, config, registry
from bot.auth import tickets
from bot.commands import settings_file
from bot.config import Settings
from bot.core.errors import ConfigError
from bot.core.patience import patiently
from bot.core.ports import Form, Registration

_SET_BY_IT = ("token", "app_id", "private_key", "webhook_secret", "client_id", "client_secret", "bot_login")
_A_DAY = 24 * 3600.0
_LOOK_EVERY = 0.2
"""Seconds between two looks whether the browser has brought the code."""
_HERE = ("localhost", "127.0.0.1", "::1")


def init(
    settings: Settings, service: str, arguments: Sequence[str], name: str, owner: str, file: Path, port: int
) -> None:
    """Set onhand up at a service: by its `set_up` where it has one, else by making an app. Raises ConfigError, ProviderError."""
    factory = registry.load("integrations", service)
    values = config.section(factory.Settings, settings.sections.get(service, {}), service)
    if set_up := getattr(factory, "set_up", None):
        for line in asyncio.run(set_up(values, bootstrap.public_url(settings), arguments)):
            click.echo(line)
        if getattr(values, "client_id", "") and hasattr(factory, "install_url"):
            click.echo(f"To install it in further workspaces (good for a day): {_install_link(settings, service)}")
        return
    if arguments:
        raise ConfigError(f"onhand init {service} takes no further arguments, found {' '.join(arguments)!r}")
    registration: Callable[[Struct], Registration] | None = getattr(factory, "registration", None)
    if registration is None:
        raise ConfigError(f"onhand init can do nothing at {service}; its README says how to set it up by hand")
    _make_app(settings, service, registration(values), name, owner, file, port)


def _install_link(settings: Settings, service: str) -> str:
    ticket = tickets.issue(bootstrap.signing_key(settings), tickets.INSTALL, service, time.time() + _A_DAY)
    return f"{bootstrap.public_url(settings)}/api/install/{service}?ticket={ticket}"


def _make_app(
    settings: Settings, service: str, registration: Registration, name: str, owner: str, file: Path, port: int
) -> None:
    """Make the app of a service and write its settings into the file. Raises ConfigError, ProviderError."""
    public_url = bootstrap.public_url(settings)
    if urlsplit(public_url).hostname in _HERE:
        raise ConfigError(
            f"ONHAND_PUBLIC_URL: expected the address at which {service} reaches onhand, found {public_url}"
        )
    if found := sorted(set(_SET_BY_IT) & set(settings.sections.get(service, {}))):
        names = ", ".join(f"ONHAND_{service.upper()}__{name.upper()}" for name in found)
        raise ConfigError(f"{names} set already; unset that first (onhand config shows where it comes from)")
    settings_file.refuse_what_is_set(file, service, _SET_BY_IT)
    state = secrets.token_urlsafe(24)
    with ThreadingHTTPServer(
        ("127.0.0.1", port), _Page
    ) as server:  # browsers open connections ahead and leave them idle
        address = f"http://127.0.0.1:{server.server_address[1]}"
        chosen = name or f"onhand {urlsplit(public_url).hostname}"[:34]
        form = registration.form(chosen, public_url, f"{address}/made", state, owner)
        click.echo(f"Open {address} in the browser in which you are signed in at {service} (Ctrl-C ends)")
        code = _until_made(server, form, state)
    made = asyncio.run(patiently(lambda: registration.register(code)))
    settings_file.add(file, service, made.values)
    click.echo(f"{file}: [{service}] {', '.join(made.values)} written")
    click.echo(made.next_step)


def _until_made(server: HTTPServer, form: Form, state: str) -> str:
    """Show the form until the browser is led back with the code of the app that was made."""
    fields = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in form.fields.items()
    )
    _Page.form = (
        f'<form method="post" action="{html.escape(form.address)}">{fields}<button>Make the app</button></form>'
    )
    _Page.state, _Page.code, server.timeout = state, "", _LOOK_EVERY
    while not _Page.code:
        server.handle_request()
    return _Page.code


class _Page(BaseHTTPRequestHandler):
    """The page on loopback: `/` with the form, `/made` to which the platform leads back."""

    timeout = 10
    form = state = code = ""

    def do_GET(self) -> None:
        """Answer the browser."""
        asked = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path == "/":
            self._answer(200, self.form)
        elif asked.path != "/made":
            self._answer(404, "There is nothing here.")
        elif not given.get("code") or not hmac.compare_digest(given.get("state", "").encode(), self.state.encode()):
            self._answer(400, "This is not the answer to the form of this page; go back and begin again.")
        else:
            self._answer(200, "The app is made. Go on in the terminal; this page can be closed.")
            _Page.code = given["code"]  # the process goes on, and ends, from here

    def _answer(self, status: int, text: str) -> None:
        body = f'<!doctype html><meta charset="utf-8"><title>onhand init</title>{text}'.encode()
        self.send_response(status)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the library
        """Keep the code out of the terminal."""
