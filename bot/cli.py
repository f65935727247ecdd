"""The command `onhand`. Each command is short: it reads the settings, opens what it needs and calls the rest.

Exit status: 0 done, 1 failed, 2 wrong use (a setting included).
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from bot import config
from bot.core.errors import ConfigError, OnhandError
from bot.core.lasting import lasting

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings file.")
@click.version_option(package_name="onhand")
@click.pass_context
def cli(context: click.Context, file: Path | None) -> None:
    """A coding agent that a team calls from its issues, pull requests and chats.

    Settings come from the environment (ONHAND_...), then onhand.toml, then defaults: see `onhand config`.
    """
    context.obj = file


def main() -> None:
    """Run the command line."""
    try:
        cli.main(standalone_mode=True)
    except OnhandError as error:
        click.echo(f"onhand: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _settings() -> config.Settings:
    file: Path | None = click.get_current_context().find_root().obj
    return config.load(os.environ, file)


def _run(
    work: Callable[[config.Settings], Coroutine[Any, Any, T]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    *,
    needs_home: bool = True,
) -> T:
    settings = _settings()
    if needs_home:
        config.check_home(settings.home)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(work(settings))


# --- the service

_bound = click.option("--bound", is_flag=True, hidden=True, help="End when standard input closes.")


def _bind(bound: bool) -> None:
    with lasting():
        from bot.commands.service import end_with_parent

    if bound:
        end_with_parent()


@cli.command()
@_bound
def up(bound: bool) -> None:
    """Run the whole service: web, worker, Redis and SQLite, until Ctrl-C."""
    from bot.commands import service

    _bind(bound)
    sys.exit(_run(service.up))


@cli.command()
@click.option("--host", help="Address to bind to; default ONHAND_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to bind to; default ONHAND_PORT.")
@_bound
def serve(host: str | None, port: int | None, bound: bool) -> None:
    """Run the web process alone."""
    from bot.commands import service

    _bind(bound)
    _run(lambda settings: service.serve(settings, host, port), service.quick_loop())


@cli.command()
@_bound
def worker(bound: bool) -> None:
    """Run one worker; start as many as wanted, on any machine."""
    from bot.commands import service

    _bind(bound)
    _run(service.worker)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of progress.")
def demo(as_json: bool) -> None:
    """Do the main job once without any account, and show the pull request.

    A sample repository with a failing test, a local stand-in of GitHub, a signed delivery, a real run.
    """
    from bot.commands import demo as story

    sys.exit(_run(lambda settings: story.demo(settings, as_json), needs_home=False))


# --- looking and checking


@cli.command(name="config")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_config(as_json: bool) -> None:
    """Show every setting in force and where it comes from; secrets are masked."""
    from bot.commands import inspect

    inspect.show_settings(_settings(), as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check keys, database, Redis, sandbox, model and each platform; say what to do about what is wrong."""
    from bot.commands import doctor as checks

    sys.exit(_run(lambda settings: checks.doctor(settings, as_json)))


@cli.command()
@click.argument("conversation")
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON, one a line.")
def show(conversation: str, as_json: bool) -> None:
    """Show a conversation's events. CONVERSATION is an id or a thread such as github:owner/repo#12."""
    from bot.commands import inspect

    _run(lambda settings: inspect.show_conversation(settings, conversation, as_json))


@cli.command()
@click.argument("service")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--event", help="Event name; default: the part of the file's name before the first dot or __.")
@click.option("--url", help="Where to post; default: this service's own address.")
def replay(service: str, files: tuple[Path, ...], event: str | None, url: str | None) -> None:
    """Sign payload files with the configured secret and post them, as SERVICE would."""
    from bot.commands import inspect

    answers = _run(lambda settings: inspect.replay(settings, service, files, event, url))
    for file, status, body in answers:
        click.echo(f"{file.name}: {status} {body}")
    sys.exit(0 if all(status < 400 for _, status, _ in answers) else 1)


# --- setting up


@cli.command()
@click.argument("service")
@click.argument("arguments", nargs=-1, metavar="[WHERE]...")
@click.option("--name", default="", help="Name of the app; default: onhand and the host of ONHAND_PUBLIC_URL.")
@click.option("--organization", default="", help="Make the app for this organization; default: for yourself.")
@click.option(
    "--file",
    default="onhand.toml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the page on loopback; default: a free one."
)
def init(service: str, arguments: tuple[str, ...], name: str, organization: str, file: Path, port: int) -> None:
    """Set onhand up at SERVICE.

    github: makes our app through the browser and writes its settings into onhand.toml. Elsewhere: registers our webhooks
    WHERE you say (projects, groups), as far as the token of the settings allows, and shows the steps that are left.
    """
    from bot.commands import init as setting_up

    setting_up.init(_settings(), service, arguments, name, organization, file, port)


# --- operations


@cli.group()
def db() -> None:
    """The database."""


@db.command(name="upgrade")
def db_upgrade() -> None:
    """Bring the tables to this version."""
    from bot.commands import operations

    click.echo(_run(operations.upgrade_database))


@cli.group()
def keys() -> None:
    """The keys that encrypt stored tokens."""


@keys.command(name="rotate")
def keys_rotate() -> None:
    """Encrypt every stored token anew with the first key."""
    from bot.commands import operations

    count = _run(operations.rotate_keys)
    click.echo(f"{count} token{'s' if count != 1 else ''} encrypted with the first key")


@cli.group()
def users() -> None:
    """Users and their accounts at the platforms."""


@users.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def users_list(as_json: bool) -> None:
    """List users with their accounts."""
    from bot.commands import operations

    rows = _run(operations.list_users)
    for user, account, has_token in rows:
        row = {"user": user.id, "account": f"{account.service}:{account.login}", "id": account.id, "token": has_token}
        click.echo(
            json.dumps(row)
            if as_json
            else "{user}  {account} ({id}){t}".format(**row, t="  token" if has_token else "")
        )


@users.command(name="link")
@click.argument("account")
@click.option("--user", help="The user it belongs to; default: the login.")
@click.option("--id", "account_id", help="The account's id at the platform; default: looked up there.")
@click.option(
    "--token-stdin", is_flag=True, help="Read a token of this account from standard input and store it encrypted."
)
def users_link(account: str, user: str | None, account_id: str | None, token_stdin: bool) -> None:
    """Connect ACCOUNT, such as github:alice, to a user; what waits for it goes on."""
    from bot.commands import operations

    token = sys.stdin.readline().strip() if token_stdin else ""
    click.echo(_run(lambda settings: operations.link(settings, account, user, account_id, token)))


@users.command(name="unlink")
@click.argument("account")
def users_unlink(account: str) -> None:
    """Disconnect ACCOUNT, such as github:alice, and forget its token."""
    from bot.commands import operations

    click.echo(_run(lambda settings: operations.unlink(settings, account)))


@users.command(name="token")
@click.argument("user", default="owner")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True)
def users_token(user: str, days: int) -> None:
    """Print a token with which USER may call the REST API."""
    from bot.commands import operations

    click.echo(_run(lambda settings: operations.api_token(settings, user, days)))
