"""What Slack tells us, and what is read out of it."""

import json
import os
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import Rejected
from bot.core.inbound import Account, Delivery, Inbound, Origin, Repository, Thread, Trigger
from bot.core.mentions import Request
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.integrations import HOSTILE, NOW, check_integration, read_payloads
from integrations.slack import webhook
from integrations.slack.client import Slack

PAYLOADS = Path(__file__).parent / "payloads"
RECORDED = {payload.name: payload for payload in read_payloads(PAYLOADS)}
EXAMPLES = os.environ.get("ONHAND_TEST_SLACK_EXAMPLES", "")
SECRET = Secret("s3cret")

EXPECTED: dict[str, str] = {
    "agent_session_stopped__in_a_thread": "button",
    "app_mention__by_a_bot": "bot",
    "app_mention__in_a_channel": "mention",
    "app_mention__in_a_code_block": "no_mention",
    "app_mention__in_a_quote": "no_mention",
    "app_mention__in_a_thread": "mention",
    "app_mention__without_client_msg_id_or_authorizations": "mention",
    "app_uninstalled__workspace": "uninstalled",
    "block_actions.approve__button": "button",
    "block_actions.repository__chosen": "button",
    "block_actions.repository__of_another_shape": "no_repository",
    "block_actions.retry__button": "button",
    "block_actions.stop__button": "button",
    "block_actions__of_another_message": "not_ours",
    "block_suggestion__repository": "search",
    "channel_created__channel_is_an_object": "not_used",
    "command__help": "mention",
    "command__work": "mention",
    "member_joined_channel__we_were_invited": "joined",
    "message.bot_message__another_app": "bot",
    "message.channel_join__we_were_invited": "joined",
    "message.file_share__direct_without_text": "mention",
    "message.file_share__follow_up": "follow_up",
    "message.file_share__in_a_channel": "no_mention",
    "message.file_share__with_mention": "mention",
    "message.message_changed__direct": "said_before",
    "message.message_changed__gains_mention": "mention",
    "message.message_changed__mention_leaves_the_quote": "mention",
    "message.message_changed__mention_was_there": "mentioned_before",
    "message.message_changed__nothing_for_us": "no_mention",
    "message.message_changed__our_own": "bot",
    "message.message_deleted__with_mention": "deleted",
    "message.thread_broadcast__follow_up": "follow_up",
    "message__beside_the_app_mention": "mention",
    "message__by_ourselves": "bot",
    "message__direct": "mention",
    "message__direct_with_mention": "mention",
    "message__follow_up_in_a_thread": "follow_up",
    "message__for_an_org_wide_install": "mention",
    "message__handle_as_letters": "no_mention",
    "message__in_a_channel": "no_mention",
    "message__in_a_thread_for_somebody_else": "for_others",
    "url_verification__challenge": "url_verification",
    "view_submission__of_nobody": "not_used",
}
"""By what each payload asks for work, or why it does not."""


def headers(body: bytes, now: float = NOW, secret: Secret = SECRET) -> dict[str, str]:
    sent = str(int(now))
    return {"x-slack-request-timestamp": sent, "x-slack-signature": webhook.signature(body, sent, secret)}


def posted(body: Any) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return webhook.parse(webhook.verify(Inbound(headers(raw), raw), SECRET, NOW))


def delivered(name: str) -> Delivery:
    return posted(RECORDED[name].body)


def trigger(name: str) -> Trigger:
    (found,) = delivered(name).triggers
    return found


def changed(name: str, **event: Any) -> Delivery:
    payload = json.loads(RECORDED[name].body)
    return posted({**payload, "event": {**payload["event"], **event}})


def comes_to_nothing(body: Any) -> bool:
    """Whether a body is refused with 400, or taken without work and with a reason."""
    try:
        delivery = posted(body)
    except Rejected as refused:
        return refused.status == 400
    return bool(delivery.ignored) and not delivery.triggers


def test_every_recorded_payload_is_expected_to_do_something() -> None:
    assert set(RECORDED) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_payload_does_what_is_expected(name: str) -> None:
    delivery = delivered(name)
    assert (delivery.triggers[0].by if delivery.triggers else delivery.ignored) == EXPECTED[name]
    assert delivery.event == name.partition("__")[0] or delivery.ignored == "not_ours"


def test_the_contract_of_integrations_is_kept() -> None:
    slack = Slack(Slack.Settings(signing_secret=SECRET), Us())
    assert check_integration(slack, RECORDED.values(), webhook.TRIGGERS, {"message", "block_actions"}) == []


def test_no_row_is_in_both_tables() -> None:
    assert not webhook.TRIGGERS.keys() & webhook.IGNORED.keys()


@pytest.mark.skipif(not EXAMPLES, reason="set ONHAND_TEST_SLACK_EXAMPLES to a folder of recorded payloads")
def test_what_others_recorded_starts_only_what_it_should() -> None:
    found = {p.name.partition("__")[2]: posted(p.body) for p in read_payloads(Path(EXAMPLES))}
    asking = {name: d.triggers[0].by for name, d in found.items() if d.triggers}
    assert asking == {f"bolt-python-tests-{n}": "mention" for n in (38, 39, 48)}


# --- authenticity ---------------------------------------------------------------------------------------------------

GUIDE = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10"
    b"d2c447fce8b6703c"
)


def test_the_signature_that_slack_publishes_is_accepted() -> None:
    secret, sent = Secret("8f742231b10e8888abcd99yyyzzz85a5"), "1531420618"
    digest = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    inbound = Inbound({"x-slack-signature": digest, "x-slack-request-timestamp": sent}, GUIDE)
    assert webhook.parse(webhook.verify(inbound, secret, float(sent) + 299)).event == "command"


@pytest.mark.parametrize("given", ["", "v0=", "v0=é", "v0=\ud800", "\x00", "v1=" + "0" * 64, "x" * 99_999])
@pytest.mark.parametrize("part", ["x-slack-signature", "x-slack-request-timestamp"])
def test_a_wrong_signature_or_time_is_refused_with_401(part: str, given: str) -> None:
    with pytest.raises(Rejected) as refused:
        webhook.verify(Inbound({**headers(b"{}"), part: given}, b"{}"), SECRET, NOW)
    assert (refused.value.status, refused.value.word) == (401, "signature")


@pytest.mark.parametrize("sent", ["٣", "1e9", "-1", " 1", "1.5", "nan", "9" * 99])
def test_a_time_that_is_no_number_of_seconds_is_refused_with_401(sent: str) -> None:
    signed = webhook.signature(b"{}", sent, SECRET)
    with pytest.raises(Rejected) as refused:
        webhook.verify(Inbound({"x-slack-request-timestamp": sent, "x-slack-signature": signed}, b"{}"), SECRET, NOW)
    assert refused.value.status == 401


@pytest.mark.parametrize("off", [-301, 301, 86_400])
def test_an_old_request_or_one_from_the_future_is_refused(off: float) -> None:
    with pytest.raises(Rejected) as refused:
        webhook.verify(Inbound(headers(b"{}", NOW + off), b"{}"), SECRET, NOW)
    assert (refused.value.status, refused.value.word) == (401, "stale")


# --- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize(
    "around", ["{body}", "payload={form}", "command={form}", '{{"type":"event_callback","event":{body}}}']
)
def test_signed_rubbish_is_refused_or_ignored(body: bytes, around: str) -> None:
    before, _, after = (
        around.replace("{{", "{").replace("}}", "}").partition("{form}" if "{form}" in around else "{body}")
    )
    assert comes_to_nothing(
        before.encode() + (urllib.parse.quote_plus(body).encode() if "form" in around else body) + after.encode()
    )


@pytest.mark.parametrize(
    "name", ["app_mention__in_a_channel", "message__direct", "block_actions.stop__button", "command__work"]
)
@pytest.mark.parametrize("value", [1, "x y", [], {}, True, [1], {"id": 2**70, "ts": -1}])
def test_a_part_of_the_wrong_kind_never_asks_for_work_by_accident(name: str, value: Any) -> None:
    payload = json.loads(RECORDED[name].body)
    parts = {"event": ("ts", "channel", "user"), "team": ("id",)}
    for part in (
        "team_id",
        "type",
        "actions",
        "channel",
        "team",
        "user",
        "channel_id",
        "user_id",
        "trigger_id",
        "event",
    ):
        if part in payload and (part != "trigger_id" or name == "command__work"):
            assert comes_to_nothing({**payload, part: value}), part
            for inner in parts.get(part, ()):
                assert comes_to_nothing({**payload, part: {**payload[part], inner: value}}), inner


def test_hidden_characters_reach_no_trigger() -> None:
    (found,) = changed("app_mention__in_a_channel", text="<@U0ONHAND> fix\u0000 \u202ethis\u200b").triggers
    assert (found.request.text, found.title) == ("fix this", "fix this")


@pytest.mark.parametrize(
    "kind", ["channel_created", "team_join", "reaction_added", "file_shared", "message.unheard_of"]
)
def test_an_event_without_a_row_is_ignored_unread(kind: str) -> None:
    name, _, subtype = kind.partition(".")
    event = {
        "type": name,
        "user": {"id": 1},
        "channel": {"id": "C"},
        "ts": 5,
        **({"subtype": subtype} if subtype else {}),
    }
    assert posted({"type": "event_callback", "event": event}).ignored == "not_used"


# --- what is asked --------------------------------------------------------------------------------------------------


def test_a_mention_becomes_a_trigger_with_all_that_a_run_needs() -> None:
    assert trigger("app_mention__in_a_channel") == Trigger(
        thread=Thread("slack", "T0ACME/C0DEV", "1700000001.000100"),
        actor=Account("slack", "T0ACME:U0ALICE", "U0ALICE"),
        request=Request("work", "fix the login redirect", {"model": "small"}),
        meaning="slack:T0ACME:C0DEV:1700000001.000100",
        by="mention",
        origin=Origin("message", "1700000001.000100", thread_id="1700000001.000100"),
        title="fix the login redirect",
        url="https://app.slack.com/client/T0ACME/C0DEV/thread/C0DEV-1700000001.000100",
    )


def test_a_mention_its_message_and_an_edit_of_it_are_one_wish() -> None:
    names = ("app_mention__in_a_channel", "message__beside_the_app_mention", "message.message_changed__gains_mention")
    found = [trigger(name) for name in names]
    assert len({t.meaning for t in found}) == 1
    assert len({t.thread for t in found}) == 1
    assert len({delivered(name).id for name in names}) == 3


def test_what_is_said_in_a_thread_belongs_to_it() -> None:
    for name in ("app_mention__in_a_thread", "message__follow_up_in_a_thread", "message.file_share__follow_up"):
        assert trigger(name).thread.item == "1700000001.000100"
    assert trigger("app_mention__in_a_thread").request.text == (
        "hey  the same for [the other page](https://example.com/x) please"
    )


def test_people_of_two_workspaces_are_two() -> None:
    payload = json.loads(RECORDED["message__direct"].body)
    delivered_for = [{**payload["authorizations"][0], "team_id": "T0OTHER"}]
    (other,) = posted({**payload, "team_id": "T0OTHER", "authorizations": delivered_for}).triggers
    assert other.actor.id == "T0OTHER:U0ALICE" != trigger("message__direct").actor.id
    assert other.meaning != trigger("message__direct").meaning


def test_a_channel_that_another_organisation_shares_is_asked_in_from_our_workspace() -> None:
    payload = json.loads(RECORDED["app_mention__in_a_channel"].body)
    (shared,) = posted({**payload, "team_id": "T0OTHER", "is_ext_shared_channel": True}).triggers
    assert shared == trigger("app_mention__in_a_channel")
    of_all = [{"team_id": None, "user_id": "U0ONHAND", "is_bot": True, "is_enterprise_install": True}]
    (everywhere,) = posted({**payload, "authorizations": of_all}).triggers
    assert everywhere == shared


def test_verbs_are_read() -> None:
    assert trigger("app_mention__without_client_msg_id_or_authorizations").request.verb == "stop"
    assert trigger("message__direct_with_mention").request.verb == "status"
    assert trigger("command__help").request.verb == "help"
    for verb in ("stop", "approve", "retry"):
        assert trigger(f"block_actions.{verb}__button").request == Request(verb)
    assert trigger("agent_session_stopped__in_a_thread").request == Request("stop")


def test_a_button_belongs_to_the_thread_of_its_message_and_counts_once_for_a_person() -> None:
    found = trigger("block_actions.stop__button")
    assert found.thread.item == "1700000001.000100"
    assert found.meaning == "slack:T0ACME:C0DEV:1700000006.000600:stop:U0ALICE"
    assert delivered("block_actions.stop__button").answer == b""


def test_a_button_in_an_app_of_the_whole_organisation_belongs_to_the_persons_workspace() -> None:
    payload = json.loads(RECORDED["block_actions.stop__button"].body)
    (found,) = posted({**payload, "team": None, "is_enterprise_install": True}).triggers
    assert found.actor.id == "T0ACME:U0ALICE"


def test_a_chosen_repository_is_in_the_trigger_and_nothing_is_said() -> None:
    found = trigger("block_actions.repository__chosen")
    assert (found.repository, found.request) == (Repository("github", "acme/app"), Request())


def test_who_chose_a_wrong_repository_chooses_again() -> None:
    payload = json.loads(RECORDED["block_actions.repository__chosen"].body)
    names = [
        "github:acme/ap",
        "github:acme/app",
        "gitlab:acme/app",
        f"github:acme/{'a' * 100}",
        f"github:acme/{'a' * 99}b",
    ]
    chosen = [{**payload["actions"][0], "selected_option": {"value": name}} for name in (*names, names[0])]
    found = [posted({**payload, "actions": [action]}) for action in chosen]
    assert len({delivery.triggers[0].meaning for delivery in found}) == len(names)
    assert len({delivery.id for delivery in found}) == len(names)
    assert found[0].id == found[-1].id


@pytest.mark.parametrize("button", ["retry__button", "approve__button", "repository__chosen"])
def test_a_double_click_is_one_press_and_a_press_later_is_another(button: str) -> None:
    payload = json.loads(RECORDED[f"block_actions.{button}"].body)
    times = ("1700000010.100000", "1700000010.400000", "1700000025.000000")
    found = [posted({**payload, "actions": [{**payload["actions"][0], "action_ts": at}]}) for at in times]
    first, again, later = (delivery.triggers[0].meaning for delivery in found)
    assert first == again != later
    assert found[0].id == found[1].id != found[2].id


def test_a_menu_that_searches_is_answered_with_what_was_found() -> None:
    assert delivered("block_suggestion__repository").search == "app"
    found = [Repository("github", f"acme/app-{n}") for n in range(120)] + [Repository("gitlab", "x" * 200)]
    shown = json.loads(webhook.options(found))["options"]
    assert len(shown) == 100
    assert shown[0] == {"text": {"type": "plain_text", "text": "acme/app-0"}, "value": "github:acme/app-0"}


def test_the_slash_command_has_no_thread_yet() -> None:
    found = trigger("command__work")
    assert found.thread == Thread("slack", "T0ACME/C0DEV", "")
    assert found.request == Request("work", "fix the login redirect", {"repo": "acme/app"})
    assert found.meaning == "slack:command:13345224609.738474920.8088930838d88f008e0"


@pytest.mark.parametrize("name", ["command__work", "command__help"])
def test_a_slash_command_comes_as_a_form(name: str) -> None:
    form = urllib.parse.urlencode(json.loads(RECORDED[name].body)).encode()
    assert posted(form) == delivered(name)


@pytest.mark.parametrize("name", sorted(name for name in RECORDED if name.startswith("block_")))
def test_an_interaction_comes_as_json_in_a_form(name: str) -> None:
    form = urllib.parse.urlencode({"payload": RECORDED[name].body.decode()}).encode()
    assert posted(form) == delivered(name)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_comes_over_a_socket_is_the_same_delivery(name: str) -> None:
    assert webhook.parse(webhook.over_socket(json.loads(RECORDED[name].body))) == delivered(name)


def test_the_challenge_is_answered() -> None:
    payload = json.loads(RECORDED["url_verification__challenge"].body)
    assert json.loads(delivered("url_verification__challenge").answer or b"") == {"challenge": payload["challenge"]}


def test_the_check_of_the_certificate_is_answered() -> None:
    assert posted(b"ssl_check=1&token=x").ignored == "ssl_check"


@pytest.mark.parametrize(
    "text",
    [
        "`<@U0ONHAND> fix it`",
        "```<@U0ONHAND>```",
        "&gt;&gt;&gt; he said\n<@U0ONHAND> fix it",
        "<https://example.com/@U0ONHAND|@U0ONHAND>",
        "<mailto:help@onhand.dev|help@onhand.dev>",
        "&lt;@U0ONHAND&gt; fix it",
        "<@U0ONHANDS> fix it",
    ],
)
def test_what_is_not_said_to_us_asks_for_nothing(text: str) -> None:
    assert changed("message__in_a_channel", text=text).triggers == ()


@pytest.mark.parametrize(
    "text", ["<@U0ONHAND>fix it", "```x\ny```\n<@U0ONHAND>: fix it", "&gt; no\n<@U0ONHAND|onhand> fix it"]
)
def test_what_is_said_to_us_is_heard(text: str) -> None:
    (found,) = changed("message__in_a_channel", text=text).triggers
    assert found.request.text.endswith("fix it")
