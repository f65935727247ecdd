"""Our pull request is written anew as long as it reads as we wrote it; what people wrote into it stays."""

import asyncio

import pytest

from bot.core.errors import Refused
from bot.core.marks import mark
from bot.core.secret import Secret
from bot.testing.github import GitHubServer
from integrations.github.client import GitHub
from tests.integrations.github.test_client import REPO, change, push

MORE = change(title="Mend more", body="More of it.")


@pytest.mark.parametrize("known", [True, False], ids=["by its receipt", "on its branch"])
async def test_what_people_wrote_into_a_pull_request_stays(
    server: GitHubServer, client: GitHub, token: Secret, known: bool
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [pull] = server.pulls(REPO)
    theirs = f"{pull.body}\r\n- [x] rules"
    pull.title, pull.body = "Mend it (OPS-1)", theirs
    assert await client.perform(MORE, first if known else None, token) == first
    assert (pull.title, pull.body) == ("Mend it (OPS-1)", theirs)
    assert [request.method for request in server.requests if request.method == "PATCH"] == []


async def test_title_and_text_stay_each_on_its_own(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [pull] = server.pulls(REPO)
    pull.title = "Mend it (OPS-1)"
    await client.perform(MORE, first, token)
    assert (pull.title, (pull.body or "").endswith("More of it.")) == ("Mend it (OPS-1)", True)
    pull.title, pull.body = "Mend it", f"{pull.body} OPS-1"
    await client.perform(change(title="Last", body="The last."), first, token)
    assert (pull.title, (pull.body or "").endswith("More of it. OPS-1")) == ("Last", True)


async def test_a_pull_request_of_which_is_not_known_how_we_wrote_it_stays(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [pull] = server.pulls(REPO)
    pull.body = f"{mark(change().topic)}\nIt is mended."
    for receipt in (first, None):
        await client.perform(MORE, receipt, token)
    assert (pull.title, pull.body) == ("Mend it", f"{mark(change().topic)}\nIt is mended.")


async def test_an_overlong_text_is_renewed_as_well(server: GitHubServer, client: GitHub, token: Secret) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(body="word " * 20_000), None, token)
    [pull] = server.pulls(REPO)
    assert len(pull.body or "") == 65_536
    pull.body = (pull.body or "").replace("\n", "\r\n")
    await client.perform(MORE, first, token)
    assert (pull.body or "").endswith("More of it.")


@pytest.mark.parametrize("inside", [True, False], ids=["with the work in it", "before the work was pushed"])
async def test_one_that_was_merged_or_closed_meanwhile_is_the_one_if_the_work_is_in_it(
    server: GitHubServer, client: GitHub, token: Secret, inside: bool
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [pull] = server.pulls(REPO)
    pull.state = "closed"
    commit = server.git.branches(REPO)["onhand/1-x"]
    shown = server.state.pull(server.state.repositories[REPO], pull)
    shown["head"]["sha"] = commit if inside else "0" * 40  # GitHub tells where the branch stood when it was closed
    server.fail("GET", f"/repos/{REPO}/pulls/{pull.number}", status=200, body=shown)
    now = await client.perform(change(title="Mend more", commit=commit), first, token)
    assert (now == first) is inside
    assert len(server.pulls(REPO)) == (1 if inside else 2)
    assert pull.title == "Mend it"


async def test_a_branch_that_somebody_has_merged_by_hand_is_not_called_refused_by_the_platform(
    server: GitHubServer, client: GitHub, token: Secret
) -> None:
    await asyncio.to_thread(server.git.git, REPO, "branch", "onhand/1-x", "main")
    with pytest.raises(Refused, match="The branch `main` has all that is on `onhand/1-x` already"):
        await client.perform(change(), None, token)
