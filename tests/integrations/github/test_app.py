"""The client as a GitHub App against a small GitHub: tokens, what they reach, and deliveries that are sent again."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from bot.core.errors import ConfigError, ProviderError, Refused
from bot.core.inbound import Account, Origin, Repository, Thread
from bot.core.outbound import React, Say
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.github import Delivery, GitHubServer
from bot.testing.github_app import GitHubApp
from bot.testing.openapi import check_requests
from integrations.github.api import Api
from integrations.github.app import App
from integrations.github.client import GitHub
from integrations.github.manifest import PERMISSIONS

REPO = "octo/hello"
PLACE = Repository("github", REPO)


@pytest.fixture
def app(server: GitHubServer) -> GitHubApp:
    app = server.apps.register("onhand-acme", PERMISSIONS)
    server.install(app, REPO, "octo/other")
    return app


@pytest.fixture
async def server(server: GitHubServer) -> GitHubServer:
    await server.repository("octo/other", {"README.md": "Other\n"}, {"octo-alice": "write"}, private=True)
    await server.repository("acme/elsewhere", {"README.md": "Else\n"}, {"octo-alice": "write"})
    return server


def settings(server: GitHubServer, app: GitHubApp, **more: Any) -> GitHub.Settings:
    given: dict[str, Any] = {"app_id": str(app.id), "private_key": Secret(app.key), "webhook_secret": Secret("s3cret")}
    return GitHub.Settings(**{**given, "api_url": server.api_url, "web_url": server.web_url, "timeout": 2, **more})


@pytest.fixture
async def client(server: GitHubServer, app: GitHubApp) -> AsyncIterator[GitHub]:
    client = GitHub(settings(server, app), Us())
    yield client
    await client.close()


async def given(client: GitHub, place: str = REPO, use: str = "") -> Secret:
    token = await client.token(place, use)
    assert token is not None
    return token


def made(server: GitHubServer) -> int:
    return sum(r.method == "POST" and r.path.endswith("/access_tokens") for r in server.requests)


def say(text: str = "Hello") -> Say:
    return Say(topic="status:1", thread=Thread("github", REPO, "1"), text=text, beneath="")


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_is_for_one_repository_and_for_what_is_needed(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    app.installations[0].permissions = {**PERMISSIONS, "workflows": "write", "checks": "read"}
    token = await given(client)
    (kept,) = app.tokens
    assert kept.repositories == [REPO]
    assert kept.permissions == {name: level for name, level in PERMISSIONS.items() if name != "checks"}
    with pytest.raises(ProviderError, match="missing"):
        await client.source(Repository("github", "octo/other"), "", token)


async def test_a_token_is_kept_for_each_place_and_use(client: GitHub, server: GitHubServer) -> None:
    first = [await given(client), await given(client, use="run-1"), await given(client, "octo/other")]
    again = [await given(client), await given(client, use="run-1"), await given(client, "octo/other")]
    assert first == again
    assert len(set(first)) == made(server) == 3


async def test_many_who_ask_at_once_make_one_token(client: GitHub, server: GitHubServer) -> None:
    assert len(set(await asyncio.gather(*(given(client) for _ in range(20))))) == made(server) == 1


@pytest.mark.parametrize(("seconds", "tokens"), [(400, 1), (299, 3)])
async def test_a_token_is_renewed_five_minutes_before_its_end(
    client: GitHub, server: GitHubServer, seconds: float, tokens: int
) -> None:
    server.apps.token_seconds = seconds
    for _ in range(3):
        await given(client)
    assert made(server) == tokens


async def test_given_back_a_uses_tokens_open_nothing_and_the_others_do(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    stays, goes = await given(client), await given(client, use="run-1")
    await client.give_back("run-1")
    assert [token.value for token in server.apps.alive(app)] == [stays.reveal()]
    with pytest.raises(ProviderError, match="unauthorized"):
        await client.source(PLACE, "", goes)
    assert await given(client, use="run-1") != goes


async def test_a_token_that_cannot_be_given_back_troubles_nobody(client: GitHub, server: GitHubServer) -> None:
    await given(client, use="run-1")
    server.fail("DELETE", "/installation/token")
    await client.give_back("run-1")


async def test_closing_leaves_no_token_alive(server: GitHubServer, app: GitHubApp) -> None:
    client = GitHub(settings(server, app), Us())
    await given(client)
    await given(client, "octo/other", "run-1")
    await client.close()
    assert len(app.tokens) == 2
    assert server.apps.alive(app) == []


async def test_a_token_that_was_revoked_is_made_once_more(client: GitHub, server: GitHubServer) -> None:
    token = await given(client)
    server.revoke(token.reveal())
    sources = await asyncio.gather(*(client.source(PLACE, "", token) for _ in range(5)))
    assert {source.base for source in sources} == {"main"}
    assert made(server) == 2
    assert await given(client) != token


async def test_a_refusal_that_stays_is_said_and_not_repeated(client: GitHub, server: GitHubServer) -> None:
    token = await given(client)
    server.fail("GET", "/repos/octo/hello", status=401, times=9)
    with pytest.raises(ProviderError, match="unauthorized"):
        await client.source(PLACE, "", token)
    assert [r.status for r in server.requests if r.path == "/repos/octo/hello"] == [401, 401]


# --- installations ------------------------------------------------------------------------------------------------------


async def test_several_installations_each_give_their_own_tokens(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    server.install(app, "acme/elsewhere")
    await given(client)
    await given(client, "acme/elsewhere")
    assert [token.repositories for token in app.tokens] == [[REPO], ["acme/elsewhere"]]


async def test_where_it_is_not_installed_it_says_so(client: GitHub) -> None:
    with pytest.raises(Refused, match="not installed on acme/elsewhere"):
        await client.token("acme/elsewhere")


async def test_a_suspended_installation_is_said(client: GitHub, app: GitHubApp) -> None:
    app.installations[0].suspended = True
    with pytest.raises(Refused, match="suspended"):
        await client.token(REPO)


async def test_installed_anew_it_goes_on(client: GitHub, app: GitHubApp, server: GitHubServer) -> None:
    await given(client)
    app.installations.clear()
    server.install(app, REPO)
    assert await given(client, use="run-1")
    assert len(app.tokens) == 2


async def test_allowed_less_since_it_looked_it_goes_on_with_that(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    await given(client)
    app.installations[0].permissions = {**PERMISSIONS, "checks": "read"}
    await given(client, use="run-1")
    assert "checks" not in app.tokens[-1].permissions


async def test_what_is_granted_after_a_refusal_is_there_at_once(server: GitHubServer, app: GitHubApp) -> None:
    now = time.time()
    api = Api(server.api_url, 2)
    ours = App(api, str(app.id), Secret(app.key), lambda: now)
    app.installations[0].permissions = {**PERMISSIONS, "contents": "read"}
    token = await ours.token(REPO, "")
    assert (minted := ours.minted(token))
    assert not minted.may_push(REPO)
    assert await ours.token(REPO, "") == token
    app.installations[0].permissions = dict(PERMISSIONS)
    now += 30
    assert (minted := ours.minted(await ours.token(REPO, "")))
    assert minted.may_push(REPO)
    await ours.close()
    api.close()


async def test_a_clock_that_is_wrong_is_said(server: GitHubServer, app: GitHubApp) -> None:
    client = GitHub(settings(server, app), Us())
    date = formatdate(time.time() + 700, usegmt=True)
    server.fail("GET", "/app", status=401, headers={"date": date}, times=9)
    with pytest.raises(ProviderError, match=r"The clock here is (69\d|700) s behind GitHub's"):
        await client.check()
    await client.close()


async def test_suspended_since_it_looked_it_says_so(client: GitHub, app: GitHubApp) -> None:
    await given(client)
    app.installations[0].suspended = True
    with pytest.raises(Refused, match="suspended"):
        await client.token(REPO, "run-1")


async def test_taken_out_of_its_repositories_since_it_looked_it_says_so(client: GitHub, app: GitHubApp) -> None:
    await given(client)
    app.installations[0].repositories = ["octo/other"]
    with pytest.raises(Refused, match=f"not installed on {REPO}"):
        await client.token(REPO, "run-1")


@pytest.mark.parametrize("known", [True, False])
async def test_a_renamed_repositorys_token_is_for_the_name_that_it_has_now(
    client: GitHub, app: GitHubApp, server: GitHubServer, known: bool
) -> None:
    if known:
        await given(client)
    await server.rename(REPO, "octo/renamed")
    token = await given(client, use="run-1")
    assert app.tokens[-1].repositories == ["octo/renamed"]
    assert all("contents" in one.permissions for one in server.apps.alive(app)), "the one for the name is ended"
    assert (await client.source(PLACE, "", token)).url == f"{server.web_url}/octo/renamed.git"


async def test_without_a_place_an_installation_that_is_not_suspended_serves(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    app.installations[0].suspended = True
    server.install(app, "acme/elsewhere")
    assert await given(client, "")


async def test_without_a_place_the_token_reads_what_everybody_may_see(client: GitHub, app: GitHubApp) -> None:
    token = await given(client, "")
    assert (await client.account("octo-alice", token)).login == "octo-alice"
    assert app.tokens[0].permissions == {"metadata": "read"}


async def test_the_repositories_of_every_installation_are_found(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    server.install(app, "acme/elsewhere")
    for name in ("octo/hidden", "octo/readable", "octo/old"):
        await server.repository(name, {"README.md": "Here\n"}, {})
    suspended, reader = server.install(app, "octo/hidden"), server.install(app, "octo/readable")
    suspended.suspended, reader.permissions = True, {"metadata": "read", "contents": "read"}
    server.install(app, "octo/old")
    server.archive("octo/old")
    token = await given(client, "")
    found = [repository.name for repository in await client.repositories("", token)]
    assert found == [REPO, "octo/other", "acme/elsewhere"]
    assert [repository.name for repository in await client.repositories("ELSE", token)] == ["acme/elsewhere"]
    assert len(server.apps.alive(app)) == 1, "what was made to look is ended"


async def test_a_place_that_does_not_let_it_in_hides_no_other_repositories(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    token = await given(client, "")
    there = server.install(app, "acme/elsewhere")
    server.fail("POST", f"/app/installations/{there.id}/access_tokens", status=403, message="IP allow list enabled")
    found = [repository.name for repository in await client.repositories("", token)]
    assert found == [REPO, "octo/other"]


# --- who it is ----------------------------------------------------------------------------------------------------------


async def test_its_tokens_belong_to_the_apps_bot(client: GitHub, app: GitHubApp, server: GitHubServer) -> None:
    bot = Account("github", str(app.bot.id), "onhand-acme[bot]")
    assert await client.identify(await given(client)) == bot
    await client.identify(await given(client, "octo/other"))
    assert [r.path for r in server.requests].count("/app") == 1
    people = await client.identify(Secret(server.person("octo-alice").token))
    assert people.login == "octo-alice"


async def test_it_finds_its_own_message_again(client: GitHub, server: GitHubServer) -> None:
    await server.issue(REPO, "octo-alice", "A bug")
    token = await given(client)
    await client.perform(
        React(topic="seen", thread=say().thread, origin=Origin("issue", "1"), emoji="eyes"), None, token
    )
    first = await client.perform(say(), None, token)
    assert await client.find(say(), token) == first


async def test_check_says_which_app_it_is_and_what_it_lacks(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    assert await client.check() == "App onhand-acme, installed at 1 place"
    server.install(app, "acme/elsewhere")
    app.permissions["issues"] = "read"
    app.events.remove("check_run")
    assert await client.check() == (
        "App onhand-acme, installed at 2 places; it lacks issues: write, the event check_run"
    )


async def test_check_says_where_people_have_to_do_something(
    client: GitHub, app: GitHubApp, server: GitHubServer
) -> None:
    app.installations[0].suspended = True
    server.install(app, "acme/elsewhere").permissions["checks"] = "read"
    assert await client.check() == (
        "App onhand-acme, installed at 2 places; suspended at octo; acme has still to accept checks: write"
    )
    app.installations.clear()
    assert (await client.check()).endswith(
        f"at 0 places; install it: {server.web_url}/apps/onhand-acme/installations/new"
    )


@pytest.mark.parametrize(
    ("login", "granted", "may"),
    [("octo-alice", "write", True), ("octo-bob", "write", False), ("octo-alice", "read", False)],
)
async def test_both_the_person_and_the_installation_must_have_the_right(
    client: GitHub, app: GitHubApp, server: GitHubServer, login: str, granted: str, may: bool
) -> None:
    app.installations[0].permissions["contents"] = granted
    person = Account("github", str(server.person(login).id), login)
    assert await client.may_write(PLACE, person, await given(client)) is may


async def test_a_token_for_one_repository_gives_no_right_in_another(client: GitHub, server: GitHubServer) -> None:
    alice = Account("github", str(server.person("octo-alice").id), "octo-alice")
    assert not await client.may_write(Repository("github", "octo/other"), alice, await given(client))


# --- deliveries that did not arrive ---------------------------------------------------------------------------------------


def lost(server: GitHubServer, delivery: str, *statuses: int) -> None:
    server.deliveries.append(Delivery(delivery, "issues", "opened", b"{}"))
    for status in statuses:
        server.apps.note(delivery, "issues", "opened", status)


def asked_again(server: GitHubServer) -> list[str]:
    ids = {str(attempt.id): attempt.delivery for attempt in server.apps.attempts}
    paths = [r.path.split("/") for r in server.requests if r.path.endswith("/attempts")]
    return [ids[path[-2]] for path in paths]


async def test_only_what_never_arrived_is_sent_again_oldest_first(client: GitHub, server: GitHubServer) -> None:
    for name, statuses in {
        "lost-1": [502],
        "taken": [202],
        "taken-late": [503, 200],
        "lost-2": [502, 504],
        "refused": [400],
        "forged": [401],
    }.items():
        lost(server, name, *statuses)
    assert (await client.catch_up(0)).sent_again == 2
    assert asked_again(server) == ["lost-1", "lost-2"]


async def test_what_was_just_asked_for_is_not_asked_for_again(client: GitHub, server: GitHubServer) -> None:
    lost(server, "lost", 502)
    looks = await asyncio.gather(client.catch_up(0), client.catch_up(0))
    assert sorted(look.sent_again for look in looks) == [0, 1]
    assert asked_again(server) == ["lost"]


async def test_what_github_could_not_send_is_asked_for_at_the_next_look(client: GitHub, server: GitHubServer) -> None:
    lost(server, "lost", 502)
    fault = server.fail("POST", r"/app/hook/deliveries/\d+/attempts", status=500, times=99)
    with pytest.raises(ProviderError):
        await client.catch_up(0)
    fault.times = 0
    assert (await client.catch_up(0)).sent_again == 1


async def test_what_is_older_is_left(client: GitHub, server: GitHubServer) -> None:
    lost(server, "old", 502)
    lost(server, "new", 502)
    old = server.apps.attempts[0]
    server.apps.attempts[0] = replace(old, at=old.at - 100)
    assert (await client.catch_up(old.at - 50)).sent_again == 1
    assert asked_again(server) == ["new"]


async def test_every_page_of_the_list_is_read(client: GitHub, server: GitHubServer) -> None:
    for number in range(150):
        lost(server, f"taken-{number}", 202)
    lost(server, "taken-149", 502)
    lost(server, "lost", 502)
    server.apps.attempts.insert(0, server.apps.attempts.pop())
    assert (await client.catch_up(0)).sent_again == 1
    assert asked_again(server) == ["lost"]


async def test_one_that_github_does_not_send_again_holds_up_no_other(client: GitHub, server: GitHubServer) -> None:
    lost(server, "first", 502)
    lost(server, "second", 502)
    server.fail("POST", r"/app/hook/deliveries/\d+/attempts", status=422)
    await client.catch_up(0)
    assert asked_again(server) == ["first", "second"]


# --- settings -------------------------------------------------------------------------------------------------------------


def test_the_key_is_a_secret_and_may_stand_on_one_line(server: GitHubServer, app: GitHubApp) -> None:
    client = GitHub(settings(server, app, private_key=Secret(app.key.replace("\n", "\\n"))), Us())
    assert Secret(app.key.replace("\n", "\\n")) in client.secrets()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"private_key": None}, "github.app_id and github.private_key"),
        ({"app_id": ""}, "github.app_id and github.private_key"),
        ({"private_key": Secret("no key")}, "github.private_key: expected"),
        ({"token": Secret("ghp_token")}, "github.token and github.app_id"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(
    server: GitHubServer, app: GitHubApp, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        GitHub(settings(server, app, **wrong), Us())


async def test_another_apps_key_is_unauthorized(server: GitHubServer, app: GitHubApp) -> None:
    other = server.apps.register("stranger", PERMISSIONS)
    client = GitHub(settings(server, app, private_key=Secret(other.key)), Us())
    with pytest.raises(ProviderError, match="unauthorized"):
        await client.check()
    await client.close()


async def test_every_request_is_as_github_describes_it(
    client: GitHub, app: GitHubApp, server: GitHubServer, description: dict[str, Any]
) -> None:
    lost(server, "lost", 502)
    token = await given(client, use="run-1")
    await given(client, "")
    await client.identify(token)
    await client.may_write(PLACE, await client.account("octo-alice", token), token)
    await client.catch_up(0)
    await client.check()
    await client.give_back("run-1")
    assert check_requests(server.requests, description) == []
    assert len({(r.method, r.path) for r in server.requests}) == 11
