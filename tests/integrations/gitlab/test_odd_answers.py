"""What GitLab answers instead: without an id, by sending on, after a project has moved. Nothing is said twice, nothing is lost."""

import pytest
from msgspec import structs

from bot.core.errors import ProviderError
from bot.core.marks import mark
from bot.core.secret import Secret
from integrations.gitlab.client import GitLab
from tests.integrations.gitlab.test_client import API_PATH, PLACE, PROJECT, change, push, say
from tests.standins.gitlab import GitLabServer

NOTES = f"{API_PATH}/issues/1/notes"
MOVED = "acme/moved/web"


async def test_an_answer_that_names_no_note_is_none(server: GitLabServer, client: GitLab, token: Secret) -> None:
    """Else it would be taken for a note that can never be edited, and the ending never be shown."""
    await server.issue(PROJECT, "alice", "A bug")
    server.fail("POST", NOTES, status=200)
    with pytest.raises(ProviderError) as odd:
        await client.perform(say("One"), None, token)
    first = await client.perform(say("One"), None, token)
    server.fail("PUT", rf"{NOTES}/\d+", status=200)
    with pytest.raises(ProviderError) as again:
        await client.perform(say("Two"), first, token)
    assert (odd.value.word, again.value.word) == ("unavailable", "unavailable")


async def test_being_sent_elsewhere_says_nothing_of_a_note(server: GitLabServer, client: GitLab, token: Secret) -> None:
    """A proxy in front of GitLab that wants people to sign in: the note is there all the same."""
    await server.issue(PROJECT, "alice", "A bug")
    first = await client.perform(say("One"), None, token)
    server.fail("PUT", rf"{NOTES}/\d+", status=302, headers={"location": f"{server.url}/api/v4/version"})
    with pytest.raises(ProviderError) as sent_on:
        await client.perform(say("Two"), first, token)
    assert sent_on.value.word == "unavailable"
    assert await client.perform(say("Two"), first, token) == first
    assert [note["body"] for note in server.notes(PROJECT, "1")] == [f"{mark('status:1')}\nTwo"]


async def test_a_note_said_anew_whose_answer_was_lost_is_not_said_a_third_time(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    first = await client.perform(say("One"), None, token)
    server.state.projects[PROJECT].notes.clear()
    server.fail("POST", NOTES, status=502, after=True)
    with pytest.raises(ProviderError):
        await client.perform(say("Two"), first, token)
    second = await client.perform(say("Three"), first, token)
    assert [(str(note["id"]), note["body"]) for note in server.notes(PROJECT, "1")] == [
        (second.id, f"{mark('status:1')}\nThree")
    ]


async def test_in_a_project_that_moved_meanwhile_the_note_is_edited_and_the_merge_request_is_opened(
    server: GitLabServer, client: GitLab, token: Secret
) -> None:
    await server.issue(PROJECT, "alice", "A bug")
    await push(server, "onhand/1-x")
    first = await client.perform(say("One"), None, token)
    heads = server.git.branches(PROJECT)
    server.git.branches = lambda path: heads  # type: ignore[method-assign]  # its code has not moved along
    server.move(PROJECT, MOVED)
    assert (await client.perform(say("Two"), first, token)).id == first.id
    made = await client.perform(change(), None, token)
    assert (await client.perform(structs.replace(change(), title="Mend more"), made, token)).id == made.id
    assert [note["body"] for note in server.notes(MOVED, "1")] == [f"{mark('status:1')}\nTwo"]
    assert [(str(item["iid"]), item["title"]) for item in server.merge_requests(MOVED)] == [(made.id, "Mend more")]
    assert (await client.source(PLACE, "", token)).base == "main"
