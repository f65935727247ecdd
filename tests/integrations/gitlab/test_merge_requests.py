"""Our merge request is written anew as long as it reads as we wrote it; what people wrote into it stays."""

import pytest

from bot.core.marks import mark
from bot.core.secret import Secret
from integrations.gitlab.client import GitLab
from tests.integrations.gitlab.test_client import PROJECT, change, push
from tests.standins.gitlab import GitLabServer

MORE = change(title="Mend more", body="More of it.\n/close")


@pytest.mark.parametrize("known", [True, False], ids=["by its receipt", "on its branch"])
async def test_what_people_wrote_into_a_merge_request_stays(
    server: GitLabServer, client: GitLab, token: Secret, known: bool
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [made] = server.merge_requests(PROJECT)
    theirs = f"{made['description']}\r\n- [x] rules"
    made["title"], made["description"] = "Mend it (OPS-1)", theirs
    assert await client.perform(MORE, first if known else None, token) == first
    assert (made["title"], made["description"]) == ("Mend it (OPS-1)", theirs)
    assert [request.method for request in server.requests if request.method == "PUT"] == []


async def test_title_and_text_stay_each_on_its_own(server: GitLabServer, client: GitLab, token: Secret) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [made] = server.merge_requests(PROJECT)
    made["title"] = "Mend it (OPS-1)"
    await client.perform(MORE, first, token)
    assert (made["title"], made["description"].endswith("More of it.\n\\/close")) == ("Mend it (OPS-1)", True)
    made["title"], made["description"] = "Mend it", f"{made['description']} OPS-1"
    await client.perform(change(title="Last", body="The last."), first, token)
    assert (made["title"], made["description"].endswith("close OPS-1")) == ("Last", True)


async def test_a_merge_request_of_which_is_not_known_how_we_wrote_it_stays(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(), None, token)
    [made] = server.merge_requests(PROJECT)
    made["description"] = f"{mark(change().topic)}\nIt is mended."
    for receipt in (first, None):
        await client.perform(MORE, receipt, token)
    assert (made["title"], made["description"]) == ("Mend it", f"{mark(change().topic)}\nIt is mended.")


async def test_a_draft_that_is_done_loses_the_word_unless_people_wrote_the_title(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await push(server, "onhand/1-x")
    first = await client.perform(change(draft=True), None, token)
    [made] = server.merge_requests(PROJECT)
    await client.perform(change(), first, token)
    assert made["title"] == "Mend it"
    made["title"] = "Draft: Mend it"
    await client.perform(change(body="More of it."), first, token)
    assert made["title"] == "Draft: Mend it"
