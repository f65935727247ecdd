"""What Jira delivers, and what is read out of it."""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import Rejected
from bot.core.inbound import Account, Delivery, Inbound, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.integrations import HOSTILE, NOW, check_integration, read_payloads, signed
from integrations.jira import webhook
from integrations.jira.client import Jira

PAYLOADS = Path(__file__).parent / "payloads"
RECORDED = {payload.name: payload for payload in read_payloads(PAYLOADS)}
EXAMPLES = Path(os.environ.get("ONHAND_TEST_JIRA_EXAMPLES", Path(__file__).parents[4] / "shared" / "payloads" / "jira"))
BOT, ALICE, BOB = (
    "712020:b07b07b0-0000-4000-8000-0000000000b0",
    "5c5f880629be9642ba529340",
    "557058:0a1b2c3d-0000-4000-8000-00000000b0b0",
)

EXPECTED: dict[str, str] = {
    "comment_created__anonymous": "no_sender",
    "comment_created__by_an_app": "bot",
    "comment_created__by_an_automation_rule": "mention",
    "comment_created__data_center_without_issue": "no_issue",
    "comment_created__for_a_role_alone": "mention",
    "comment_created__handle": "mention",
    "comment_created__internal_note": "mention",
    "comment_created__mention_in_code": "no_mention",
    "comment_created__mention_in_link": "no_mention",
    "comment_created__mention_in_quote": "no_mention",
    "comment_created__mention_of_somebody_else": "no_mention",
    "comment_created__native_mention": "mention",
    "comment_created__native_mention_in_adf": "mention",
    "comment_created__nothing_for_us": "no_mention",
    "comment_created__own_message": "own_message",
    "comment_created__stop": "mention",
    "comment_deleted__mention": "deleted",
    "comment_updated__gains_mention": "mention",
    "comment_updated__gains_mention_by_another": "mention",
    "comment_updated__nothing_for_us": "no_mention",
    "comment_updated__own_message_edited": "own_message",
    "issue_created__assigned_to_the_bot": "assignment",
    "issue_created__by_an_app": "bot",
    "issue_created__mention_in_code": "no_mention",
    "issue_created__mention_in_description": "mention",
    "issue_created__mention_in_summary": "mention",
    "issue_created__nothing_for_us": "no_mention",
    "issue_created__with_our_label": "label",
    "issue_deleted__mention": "deleted",
    "issue_updated.assignee__to_the_bot": "assignment",
    "issue_updated.assignee__without_a_changelog": "assignment",
    "issue_updated.comment__data_center_edited": "mention",
    "issue_updated.comment__data_center_name": "mention",
    "issue_updated.comment__with_a_transition": "mention",
    "issue_updated.description__gains_mention": "mention",
    "issue_updated.labels__by_an_automation_rule": "label",
    "issue_updated.labels__ours_in_capitals": "label",
    "issue_updated.labels__ours_next_to_others": "label",
    "issue_updated.summary__gains_mention": "mention",
    "issue_updated__a_label_that_begins_like_ours": "other_label",
    "issue_updated__another_label_while_ours_is_there": "other_label",
    "issue_updated__assigned_to_somebody_else": "not_us",
    "issue_updated__assigned_without_a_changelog_to_another": "not_us",
    "issue_updated__closed": "transition",
    "issue_updated__custom_field": "not_used",
    "issue_updated__data_center_assigned_to_the_bot": "not_us",
    "issue_updated__data_center_comment_deleted": "deleted",
    "issue_updated__data_center_comment_mentioned_us_before": "mentioned_before",
    "issue_updated__data_center_nothing_for_us": "no_mention",
    "issue_updated__description_mentioned_us_before": "mentioned_before",
    "issue_updated__our_label_by_an_app": "bot",
    "issue_updated__our_label_removed": "other_label",
    "issue_updated__reopened": "transition",
    "issue_updated__resolved": "transition",
    "issue_updated__taken_from_the_bot": "not_us",
    "issue_updated__work_started": "transition",
    "issuelink_created__link": "not_used",
    "sprint_started__sprint": "not_used",
    "worklog_updated__mention": "not_used",
}
"""By what each payload asks for work, or why it does not."""


def jira(account: str = BOT, **more: Any) -> Jira:
    usual: dict[str, Any] = {"webhook_secret": Secret("s3cret"), "url": "https://acme.atlassian.net"}
    return Jira(Jira.Settings(**{**usual, "bot_account_id": account, **more}), Us())


def delivered(name: str, integration: Jira | None = None) -> Delivery:
    payload, integration = RECORDED[name], integration or jira()
    return integration.parse(integration.verify(signed(integration, payload.body, payload.event), NOW))


def posted(body: Any, headers: Mapping[str, str] | None = None) -> Delivery:
    integration = jira()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    inbound = signed(integration, raw, "")
    return integration.parse(integration.verify(Inbound({**inbound.headers, **(headers or {})}, raw), NOW))


def comes_to_nothing(body: Any) -> bool:
    """Whether a body is refused with 400, or taken without work and with a reason."""
    try:
        delivery = posted(body)
    except Rejected as refused:
        return refused.status == 400
    return bool(delivery.ignored) and not delivery.triggers


def trigger(name: str, integration: Jira | None = None) -> Trigger:
    (found,) = delivered(name, integration).triggers
    return found


def body_of(name: str) -> Any:
    return json.loads(RECORDED[name].body)


def test_every_recorded_payload_is_expected_to_do_something() -> None:
    assert set(RECORDED) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_payload_does_what_is_expected(name: str) -> None:
    delivery = delivered(name)
    assert (delivery.triggers[0].by if delivery.triggers else delivery.ignored) == EXPECTED[name]
    assert delivery.event == name.partition("__")[0]


def test_the_contract_of_integrations_is_kept() -> None:
    assert check_integration(jira(), RECORDED.values(), webhook.TRIGGERS, {"issue_updated"}) == []


def test_the_contract_is_kept_by_an_automation_rule_too() -> None:
    """But for the signature: a rule cannot sign, so a changed body is not noticed."""
    integration = jira(webhook_secret=None, automation_secret=Secret("s3cret"))
    found = check_integration(integration, RECORDED.values(), webhook.TRIGGERS, {"issue_updated"})
    assert {problem.partition(": ")[2] for problem in found} == {
        "a changed body got through",
        "headers of another body got through",
    }


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="set ONHAND_TEST_JIRA_EXAMPLES to a folder of recorded payloads")
def test_recorded_payloads_of_others_are_all_taken_and_ask_for_nothing() -> None:
    found = [posted(file.read_bytes()) for file in sorted(EXAMPLES.glob("*.json"))]
    assert found
    assert all(delivery.ignored and not delivery.triggers for delivery in found)


# --- authenticity ---------------------------------------------------------------------------------------------------


def test_the_signature_that_atlassian_publishes_is_accepted() -> None:
    digest = "a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    inbound = Inbound({"x-hub-signature": f"sha256={digest}"}, b"Hello World!")
    assert webhook.verify(inbound, Secret("It's a Secret to Everybody"), None).body == inbound.body


@pytest.mark.parametrize(
    "given", [None, "", "sha256=", "sha256=é", "sha256=\ud800", "sha1=0f" * 9, "sha256=" + "0" * 64, "x" * 99_999]
)
def test_a_wrong_signature_is_refused_with_401(given: str | None) -> None:
    headers = {} if given is None else {"x-hub-signature": given}
    with pytest.raises(Rejected) as refused:
        webhook.verify(Inbound(headers, b"{}"), Secret("s3cret"), None)
    assert (refused.value.status, refused.value.word) == (401, "signature")


def test_without_a_secret_nothing_is_received() -> None:
    integration = Jira(Jira.Settings(), Us())
    assert not integration.receives
    with pytest.raises(Rejected) as refused:
        integration.verify(Inbound({"x-onhand-secret": ""}, b"{}"), NOW)
    assert refused.value.status == 404


@pytest.mark.parametrize("given", ["", "another", "s3cret", "é", "\ud800"])
def test_a_rule_with_another_secret_is_refused(given: str) -> None:
    integration = jira(automation_secret=Secret("of the rule"))
    with pytest.raises(Rejected) as refused:
        integration.verify(Inbound({"x-onhand-secret": given}, b"{}"), NOW)
    assert refused.value.status == 401


def test_a_rules_secret_is_not_heard_where_none_is_set() -> None:
    with pytest.raises(Rejected) as refused:
        jira().verify(Inbound({"x-onhand-secret": "s3cret"}, b"{}"), NOW)
    assert refused.value.status == 401


def test_a_wrong_signature_is_not_saved_by_a_rules_secret() -> None:
    both = {"x-onhand-secret": "of the rule", "x-hub-signature": "sha256=0"}
    with pytest.raises(Rejected):
        jira(automation_secret=Secret("of the rule")).verify(Inbound(both, b"{}"), NOW)


def test_a_rule_with_the_secret_is_heard_beside_signed_webhooks() -> None:
    integration = jira(automation_secret=Secret("of the rule"))
    body = RECORDED["comment_created__by_an_automation_rule"].body
    (found,) = integration.parse(integration.verify(Inbound({"x-onhand-secret": "of the rule"}, body), NOW)).triggers
    assert found.request.text == 'fix "it"'


def test_what_is_signed_for_a_replay_is_signed_as_jira_does() -> None:
    digest = hmac.new(b"s3cret", b"{}", hashlib.sha256).hexdigest()
    assert signed(jira(), b"{}", "").headers["x-hub-signature"] == f"sha256={digest}"


# --- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_signed_rubbish_is_refused_or_ignored(body: bytes) -> None:
    assert comes_to_nothing(body)


@pytest.mark.parametrize("name", ["comment_created__handle", "issue_updated.labels__ours_next_to_others"])
@pytest.mark.parametrize("part", ["webhookEvent", "issue", "comment", "user", "changelog"])
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, True, 10**30, {"id": 2**70, "key": -1, "items": [{}]}])
def test_a_part_of_the_wrong_kind_never_asks_for_work_by_accident(name: str, part: str, value: Any) -> None:
    payload = body_of(name)
    if part in payload:
        assert comes_to_nothing({**payload, part: value})


@pytest.mark.parametrize("value", [None, 7, True, [], {}, [[{"type": 1}]], {"type": "doc", "content": [{"type": []}]}])
def test_a_text_that_is_none_says_nothing(value: Any) -> None:
    payload = body_of("comment_created__handle")
    payload["comment"]["body"] = value
    assert posted(payload).ignored == "no_mention"


def test_a_document_without_end_says_nothing() -> None:
    node: Any = {"type": "text", "text": "@onhand"}
    for _ in range(400):
        node = {"type": "paragraph", "content": [node]}
    payload = body_of("comment_created__handle")
    payload["comment"]["body"] = {"type": "doc", "content": [node]}
    assert posted(payload).ignored == "no_mention"


@pytest.mark.parametrize(
    "key", ["", "APP", "APP-", "-1", "APP-0", "APP-x", "app-1", "../x-1", "A/B-1", "APP-1?", "É-1", 7]
)
def test_an_issues_key_of_another_shape_is_refused(key: Any) -> None:
    payload = body_of("comment_created__handle")
    payload["issue"]["key"] = key
    with pytest.raises(Rejected):
        posted(payload)


def test_hidden_characters_reach_no_trigger() -> None:
    payload = body_of("comment_created__handle")
    payload["comment"]["body"] = "@onhand fix\u0000 \u202ethis\u200b"
    payload["issue"]["fields"]["summary"] = "T\u0000itle"
    payload["comment"]["updateAuthor"]["displayName"] = "Alice\u0000\n (Ames):"
    (found,) = posted(payload).triggers
    assert (found.request.text, found.title, found.actor.login) == ("fix this", "Title", f"Alice Ames ({ALICE})")


# --- what is asked --------------------------------------------------------------------------------------------------


def test_a_comment_becomes_a_trigger_with_all_that_a_run_needs() -> None:
    assert trigger("comment_created__handle") == Trigger(
        thread=Thread("jira", "APP", "APP-41"),
        actor=Account("jira", ALICE, f"Alice Ames ({ALICE})"),
        request=Request("work", "fix the login redirect, please", {"model": "small"}),
        meaning="jira:comment:10019",
        by="mention",
        origin=Origin("comment", "10019"),
        title="Login redirects to the wrong page",
        url="https://acme.atlassian.net/browse/APP-41?focusedCommentId=10019",
    )


def test_a_native_mention_says_the_same_in_both_markups() -> None:
    texts = {trigger(f"comment_created__native_mention{more}").request.text for more in ("", "_in_adf")}
    assert texts == {"fix the login redirect"}


def test_without_an_account_only_handle_and_label_count() -> None:
    integration = jira("")
    for name in ("comment_created__native_mention", "comment_created__native_mention_in_adf"):
        assert delivered(name, integration).ignored == "no_mention"
    assert delivered("issue_updated.assignee__to_the_bot", integration).ignored == "not_us"
    assert trigger("comment_created__handle", integration)
    assert trigger("issue_updated.labels__ours_next_to_others", integration)


def test_on_data_center_the_username_is_the_account() -> None:
    assert trigger("issue_updated__data_center_assigned_to_the_bot", jira("onhand")).by == "assignment"
    found = trigger("issue_updated.comment__data_center_name", jira("onhand"))
    assert (found.actor, found.thread.item) == (Account("jira", "JIRAUSER10101", "alice"), "TEST-4")


def test_who_edits_a_comment_is_the_one_who_asks() -> None:
    assert trigger("comment_updated__gains_mention_by_another").actor.id == BOB


def test_a_comment_means_the_same_by_whatever_event_and_however_often_it_is_told() -> None:
    first, second = body_of("comment_created__handle"), body_of("comment_updated__gains_mention")
    assert first["comment"]["id"] == second["comment"]["id"]
    assert trigger("comment_created__handle").meaning == trigger("comment_updated__gains_mention").meaning


def test_a_label_set_again_later_is_a_wish_of_its_own() -> None:
    payload = body_of("issue_updated.labels__ours_next_to_others")
    again = {**payload, "changelog": {**payload["changelog"], "id": "11480"}}
    assert posted(payload).triggers[0].meaning != posted(again).triggers[0].meaning


@pytest.mark.parametrize(("name", "circle"), [("for_a_role_alone", "role:Developers"), ("internal_note", "internal")])
def test_what_was_said_to_some_is_answered_to_them(name: str, circle: str) -> None:
    assert trigger(f"comment_created__{name}").origin.thread_id == circle


def test_fallout_of_bulk_changes_is_ignored() -> None:
    payload = body_of("comment_created__handle")
    assert posted(payload, {"x-atlassian-webhook-flow": "Secondary"}).ignored == "secondary"
    assert posted(payload, {"x-atlassian-webhook-flow": "Primary"}).triggers


def test_a_delivery_bears_jiras_identifier() -> None:
    payload = body_of("comment_created__handle")
    assert posted(payload, {"x-atlassian-webhook-identifier": "4f2-9"}).id == "4f2-9"


@pytest.mark.parametrize("given", ["", "a b", "é", "x" * 500])
def test_without_an_identifier_equal_bodies_are_one_delivery(given: str) -> None:
    first, second = body_of("comment_created__handle"), body_of("comment_created__stop")
    same = {posted(first, {"x-atlassian-webhook-identifier": given}).id for _ in range(2)}
    assert len(same) == 1
    assert same != {posted(second, {"x-atlassian-webhook-identifier": given}).id}


def test_an_empty_body_is_ignored() -> None:
    assert posted({}).ignored == "no_event"
