"""Deliveries of a repository's own webhook that did not arrive: sent again where the token administers the repository."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.core import in_turn
from bot.core.errors import ProviderError
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.github import Delivery, GitHubServer
from bot.testing.openapi import check_requests
from integrations.github import deliveries
from integrations.github.client import GitHub
from tests.integrations.github.conftest import REPO
from tests.integrations.github.test_app import asked_again

OTHER = "octo/other"
OURS = "https://onhand.example"


@pytest.fixture
async def administers(server: GitHubServer) -> AsyncIterator[GitHub]:
    server.permit(REPO, "onhand-bot", "admin")
    server.hook("https://ci.example/hook", "x")
    server.hook(f"{OURS}/api/integration/github/events", "x")
    client = GitHub(
        GitHub.Settings(
            webhook_secret=Secret("s3cret"),
            api_url=server.api_url,
            web_url=server.web_url,
            token=Secret(server.person("onhand-bot").token),
            timeout=2,
        ),
        Us(public_url=OURS),
    )
    yield client
    await client.close()


def lost(server: GitHubServer, delivery: str, *statuses: int, place: str = REPO) -> None:
    server.deliveries.append(Delivery(delivery, "issues", "opened", json.dumps({}).encode(), place=place))
    for status in statuses:
        server.apps.note(delivery, "issues", "opened", status, place)


def paths(server: GitHubServer, part: str) -> list[str]:
    return [request.path for request in server.requests if part in request.path]


async def test_what_never_arrived_at_our_own_hook_is_sent_again(administers: GitHub, server: GitHubServer) -> None:
    lost(server, "lost", 502)
    lost(server, "taken", 202)
    lost(server, "elsewhere", 502, place="octo/other")
    assert (await administers.catch_up(0)).sent_again == 1
    assert asked_again(server) == ["lost"]
    assert paths(server, "/hooks/") == [
        f"/repos/{REPO}/hooks/2/deliveries",
        f"/repos/{REPO}/hooks/2/deliveries/{server.apps.attempts[0].id}/attempts",
    ]


async def test_where_our_hooks_are_is_looked_for_once_in_a_while(administers: GitHub, server: GitHubServer) -> None:
    for _ in range(3):
        await administers.catch_up(0)
    assert paths(server, "/user/repos") == ["/user/repos"]
    assert len(paths(server, "/deliveries")) == 3


async def test_who_only_writes_asks_for_no_hooks(administers: GitHub, server: GitHubServer) -> None:
    server.permit(REPO, "onhand-bot", "write")
    lost(server, "lost", 502)
    assert (await administers.catch_up(0)).sent_again == 0
    assert paths(server, "/hooks") == []


@pytest.mark.parametrize("status", [403, 404])
async def test_a_token_that_is_not_for_webhooks_is_no_error(
    administers: GitHub, server: GitHubServer, status: int
) -> None:
    server.fail("GET", rf"/repos/{REPO}/hooks", status=status)
    assert (await administers.catch_up(0)).sent_again == 0


async def test_a_hook_that_is_gone_is_looked_for_anew(administers: GitHub, server: GitHubServer) -> None:
    await administers.catch_up(0)
    server.fail("GET", rf"/repos/{REPO}/hooks/2/deliveries", status=404)
    assert (await administers.catch_up(0)).sent_again == 0
    lost(server, "lost", 502)
    assert (await administers.catch_up(0)).sent_again == 1


async def test_github_that_is_away_is_an_error_for_the_sweep(administers: GitHub, server: GitHubServer) -> None:
    server.fail("GET", rf"/repos/{REPO}/hooks/2/deliveries", status=503)
    with pytest.raises(ProviderError):
        await administers.catch_up(0)


@pytest.mark.parametrize("path", ["hooks", "hooks/2/deliveries"])
@pytest.mark.parametrize(("broken", "well"), [(REPO, OTHER), (OTHER, REPO)])
async def test_a_repository_that_fails_keeps_no_other_from_its_turn(
    administers: GitHub, server: GitHubServer, broken: str, well: str, path: str
) -> None:
    await server.repository(OTHER, {"README.md": "Other\n"}, {"onhand-bot": "admin"})
    server.fail("GET", f"/repos/{broken}/{path}", status=500, times=2)
    for place in (REPO, OTHER):
        lost(server, place, 502, place=place)
    for _ in range(2):
        with pytest.raises(ProviderError, match=f"500 to GET /repos/{broken}/{path}"):
            await administers.catch_up(0)
        assert asked_again(server) == [well]
    assert (await administers.catch_up(0)).sent_again == 1
    assert asked_again(server) == [well, broken]


async def test_a_delivery_that_fails_again_and_again_keeps_no_other_from_its_turn(
    administers: GitHub, server: GitHubServer
) -> None:
    for name in ("old", "new"):
        lost(server, name, 502)
    old = server.apps.attempts[0].id
    server.fail("POST", rf".*/deliveries/{old}/attempts", status=500, times=99)
    for _ in range(3):
        with pytest.raises(ProviderError, match=f"500 to POST .*/{old}/attempts"):
            await administers.catch_up(0)
    assert asked_again(server) == ["old", "new", "old", "old"]


@pytest.mark.parametrize(("status", "word"), [(429, "limited"), (401, "unauthorized")])
async def test_where_github_wants_no_more_requests_none_is_made(
    administers: GitHub, server: GitHubServer, status: int, word: str
) -> None:
    await server.repository(OTHER, {"README.md": "Other\n"}, {"onhand-bot": "admin"})
    for place in (REPO, OTHER):
        for name in ("first", "second"):
            lost(server, f"{name} in {place}", 502, place=place)
    fault = server.fail("POST", r".*/attempts", status=status, times=99)
    with pytest.raises(ProviderError, match=word):
        await administers.catch_up(0)
    assert len(asked_again(server)) == 1
    fault.times = 0
    assert (await administers.catch_up(0)).sent_again == 4, "none is given up"


async def test_a_github_that_is_away_is_not_asked_for_each(
    administers: GitHub, server: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_turn, "_PATIENCE", 0.0)
    for name in ("first", "second"):
        lost(server, name, 502)
    server.fail("POST", r".*/attempts", status=503, times=99)
    with pytest.raises(ProviderError):
        await administers.catch_up(0)
    assert asked_again(server) == ["first"]


async def test_a_list_of_deliveries_that_leads_to_itself_is_read_once(
    administers: GitHub, server: GitHubServer
) -> None:
    lost(server, "lost", *[502] * 120)
    path = f"/repos/{REPO}/hooks/2/deliveries"
    itself = {"link": f'<{server.api_url}{path}?per_page=100&cursor=v100>; rel="next"'}
    page = server.apps.deliveries({"per_page": "100", "cursor": "v100"}, server.apps.attempts).body
    fault = server.fail("GET", path, status=200, headers=itself, body=page, times=20)
    fault.skip = 1
    assert (await administers.catch_up(0)).sent_again == 1
    assert paths(server, path)[:-1] == [path] * 2


async def test_a_list_of_deliveries_without_an_end_is_read_so_far(
    administers: GitHub, server: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_MOST_PAGES", 2)
    for name in ("older", "newer"):
        lost(server, name, *[502] * 200)
    assert (await administers.catch_up(0)).sent_again == 1
    assert asked_again(server) == ["newer"]


async def test_every_request_is_one_that_github_describes(
    administers: GitHub, server: GitHubServer, description: dict[str, Any]
) -> None:
    lost(server, "lost", 502)
    await administers.catch_up(0)
    assert len(server.requests) == 4
    assert check_requests(server.requests, description) == []
