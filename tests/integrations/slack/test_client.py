"""The client against a small Slack: what it does there, and what it makes of every refusal."""

import asyncio
import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from msgspec import structs

from bot.core.errors import ConfigError, ProviderError, Rejected, Unavailable
from bot.core.inbound import Account, Delivery, Image, Origin, Thread, Trigger, Verified
from bot.core.mentions import Request
from bot.core.outbound import OpenChange, Outcome, React, Receipt, Say, Status, Task
from bot.core.ports import CaughtUp, Forge, Illustrated, Integration, Listener, Named, Picker, ThreadOpener, Us
from bot.core.secret import Secret
from integrations.slack import sweep, webhook
from integrations.slack.client import Slack
from integrations.slack.replies import mark
from tests.standins.slack import BOT, SlackServer

PLACE = "T0ACME/C0DEV"


def asked(root: str, ts: str = "", verb: Any = "work") -> Trigger:
    return Trigger(
        thread=Thread("slack", PLACE, root),
        actor=Account("slack", "T0ACME:U0ALICE", "U0ALICE"),
        request=Request(verb, "fix it"),
        meaning=f"slack:{root}",
        by="mention",
        origin=Origin("message", ts or root, thread_id=root),
    )


def say(root: str, text: str = "Hello", topic: str = "help:1") -> Say:
    return Say(topic=topic, thread=Thread("slack", PLACE, root), text=text)


def ended(ending: Any = "finished", **more: Any) -> Status:
    return Status("ended", outcome=Outcome(ending, "", "It is **mended**."), **more)


WORKING = Status("running", tasks=(Task("Look", "done"), Task("Mend", "in_progress")), step="make test", steps=3)


async def show(
    client: Slack, token: Secret, root: str, status: Status, receipt: Receipt | None = None, verb: str = "work"
) -> Receipt:
    (call,) = client.render(asked(root, verb=verb), status, "status:1")
    return await client.perform(call, receipt, token)


def test_the_client_is_what_the_port_asks_for() -> None:
    client: Integration = Slack(Slack.Settings(), Us())
    for ability in (Picker, Listener, ThreadOpener):
        assert isinstance(client, ability)
    assert not isinstance(client, Forge)
    assert not client.receives


@pytest.mark.parametrize(
    "url", ["", "slack.com/api", "ftp://slack.com", "https://u:p@slack.com/api", "https://s.com?x"]
)
def test_an_address_that_cannot_work_is_said_at_start(url: str) -> None:
    with pytest.raises(ConfigError):
        Slack(Slack.Settings(api_url=url), Us())


# --- saying ---------------------------------------------------------------------------------------------------------


async def test_a_message_is_posted_in_the_thread_and_then_edited(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    root = await server.say("U0ALICE", "hi")
    first = await client.perform(say(root, "*One* <!channel>"), None, token)
    second = await client.perform(say(root, "**Two**"), first, token)
    (message,) = server.said_by_us(root)
    assert first == second
    assert message["text"] == "*Two*"
    assert server.called("chat.postMessage")[0]["text"] == "_One_ &lt;!channel&gt;"


async def test_an_answer_that_does_not_name_the_message_is_none(
    server: SlackServer, client: Slack, token: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await server.say("U0ALICE", "hi")
    monkeypatch.setattr(server, "_chat_postMessage", lambda given: {"ts": ["x"]})
    with pytest.raises(ProviderError) as untold:
        await client.perform(say(root), None, token)
    assert untold.value.word == "unavailable"


async def test_a_message_that_somebody_deleted_is_said_anew(server: SlackServer, client: Slack, token: Secret) -> None:
    root = await server.say("U0ALICE", "hi")
    first = await client.perform(say(root, "One"), None, token)
    del server.messages[first.id]
    second = await client.perform(say(root, "Two"), first, token)
    assert [m["ts"] for m in server.said_by_us(root)] == [second.id] != [first.id]
    again = await client.perform(say(root, "Three"), first, token)
    assert again == second, "its answer may have been lost"
    assert len(server.said_by_us(root)) == 1


async def test_a_message_of_ours_is_found_by_its_mark(server: SlackServer, client: Slack, token: Secret) -> None:
    root = await server.say("U0ALICE", "hi")
    assert await client.find(say(root), token) is None
    made = await client.perform(say(root), None, token)
    for number in range(450):
        ts = await server.say("U0BOB", f"me too {number}", root=root)
    server.messages[ts]["blocks"] = [{"block_id": mark("help:1")}]
    await client.perform(say(root, topic="help:12"), None, token)
    for old in list(server.messages)[2:420]:
        del server.messages[old]
    assert await client.find(say(root), token) == made


async def test_the_message_that_asked_gets_eyes_once(server: SlackServer, client: Slack, token: Secret) -> None:
    root = await server.say("U0ALICE", "hi")
    react = React(topic="react:1", thread=Thread("slack", PLACE, root), origin=Origin("message", root))
    assert await client.perform(react, None, token) == await client.perform(react, None, token)
    assert server.reactions == [(root, "eyes")]


async def test_a_change_is_nothing_for_slack(client: Slack, token: Secret) -> None:
    call: Any = OpenChange(
        topic="c",
        thread=Thread("slack", PLACE, "1.1"),
        repository=None,
        head="a",
        base="b",
        title="t",
        body="",  # type: ignore[arg-type]
    )
    with pytest.raises(ProviderError):
        await client.perform(call, None, token)


# --- how a request stands -------------------------------------------------------------------------------------------


async def test_progress_is_a_stream_with_task_cards_that_ends_in_words(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    root = await server.say("U0ALICE", "hi")
    first = await show(client, token, root, Status("queued"))
    assert await show(client, token, root, WORKING, first) == first
    last = await show(client, token, root, ended(change_url="https://github.com/acme/app/pull/3"), first)
    (message,) = server.said_by_us(root)
    cards = {b["title"]: b["status"] for b in message["blocks"] if b["type"] == "task_card"}
    assert cards == {"Ended": "complete", "Look": "complete", "Mend": "in_progress"}
    assert "It is *mended*." in json.dumps(message["blocks"])
    assert "<https://github.com/acme/app/pull/3|pull request #3>" in json.dumps(message["blocks"])
    assert first.id == f"stream:{last.id}"
    assert server.called("chat.postMessage") == server.called("chat.update") == []
    assert server.called("chat.startStream")[0]["recipient_user_id"] == "U0ALICE"


async def test_a_status_that_was_asked_for_is_a_message_of_that_moment(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    root = await server.say("U0ALICE", "hi")
    server.agents = True
    await show(client, token, root, WORKING)
    (call,) = client.render(asked(root, verb="status"), WORKING, "reply:2")
    await client.perform(call, None, token)
    _, reply = server.said_by_us(root)
    assert reply["ts"] not in server.live
    assert "Working on it" in reply["text"]
    assert server.sessions[root] == "processing"


async def test_a_stream_that_is_over_is_edited_as_a_message(server: SlackServer, client: Slack, token: Secret) -> None:
    root = await server.say("U0ALICE", "hi")
    first = await show(client, token, root, Status("queued"))
    server.live.clear()  # after five minutes
    then = await show(client, token, root, WORKING, first)
    await show(client, token, root, ended(), then)
    (message,) = server.said_by_us(root)
    assert then.id == message["ts"]
    assert message["text"].startswith("*Done.*")


@pytest.mark.parametrize("error", ["msg_too_long", "missing_scope", "invalid_blocks"])
async def test_an_ending_that_a_stream_does_not_take_is_edited_in(
    server: SlackServer, client: Slack, token: Secret, error: str
) -> None:
    root = await server.say("U0ALICE", "hi")
    first = await show(client, token, root, Status("queued"))
    server.fail(r"chat\.stopStream", error)
    await show(client, token, root, ended(), first)
    (message,) = server.said_by_us(root)
    assert message["text"].startswith("*Done.*")
    assert server.live == set()


async def test_without_streams_one_message_is_edited(server: SlackServer, client: Slack, token: Secret) -> None:
    server.streams = False
    root = await server.say("U0ALICE", "hi")
    first = await show(client, token, root, Status("queued"))
    await show(client, token, root, WORKING, first)
    (message,) = server.said_by_us(root)
    assert "☑ Look" in message["text"]
    assert "onhand:stop" in json.dumps(message["blocks"])
    await show(client, token, root, ended("failed"), first)
    assert "onhand:retry" in json.dumps(message["blocks"])
    assert "onhand:stop" not in json.dumps(message["blocks"])


async def test_an_ending_said_again_after_a_crash_changes_nothing_more(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    root = await server.say("U0ALICE", "hi")
    first = await show(client, token, root, Status("queued"))
    await show(client, token, root, ended(), first)
    await show(client, token, root, ended(), first)
    (message,) = server.said_by_us(root)
    assert message["text"].startswith("*Done.*")


@pytest.mark.parametrize("agents", [False, True])
async def test_where_slack_has_a_stop_button_there_is_none_of_ours(
    server: SlackServer, client: Slack, token: Secret, agents: bool
) -> None:
    server.agents = agents
    root = await server.say("U0ALICE", "hi")
    first = await show(client, token, root, Status("queued"))
    (message,) = server.said_by_us(root)
    assert ("onhand:stop" in json.dumps(message["blocks"])) is not agents
    assert server.sessions == ({root: "processing"} if agents else {})
    await show(client, token, root, ended(), first)
    assert server.sessions == {root: "active"}


@pytest.mark.parametrize("live", [True, False])
async def test_a_stream_of_ours_is_found_by_its_cards(
    server: SlackServer, client: Slack, token: Secret, live: bool
) -> None:
    root = await server.say("U0ALICE", "hi")
    made = await show(client, token, root, Status("queued"))
    if not live:
        made = await show(client, token, root, ended(), made)
    (call,) = client.render(asked(root), WORKING, "status:1")
    assert await client.find(call, token) == made


async def test_a_plan_can_be_approved_and_a_question_answered_from_a_menu(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    root = await server.say("U0ALICE", "hi")
    first = await show(client, token, root, Status("queued"))
    question = Status("asking", question="Which repository do you mean?", choices=("github:acme/app",))
    then = await show(client, token, root, question, first)
    (message,) = server.said_by_us(root)
    assert "external_select" in json.dumps(message["blocks"])
    await show(client, token, root, WORKING, then)
    assert "external_select" not in json.dumps(message["blocks"])
    await show(client, token, root, ended(), then, verb="plan")
    assert "onhand:approve" in json.dumps(message["blocks"])


@pytest.mark.parametrize(
    ("patch", "flaw", "how"),
    [
        ("-~~~~~~~~\n+x\n-- \nonhand\n", "", "as `onhand.patch`: `git am onhand.patch`."),
        ("+```\n-- \nonhand\n", "", "so it is for reading only."),
        ("+x\n" * 9_000, "", "so it cannot be applied as it is."),
        ("+********\n", "A secret is masked.", "A secret is masked."),
    ],
)
def test_a_patch_is_offered_only_where_slack_shows_it_as_it_is(client: Slack, patch: str, flaw: str, how: str) -> None:
    status = structs.replace(ended(), patch=patch, patch_flaw=flaw)
    call = client.render(asked("1.2"), status, "status:1")[-1]
    assert isinstance(call, Say)
    assert call.text.partition("\n")[0].endswith(how)
    assert f"diff\n{patch[:9000].strip()}" in call.text


async def test_a_long_ending_fits_what_slack_takes(server: SlackServer, client: Slack, token: Secret) -> None:
    server.streams = False
    root = await server.say("U0ALICE", "hi")
    long = Status("ended", outcome=Outcome("finished", "", "Long & <long>. " * 9000), patch="+x\n" * 90_000)
    receipts = [await client.perform(c, None, token) for c in client.render(asked(root), long, "status:1")]
    assert len({r.id for r in receipts}) == 2


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        ("invalid_auth", 200, "unauthorized"),
        ("missing_scope", 200, "forbidden"),
        ("channel_not_found", 200, "missing"),
        ("ratelimited", 429, "limited"),
        ("internal_error", 200, "unavailable"),
        ("invalid_blocks", 200, "invalid"),
        ("", 401, "unauthorized"),
        ("", 403, "forbidden"),
        ("", 404, "missing"),
        ("", 429, "limited"),
        ("", 500, "unavailable"),
    ],
)
async def test_each_refusal_has_its_word(
    server: SlackServer, client: Slack, token: Secret, error: str, status: int, word: str
) -> None:
    root = await server.say("U0ALICE", "hi")
    server.fail(r"chat\.postMessage", error, status=status, headers={"Retry-After": "7"})
    with pytest.raises(ProviderError) as refused:
        await client.perform(say(root), None, token)
    assert refused.value.word == word
    assert refused.value.retry_after == (7.0 if word == "limited" else None)


async def test_a_date_until_which_to_wait_is_understood(server: SlackServer, client: Slack, token: Secret) -> None:
    date = formatdate(time.time() + 100, usegmt=True)
    server.fail(r"auth\.test", "ratelimited", status=429, headers={"Retry-After": date})
    with pytest.raises(ProviderError) as refused:
        await client.identify(token)
    assert 95 < (refused.value.retry_after or 0) <= 101


async def test_no_answer_is_unavailable(server: SlackServer, client: Slack, token: Secret) -> None:
    fault = server.hang(r"chat\.postMessage")
    with pytest.raises(ProviderError) as refused:
        await client.perform(say("1.1"), None, token)
    fault.release()
    assert refused.value.word == "unavailable"


async def test_a_token_that_is_not_accepted_stops_a_stream_from_becoming_a_message(
    server: SlackServer, client: Slack
) -> None:
    root = await server.say("U0ALICE", "hi")
    with pytest.raises(ProviderError) as refused:
        await show(client, Secret("xoxb-other"), root, Status("queued"))
    assert refused.value.word == "unauthorized"


# --- who, and what was said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "may"),
    [
        ({}, True),
        ({"is_restricted": True}, False),
        ({"is_ultra_restricted": True}, False),
        ({"is_bot": True}, False),
        ({"deleted": True}, False),
        ({"is_stranger": True}, False),
        ({"team_id": "T0OTHER"}, False),
        ({"team_id": "T0ORG", "enterprise_user": {"teams": ["T0ORG", "T0ACME"]}}, True),
    ],
)
async def test_only_full_members_may_ask(
    server: SlackServer, client: Slack, token: Secret, more: dict[str, Any], may: bool
) -> None:
    server.person("U0DAVE", **more)
    account = Account("slack", "T0ACME:U0DAVE", "U0DAVE")
    assert await client.may_ask(Thread("slack", PLACE, "1.1"), account, token) is may


@pytest.mark.parametrize(("team", "may"), [("T0OTHER", False), ("T0ORG", True)])
async def test_nobody_of_another_organisation_may_ask_wherever_it_is_said_to_be(
    server: SlackServer, client: Slack, token: Secret, team: str, may: bool
) -> None:
    """`is_stranger` is false for those with whom a channel is shared."""
    organisation = {"enterprise_id": "E0ORG", "teams": ["T0ORG", "T0ACME"]} if may else {"enterprise_id": "E0OTHER"}
    server.person("U0EVE", team_id=team, is_stranger=False, enterprise_user=organisation)
    eve = Account("slack", f"{team}:U0EVE", "U0EVE")
    assert await client.may_ask(Thread("slack", f"{team}/C0SHARED", "1.1"), eve, token) is may


@pytest.mark.parametrize("instead", [None, [], "x", 7, {}])
async def test_an_answer_that_tells_of_nobody_is_no_refusal(
    server: SlackServer, client: Slack, token: Secret, instead: Any
) -> None:
    server.users["U0DAVE"] = instead
    with pytest.raises(ProviderError) as untold:
        await client.may_ask(Thread("slack", PLACE, "1.1"), Account("slack", "T0ACME:U0DAVE", "U0DAVE"), token)
    assert untold.value.word == "unavailable"
    assert await client.called(Account("slack", "T0ACME:U0DAVE", "U0DAVE"), token) == "U0DAVE"


@pytest.mark.parametrize("user", ["U0GONE", "", "x y", "../x"])
async def test_who_is_not_there_may_not_ask(server: SlackServer, client: Slack, token: Secret, user: str) -> None:
    account = Account("slack", f"T0ACME:{user}", user)
    assert not await client.may_ask(Thread("slack", PLACE, "1.1"), account, token)


async def test_an_answer_that_tells_of_no_owner_is_none(
    server: SlackServer, client: Slack, token: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as odd:
        odd.setattr(server, "_auth_test", lambda given: {"team_id": None, "user_id": ["x"]})
        with pytest.raises(ProviderError) as untold:
            await client.identify(token)
    assert untold.value.word == "unavailable"
    assert (await client.identify(token)).login == BOT, "it is not remembered"


async def test_accounts_are_known_by_team_and_member(server: SlackServer, client: Slack, token: Secret) -> None:
    assert await client.identify(token) == Account("slack", f"T0ACME:{BOT}", BOT)
    for login in ("U0BOB", "T0ACME:U0BOB"):
        assert await client.account(login, token) == Account("slack", "T0ACME:U0BOB", "U0BOB")
    assert await client.check() == "acts as onhand in Acme"


async def test_the_check_tries_the_app_token_and_knows_installations(server: SlackServer) -> None:
    wrong = Slack(Slack.Settings(app_token=Secret("xapp-other"), api_url=server.api_url), Us())
    with pytest.raises(ProviderError, match="invalid_auth"):
        await wrong.check()
    await wrong.close()
    assert "by link" in await Slack(Slack.Settings(client_id="1.2"), Us()).check()
    with pytest.raises(ConfigError, match="BOT_TOKEN"):
        await Slack(Slack.Settings(), Us()).check()


async def test_what_was_said_before_is_read_newest_first_with_its_texts(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    server.files = {"a.log": b"line \xff" + b"x" * 200_000}
    text = {"name": "a.log", "mimetype": "text/plain", "url_private": f"{server.url}/files/a.log"}
    others = [
        {"name": "c.txt", "mimetype": "text/plain", "url_private": "https://example.com/c.txt"},
        {"name": "gone", "mimetype": "text/plain"},
    ]
    root = await server.say("Alice", "It is &lt;broken&gt;")
    await client.perform(say(root, "On it."), None, token)
    await server.say("Bob", "see", root=root, files=[text, *others])
    ts = await server.say("Alice", f"<@{BOT}> fix it", root=root, files=[text])
    await server.say("Bob", "too late", root=root)
    found = await client.context(asked(root, ts), token)
    assert [(m.author, m.text[:20]) for m in found] == [
        ("Alice, file a.log", "line �" + "x" * 14),
        ("Bob", "see"),
        ("Bob, file a.log", "line �" + "x" * 14),
        ("Alice", "It is <broken>"),
    ]
    assert max(len(m.text) for m in found) == 100_000


def picture(server: SlackServer, name: str, **more: Any) -> dict[str, Any]:
    """A file as Slack describes an image: with smaller ones that it has made."""
    made = {f"thumb_{side}": f"{server.url}/files/{side}_{name}" for side in (64, 360, 720)}
    shape = {"mimetype": "image/png", "size": 70_000, "original_w": 800, "original_h": 600}
    return {"name": name, "url_private": f"{server.url}/files/{name}", **shape, **made, **more}


async def test_images_are_named_with_where_they_are_those_of_the_request_too(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    root = await server.say("Alice", "", files=[picture(server, "a.png", alt_txt="A stack trace")])
    many = [
        picture(server, "heavy.png", size=9_000_000),
        picture(server, "long.png", original_h=12_000),
        picture(server, "phone.heic", mimetype="image/heic"),
        {"name": "no_thumb.tiff", "mimetype": "image/tiff", "url_private": f"{server.url}/files/no_thumb.tiff"},
        {"name": "deleted", "mode": "tombstone"},
        {"name": None, "mimetype": "image/gif", "url_private": f"{server.url}/files/x", "size": "?"},
        {"mimetype": "image/png"},
    ]
    ts = await server.say("Alice", f"<@{BOT}> fix it", root=root, files=many)
    found = await client.context(asked(root, ts), token)
    images = [(m.author, m.text, m.image.address.removeprefix(f"{server.url}/files/")) for m in found if m.image]
    assert images == [
        ("Alice, image heavy.png", "(an image)", "720_heavy.png"),
        ("Alice, image long.png", "(an image)", "720_long.png"),
        ("Alice, image phone.heic", "(an image)", "720_phone.heic"),
        ("Alice, image no_thumb.tiff", "(an image)", "no_thumb.tiff"),
        ("Alice, image without a name", "(an image)", "x"),
        ("Alice, image a.png", "A stack trace", "a.png"),
    ]
    assert len(found) == len(images)
    assert server.reads == [], "nothing is fetched before a run wants it"


async def test_people_are_called_by_their_names_and_asked_for_once(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    server.person("U0DAVE", profile={"display_name": "", "real_name": 'Dave "</untrusted>" O.'})
    root = await server.say("U0ALICE", "<@U0BOB> and <@U0GONE1>, see `@USER` and @UTF8")
    await server.say("U0DAVE", "<@U0BOB|bob> is away", root=root)
    ts = await server.say("U0ALICE", f"<@{BOT}> do as <@U0CAROL> said", root=root)
    trigger = asked(root, ts)
    trigger = structs.replace(trigger, request=Request("work", "do as @U0CAROL said"))
    for _ in range(2):
        found = await client.context(trigger, token)
        assert [(m.author, " ".join(m.text.split())) for m in found] == [
            ("Slack", "In the request, @U0CAROL is Carol."),
            ("Dave /untrusted O.", "@Bob is away"),
            ("Alice", "@Bob and @U0GONE1 , see `@USER` and @UTF8"),
        ]
    asked_for = sorted(
        call.arguments["user"] for call in server.calls if call.method == "users.info" and not call.error
    )
    assert asked_for == ["U0ALICE", "U0BOB", "U0CAROL", "U0DAVE"]
    assert isinstance(client, Named)
    assert await client.called(Account("slack", "T0ACME:U0BOB", "U0BOB"), token) == "Bob"


async def test_where_names_may_not_be_read_ids_stay(server: SlackServer, client: Slack, token: Secret) -> None:
    server.fail(r"users\.info", "missing_scope", times=9)
    root = await server.say("U0ALICE", "<@U0BOB> said so")
    ts = await server.say("U0ALICE", f"<@{BOT}> fix it", root=root)
    [said] = await client.context(asked(root, ts), token)
    assert (said.author, said.text.split()) == ("U0ALICE", ["@U0BOB", "said", "so"])
    assert await client.called(Account("slack", "T0ACME:U0BOB", "U0BOB"), token) == "U0BOB"


async def test_an_image_is_read_from_slack_alone_whole_up_to_a_length(
    server: SlackServer, client: Slack, token: Secret
) -> None:
    assert isinstance(client, Illustrated)
    server.files = {"a.png": bytes(range(256)) * 10_000}
    for longest in (10, 2_560_000, 2_560_001):
        image = Image("a.png", f"{server.url}/files/a.png")
        assert await client.image(image, longest, token) == server.files["a.png"][:longest]
    async with SlackServer() as elsewhere:
        elsewhere.files = {"a.png": b"no"}
        port = server.url.rpartition(":")[2]
        for address in (
            f"{elsewhere.url}/files/a.png",
            f"{server.url}@{elsewhere.url.partition('//')[2]}/files/a.png",
            f"http://localhost:{port}/files/a.png",
            "https://files.slack.com.example.org/a.png",
            "file:///etc/passwd",
            "",
        ):
            assert await client.image(Image("a.png", address), 10, token) == b""
        server.elsewhere = f"{elsewhere.url}/files/a.png"
        assert await client.image(Image("a.png", f"{server.url}/files/moved"), 10, token) == b""
        assert elsewhere.reads == []
    assert await client.image(Image("a.png", f"{server.url}/files/none"), 10, token) == b""
    assert await client.image(Image("a.png", f"{server.url}/files/a.png"), 10, Secret("xoxb-other")) == b""


# --- the slash command, and a connection of our own -----------------------------------------------------------------


def commanded(trigger_id: str = "1.2.x") -> Delivery:
    form = {"command": "/onhand", "text": "fix &lt;it&gt; repo=acme/app", "team_id": "T0ACME", "channel_id": "C0DEV"}
    return webhook.parse(webhook.over_socket({**form, "user_id": "U0ALICE", "trigger_id": trigger_id}))


async def test_a_slash_command_begins_a_thread_once(server: SlackServer, client: Slack, token: Secret) -> None:
    first, again = await asyncio.gather(*(client.open_thread(commanded(), token) for _ in range(2)))
    (message,) = server.said_by_us()
    assert first == again
    assert first.triggers[0].thread.item == first.triggers[0].origin.id == message["ts"]
    assert first.triggers[0].meaning == commanded().triggers[0].meaning
    assert message["text"] == "fix &lt;it&gt;"
    assert "asked by <@U0ALICE>" in json.dumps(message["blocks"])


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("not_in_channel", "Invite me"),
        ("channel_not_found", "Invite me"),
        ("no token", "Invite me"),
        ("hang", "again in a moment"),
        ("ratelimited", "again in a moment"),
        ("internal_error", "again in a moment"),
    ],
)
async def test_a_slash_command_that_cannot_begin_a_thread_is_answered(
    server: SlackServer, client: Slack, token: Secret, error: str, advice: str
) -> None:
    fault = server.hang(r"chat\.postMessage") if error == "hang" else server.fail(r"chat\.postMessage", error)
    delivery = await client.open_thread(commanded(), None if error == "no token" else token)
    fault.release()
    assert delivery.triggers == ()
    assert json.loads(delivery.answer or b"")["response_type"] == "ephemeral"
    assert advice in json.loads(delivery.answer or b"")["text"]


async def test_over_a_socket_the_same_deliveries_come_and_are_acknowledged(server: SlackServer, client: Slack) -> None:
    taken: asyncio.Queue[Delivery] = asyncio.Queue()
    refusals = [Unavailable("the database is away"), Rejected("body", "no")]

    async def take(verified: Verified) -> bytes | None:
        delivery = client.parse(verified)
        if delivery.event == "command" and refusals:
            raise refusals.pop()
        await taken.put(delivery)
        return b'{"options": []}' if delivery.search else delivery.answer

    listening = asyncio.create_task(client.listen(take))
    await server.connected.wait()
    await server.say("U0ALICE", f"<@{BOT}> fix it")
    assert [(await taken.get()).event for _ in range(2)] == ["app_mention", "message"]
    await server.interact(
        "block_suggestion", "U0ALICE", await _status(server), action_id="onhand:repository", value="a"
    )
    assert (await taken.get()).search == "a"
    for _ in range(3):
        await server.command("U0ALICE", "help")
    assert (await taken.get()).event == "command"
    async with asyncio.timeout(20):
        while len(server.acknowledged) < 5:
            await asyncio.sleep(0.01)
    assert {"options": []} in server.acknowledged.values()
    assert len(server.acknowledged) == 5, "what was not stored is not acknowledged"
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def _status(server: SlackServer) -> str:
    return str(server._chat_postMessage({"channel": "C0DEV", "text": "x"})["ts"])


async def test_an_app_token_that_is_not_accepted_is_said(server: SlackServer) -> None:
    client = Slack(Slack.Settings(app_token=Secret("xapp-other"), api_url=server.api_url), Us())
    assert client.listens
    with pytest.raises(ProviderError) as refused:
        await client.listen(_nothing)
    assert refused.value.word == "unauthorized"


async def _nothing(_: Verified) -> bytes | None:
    return None


# --- what did not arrive --------------------------------------------------------------------------------------------


async def test_what_was_said_while_we_were_away_is_found(server: SlackServer, client: Slack, token: Secret) -> None:
    old = await server.say("U0ALICE", f"<@{BOT}> long ago")
    since = float(old)
    asked_for = await server.say("U0ALICE", f"<@{BOT}> fix it")
    reply = await server.say("U0BOB", "and this", root=asked_for)
    direct = await server.say("U0BOB", "help", channel="D0BOB")
    for text, channel in (("lunch?", "C0DEV"), (f"<@{BOT}> x", "C0CLOSED"), (f"`<@{BOT}>`", "C0DEV")):
        await server.say("U0BOB", text, channel=channel)
    await client.perform(say(asked_for, f"<@{BOT}> is me"), None, token)
    server.fail(r"conversations\.history", "ratelimited", status=429, headers={"Retry-After": "0"})
    caught = await sweep.missed(client._api, token, "T0ACME", BOT, since)
    assert caught.failed is None
    found = caught.read
    triggers = [delivery.triggers[0] for delivery in found]
    assert [(t.origin.id, t.by) for t in triggers] == [
        (asked_for, "mention"),
        (reply, "follow_up"),
        (direct, "mention"),
    ]
    assert triggers[0].meaning == f"slack:T0ACME:C0DEV:{asked_for}"
    assert len({delivery.id for delivery in found}) == 3
    assert await client.catch_up(time.time() - sweep.AWAY / 2) == CaughtUp(put_off=True)
    assert len((await client.catch_up(time.time() - 2 * sweep.AWAY)).read) == 4


async def test_what_was_said_before_we_were_called_is_not_said_to_us(server: SlackServer, client: Slack) -> None:
    since = time.time() - 2 * sweep.AWAY
    root = await server.say("U0CAROL", "login is broken")
    await server.say("U0BOB", "I will look at it tomorrow", root=root)
    mention = await server.say("U0ALICE", f"<@{BOT}> fix it", root=root)
    after = await server.say("U0BOB", "and add a test", root=root)
    command = (await client._api.call(Secret(server.token), "chat_postMessage", channel="C0DEV", text="fix it"))["ts"]
    below = await server.say("U0BOB", "and this", root=command)
    found = (await client.catch_up(since)).read
    assert [delivery.triggers[0].origin.id for delivery in found] == [mention, after, below]


async def test_a_channel_that_fails_hides_no_other(server: SlackServer, client: Slack) -> None:
    for channel in ("C0DEV", "D0BOB"):
        await server.say("U0BOB", f"<@{BOT}> fix it", channel=channel)
    since = time.time() - 2 * sweep.AWAY
    both = (await client.catch_up(since)).read
    server.fail(r"conversations\.history", "invalid_ts_oldest")
    caught = await client.catch_up(since)
    assert len(both) == 2
    assert len(caught.read) == 1
    assert isinstance(caught.failed, ProviderError)
    assert (await client.catch_up(since)).read == both


async def test_where_slack_wants_fewer_requests_the_look_ends(server: SlackServer, client: Slack) -> None:
    for channel in ("C0DEV", "D0BOB"):
        await server.say("U0BOB", f"<@{BOT}> fix it", channel=channel)
    server.fail(r"conversations\.history", "ratelimited", status=429, headers={"Retry-After": "3600"}, times=1)
    caught = await client.catch_up(time.time() - 2 * sweep.AWAY)
    assert caught.read == ()
    assert isinstance(caught.failed, ProviderError)
