"""From a mention at Slack to its ending, end to end: asked in a chat, the pull request is at GitHub."""

import asyncio
import json
import time
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from slack_sdk.signature import SignatureVerifier

from bot.commands import inspect, operations
from bot.config import load
from bot.core.conversation import conversation_id
from bot.core.inbound import Thread
from bot.testing.github import GitHubServer
from tests.journeys.conftest import Place
from tests.journeys.faults.conftest import begin  # noqa: F401  # a fixture
from tests.journeys.steps import CANARIES, MEND_CALC, bash, finish
from tests.standins.slack import APP_TOKEN, BOT, TEAM, SlackServer

PAYLOADS = Path(__file__).parents[1] / "integrations" / "slack" / "payloads"

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415478da63f8cfc0000003"
    "010100f70341430000000049454e44ae426082"
)
"""One red pixel."""

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


class Talk:
    """A channel of its own at the stand-in, before the running service."""

    def __init__(self, place: Place, slack: SlackServer) -> None:
        self.place, self.slack = place, slack
        self.channel = f"C{uuid.uuid4().hex[:10].upper()}"
        self.code = f"<{place.github.web_url}/{place.name}>"
        """The repository as its address: a bare name would be asked for at every forge, and the others are away."""

    async def ask(self, text: str = "", who: str = "U0ALICE", **more: Any) -> str:
        text = text or f"<@{BOT}> `add` is wrong in {self.code} please fix it"
        return await self.slack.say(who, text, **{"channel": self.channel, **more})

    def path(self, root: str, channel: str = "") -> str:
        thread = Thread("slack", f"{TEAM}/{channel or self.channel}", root)
        return f"/api/v1/conversations/{conversation_id(thread)}"

    async def ended(self, root: str, channel: str = "") -> None:
        async def closed() -> bool:
            view = (await self.place.client.get(self.path(root, channel))).json()
            return view.get("open_requests") == 0

        await self.place.until(closed)

    async def running(self, root: str, command: str) -> None:
        async def begun() -> bool:
            events = (await self.place.client.get(f"{self.path(root)}/events")).json().get("events", [])
            return any(e.get("action") == "run" and e["args"]["command"] == command for e in events)

        await self.place.until(begun)

    def said(self, root: str) -> list[str]:
        """What stands in our messages of a thread, blocks and all."""
        return [json.dumps([m.get("text"), m.get("blocks")], ensure_ascii=False) for m in self.slack.said_by_us(root)]


@pytest.fixture
async def talk(place: Place) -> AsyncIterator[Talk]:
    port = urlsplit(place.service.environment["ONHAND_SLACK__API_URL"]).port or 0
    async with SlackServer(token=CANARIES["slack"], port=port) as slack:
        slack.hook(f"{place.service.url}/api/integration/slack/events", CANARIES["slack_signing"])
        yield Talk(place, slack)
        assert slack.problems == []


@pytest.mark.both_pairs
async def test_a_mention_becomes_a_pull_request_and_both_link_to_each_other(talk: Talk, tmp_path: Path) -> None:
    place = talk.place
    place.script(bash(MEND_CALC), finish())
    root = await talk.ask()
    await talk.ended(root)
    [pull] = place.pulls()
    assert place.tests_pass(pull.pull.head, tmp_path)
    assert f"https://app.slack.com/client/{TEAM}/{talk.channel}/thread/{talk.channel}-{root}" in pull.body
    assert "Requested by Alice" in pull.body
    [said] = talk.said(root)
    assert f"/pull/{pull.number}" in said
    assert "task_card" in said
    assert talk.slack.reactions == [(root, "eyes")]
    assert talk.slack.live == set()
    assert sorted(a.status_code for a in talk.slack.answers) == [200, 202], "app_mention and message are one"


async def test_a_follow_up_without_a_mention_goes_on_in_the_same_pull_request(talk: Talk) -> None:
    place = talk.place
    place.script(bash(MEND_CALC), finish(), bash("echo more >> NOTES.md"), finish("Noted.", "Take notes"))
    root = await talk.ask()
    await talk.ended(root)
    await talk.ask("<@U0CAROL> what do you think?", "U0BOB", root=root)
    assert talk.slack.answers[-1].json()["reason"] == "for_others"
    await talk.ask("take notes too", "U0BOB", root=root)
    await talk.ended(root)
    [pull] = place.pulls()
    files = await asyncio.to_thread(place.github.git.files, place.name, pull.pull.head)
    assert files["NOTES.md"] == "more\n"
    assert len(talk.said(root)) == 2
    elsewhere = await talk.ask("hello")
    await talk.ask("and hello to you", "U0BOB", root=elsewhere)
    assert talk.slack.answers[-1].json()["reason"] == "not_our_thread"


async def test_a_screenshot_in_the_thread_is_before_the_models_eyes_and_what_is_none_is_named_in_the_end(
    talk: Talk,
) -> None:
    place, slack = talk.place, talk.slack
    slack.files = {"screenshot.png": PNG, "notes.png": b"#!/bin/sh\n"}
    files = [
        {"name": name, "mimetype": "image/png", "size": 70, "url_private": f"{slack.url}/files/{name}"}
        for name in slack.files
    ]
    place.script(bash(MEND_CALC), finish())
    root = await talk.ask("`add` shows this", "U0BOB", files=files)
    await talk.ask(root=root)
    await talk.ended(root)
    prompts = [r["messages"] for r in place.service.model.requests if place.name in json.dumps(r["messages"])]
    assert len(prompts) == 2
    for prompt in prompts:
        [parts] = [m["content"] for m in prompt if isinstance(m["content"], list)]
        [shown] = [n for n, part in enumerate(parts) if part["type"] == "image_url"]
        assert parts[shown]["image_url"]["url"] == f"data:image/png;base64,{b64encode(PNG).decode()}"
        assert parts[shown - 1]["text"] == '<untrusted source="image screenshot.png">'
        assert '<untrusted source="message of Bob">\n`add` shows this' in parts[0]["text"]
        assert prompt[1]["content"].startswith("Alice writes in slack:")
    [said] = talk.said(root)
    assert "Not looked at: notes.png (no PNG, JPEG, GIF or WebP)." in said
    events = (await place.client.get(f"{talk.path(root)}/events")).text
    assert "screenshot.png" in events
    assert b64encode(PNG).decode()[:40] not in events


async def test_the_same_delivery_again_and_again_is_one_run(talk: Talk) -> None:
    talk.place.script(bash(MEND_CALC), finish())
    root = await talk.ask()
    retry = {"x-slack-retry-num": "1", "x-slack-retry-reason": "http_timeout"}
    answers = await asyncio.gather(*(talk.slack.again(**retry) for _ in range(5)))
    assert {a.status_code for a in answers} == {200}
    await talk.ended(root)
    await talk.slack.again(**retry)
    await talk.ended(root)
    assert len(talk.said(root)) == len(talk.place.pulls()) == 1


async def test_what_is_not_signed_as_it_should_be_is_refused(talk: Talk) -> None:
    body = json.dumps({"type": "event_callback", "event_id": "Ev9", "team_id": TEAM, "event": {"type": "app_mention"}})
    now = str(int(time.time()))
    signed = SignatureVerifier(CANARIES["slack_signing"]).generate_signature
    wrong: list[dict[Any, Any]] = [
        {},
        {"x-slack-request-timestamp": now, "x-slack-signature": signed(timestamp=now, body=body + " ")},
        {"x-slack-request-timestamp": now, "x-slack-signature": "v0=é".encode()},
        {"x-slack-request-timestamp": "soon", "x-slack-signature": signed(timestamp="soon", body=body)},
        {"x-slack-request-timestamp": "1531420618", "x-slack-signature": signed(timestamp="1531420618", body=body)},
    ]
    for headers in wrong:
        answer = await talk.place.client.post("/api/integration/slack/events", content=body, headers=headers)
        assert (answer.status_code, "error" in answer.json()) == (401, True)


async def test_replayed_payloads_are_signed_and_answered_in_slacks_own_words(talk: Talk) -> None:
    names = ("message__in_a_channel", "url_verification__challenge", "block_suggestion__repository")
    files = [PAYLOADS / f"{name}.json" for name in names]
    url = f"{talk.place.service.url}/api/integration/slack/events"
    answers = await inspect.replay(load(talk.place.service.environment), "slack", files, None, url)
    assert [status for _, status, _ in answers] == [200, 200, 200]
    ignored, challenge, options = (json.loads(text) for _, _, text in answers)
    assert ignored == {"status": "ignored", "reason": "no_mention"}
    assert challenge == {"challenge": json.loads(files[1].read_text())["challenge"]}
    assert [option["value"] for option in options["options"]] == [f"github:{talk.place.name}"]


async def test_a_guest_is_told_once_and_gets_no_run(talk: Talk) -> None:
    talk.slack.person("U0GUEST", is_restricted=True)
    root = await talk.ask(who="U0GUEST")
    await talk.ended(root)
    await talk.ask("please", "U0GUEST", root=root)
    await talk.ended(root)
    [said] = talk.said(root)
    assert "guests" in said
    assert talk.place.pulls() == []


async def test_a_stop_takes_the_menu_away_and_a_choice_that_was_on_its_way_begins_nothing(talk: Talk) -> None:
    root = await talk.ask(f"<@{BOT}> fix add, {uuid.uuid4().hex}")
    await talk.place.until(lambda: "external_select" in "".join(talk.said(root)))
    [message] = talk.slack.said_by_us(root)
    chosen = {"action_id": "onhand:repository", "selected_option": {"value": f"github:{talk.place.name}"}}
    await talk.ask(f"<@{BOT}> stop", root=root)
    await talk.ended(root)
    [said] = talk.said(root)
    assert "Stopped, as Alice asked." in said
    assert "external_select" not in said
    action = {**chosen, "type": "external_select", "action_ts": talk.slack._now()}
    await talk.slack.interact("block_actions", "U0BOB", message["ts"], actions=[action])
    await talk.ended(root)
    assert "What you answer was stopped" in talk.said(root)[-1]
    assert talk.place.pulls() == []


async def test_which_repository_is_asked_and_chosen_from_a_menu(talk: Talk) -> None:
    place, word = talk.place, uuid.uuid4().hex
    place.service.scripts.steps[word] = [bash(MEND_CALC), finish()]
    root = await talk.ask(f"<@{BOT}> fix add, {word}")
    await place.until(lambda: "external_select" in "".join(talk.said(root)))
    [message] = talk.slack.said_by_us(root)
    menu = {"action_id": "onhand:repository", "block_id": "b", "value": place.name.rpartition("/")[2]}
    await talk.slack.interact("block_suggestion", "U0ALICE", message["ts"], **menu)
    [option] = talk.slack.answers[-1].json()["options"]
    assert option["value"] == f"github:{place.name}"
    await talk.slack.press("U0ALICE", message["ts"], "onhand:repository", selected_option=option)
    assert (talk.slack.answers[-1].status_code, talk.slack.answers[-1].content) == (200, b"")
    await talk.ended(root)
    [said] = talk.said(root)
    assert f"/pull/{place.pulls()[0].number}" in said


@pytest.mark.parametrize("native", [False, True])
async def test_the_stop_button_ends_a_run_in_the_middle_of_a_command(talk: Talk, native: bool) -> None:
    talk.slack.agents = native
    talk.place.script(bash("sleep 100", timeout=110), finish())
    root = await talk.ask()
    await talk.running(root, "sleep 100")
    [message] = talk.slack.said_by_us(root)
    if native:
        assert talk.slack.sessions[root] == "processing"
        talk.slack.live.clear()
        stopped = {"channel": talk.channel, "thread_ts": root, "user": "U0BOB", "event_ts": talk.slack._now()}
        await talk.slack.event({"type": "agent_session_stopped", "streaming_message_ts": [message["ts"]], **stopped})
    else:
        await talk.slack.press("U0BOB", message["ts"], "onhand:stop")
    await talk.ended(root)
    [said] = talk.said(root)
    assert "Stopped" in said
    assert talk.slack.sessions[root] == "active"
    assert talk.place.pulls() == []


async def test_a_plan_is_approved_with_a_button(talk: Talk) -> None:
    talk.place.script(finish("I would turn the minus into a plus.", "Plan"), bash(MEND_CALC), finish())
    root = await talk.ask(f"<@{BOT}> plan how to fix add in {talk.code}")
    await talk.ended(root)
    assert talk.place.pulls() == []
    [message] = talk.slack.said_by_us(root)
    await talk.slack.press("U0BOB", message["ts"], "onhand:approve")
    await talk.ended(root)
    assert len(talk.place.pulls()) == 1


async def test_the_slash_command_begins_a_thread_in_which_people_go_on(talk: Talk) -> None:
    place = talk.place
    place.script(bash(MEND_CALC), finish(), bash("echo more >> NOTES.md"), finish("Noted.", "Take notes"))
    await talk.slack.command("U0ALICE", f"fix add in {talk.code}", talk.channel)
    assert (talk.slack.answers[-1].status_code, talk.slack.answers[-1].content) == (200, b"")
    await talk.slack.again()
    [root] = [m["ts"] for m in talk.slack.said_by_us() if m["channel"] == talk.channel and "thread_ts" not in m]
    await talk.ended(root)
    assert len(place.pulls()) == 1
    await talk.ask("take notes too", root=root)
    await talk.ended(root)
    assert len(place.pulls()) == 1
    assert len(talk.said(root)) == 2
    talk.slack.fail(r"chat\.postMessage", "not_in_channel")
    await talk.slack.command("U0ALICE", "help", talk.channel)
    assert "Invite me" in talk.slack.answers[-1].json()["text"]


async def test_an_edit_that_adds_a_mention_and_a_direct_message_start_runs(talk: Talk) -> None:
    place = talk.place
    place.script(bash(MEND_CALC), finish())
    root = await talk.ask(f"fix add in {talk.code}")
    await talk.slack.edit(root, f"<@{BOT}> fix add in {talk.code}")
    await talk.slack.edit(root, f"<@{BOT}> fix add in {talk.code} now")
    await talk.ended(root)
    assert len(place.pulls()) == len(talk.said(root)) == 1
    direct = f"D{talk.channel[1:]}"
    asked = await talk.ask("help", channel=direct)
    await talk.ended(asked, direct)
    assert "retry" in talk.said(asked)[0]


@pytest.mark.parametrize(
    ("method", "error", "status"),
    [
        (r"chat\.startStream", "", 500),
        (r"chat\.startStream", "ratelimited", 429),
        (r"chat\.startStream", "missing_recipient_team_id", 200),
        (r"chat\.(append|stop)Stream", "message_not_in_streaming_state", 200),
        (r"chat\.(append|stop)Stream", "", 403),
        (r"chat\.stopStream", "", 500),
        (r"reactions\.add", "missing_scope", 200),
        (r"conversations\.replies", "missing_scope", 200),
        (r"users\.info", "", 429),
    ],
)
async def test_whatever_slack_refuses_there_is_one_ending(talk: Talk, method: str, error: str, status: int) -> None:
    talk.place.script(bash(MEND_CALC), finish())
    talk.slack.fail(method, error, status=status, headers={"Retry-After": "1"})
    root = await talk.ask()
    await talk.ended(root)
    [said] = talk.said(root)
    assert "Done" in said
    assert len(talk.place.pulls()) == 1


async def test_a_token_that_is_not_accepted_is_waited_for(talk: Talk) -> None:
    talk.place.script(bash(MEND_CALC), finish())
    fault = talk.slack.fail(r"users\.info", "", status=401)
    root = await talk.ask()
    await fault.met()
    assert talk.said(root) == []
    await talk.ended(root)
    assert len(talk.said(root)) == 1


async def test_somebody_unknown_is_asked_to_connect_and_the_request_goes_on_by_itself(
    begin: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    async with SlackServer(token=CANARIES["slack"]) as slack:
        settings = {
            "ONHAND_AUTH__STRATEGY": "multi_user",
            "ONHAND_SLACK__BOT_TOKEN": CANARIES["slack"],
            "ONHAND_SLACK__APP_TOKEN": APP_TOKEN,
            "ONHAND_SLACK__API_URL": slack.api_url,
        }
        async with begin(**settings) as service, GitHubServer(tmp_path / "forge", port=service.github_port) as github:
            place = Place(service, github)
            await place.set_up()
            await slack.connected.wait()
            root = await slack.say("U0ALICE", f"<@{BOT}> `add` is wrong in {place.name}, please fix it")
            await place.until(lambda: slack.said_by_us(root))
            [asked] = slack.said_by_us(root)
            link = asked["text"].partition("by myself: ")[2]
            page = await place.client.get(link)
            assert "onhand users link slack:U0ALICE" in page.text
            mine = load(service.environment)
            await operations.link(mine, "slack:U0ALICE", "alice", None, "")
            await operations.link(mine, "github:alice", "alice", None, "")
            await place.until(place.pulls)
            await place.until(lambda: len(slack.said_by_us(root)) == 2 and not slack.live)
            assert "Done" in json.dumps(slack.said_by_us(root)[1]["blocks"])
            assert slack.problems == []
            await place.client.aclose()
