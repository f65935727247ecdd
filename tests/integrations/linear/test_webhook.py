"""What Linear delivers, and what is read out of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import Rejected
from bot.core.inbound import Account, Delivery, Inbound, Repository, Thread, Trigger
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from bot.testing.integrations import HOSTILE, NOW, check_integration, read_payloads, signed
from integrations.linear import webhook
from integrations.linear.client import Linear

PAYLOADS = Path(__file__).parent / "payloads"
RECORDED = {payload.name: payload for payload in read_payloads(PAYLOADS)}
APP = "6b6d4ba2-0f37-4c1e-9d3f-1a2b3c4d5e6f"
ALICE = Account("linear", "aacdca22-6266-4c0a-ab3c-8fa70a26765c", "Alice Ames")

EXPECTED: dict[str, str] = {
    "AgentSessionEvent.created__below_somebody_elses_comment": "mention",
    "AgentSessionEvent.created__by_an_automation": "no_creator",
    "AgentSessionEvent.created__delegation": "assignment",
    "AgentSessionEvent.created__delegation_with_guidance": "assignment",
    "AgentSessionEvent.created__in_a_document": "mention",
    "AgentSessionEvent.created__mention": "mention",
    "AgentSessionEvent.created__mention_in_another_thread": "mention",
    "AgentSessionEvent.created__under_another_name": "mention",
    "AgentSessionEvent.prompted__a_repository_chosen": "button",
    "AgentSessionEvent.prompted__body_outside_of_content": "mention",
    "AgentSessionEvent.prompted__by_ourselves": "own_message",
    "AgentSessionEvent.prompted__follow_up": "mention",
    "AgentSessionEvent.prompted__nothing_said": "nothing_said",
    "AgentSessionEvent.prompted__retry": "mention",
    "AgentSessionEvent.prompted__stop_signal": "mention",
    "AppUserNotification.issueCommentMention__onhand": "notification",
    "Comment.create__by_an_app": "bot",
    "Comment.create__by_an_integration": "bot",
    "Comment.create__by_our_app": "own_act",
    "Comment.create__from_outside": "bot",
    "Comment.create__mention": "mention",
    "Comment.create__mention_in_code": "no_mention",
    "Comment.create__mention_in_quote": "no_mention",
    "Comment.create__no_mention": "no_mention",
    "Comment.create__on_a_project_update": "no_issue",
    "Comment.create__our_own_under_a_persons_key": "own_message",
    "Comment.create__reply": "mention",
    "Comment.create__without_an_actor": "mention",
    "Comment.create__without_its_issue": "no_issue",
    "Comment.remove__mention": "deleted",
    "Comment.update__gains_mention": "mention",
    "Comment.update__mention_was_there": "mentioned_before",
    "Comment.update__nothing_said_anew": "unchanged",
    "Issue.create__nothing_for_us": "other_label",
    "Issue.create__with_our_label": "label",
    "Issue.create__without_an_actor_and_an_identifier": "label",
    "Issue.remove__with_our_label": "deleted",
    "Issue.update__another_label_while_ours_is_there": "other_label",
    "Issue.update__our_label": "label",
    "Issue.update__our_label_by_an_integration": "bot",
    "Issue.update__our_label_by_our_app": "own_act",
    "Issue.update__our_label_next_to_another": "label",
    "Issue.update__our_label_taken_away": "other_label",
    "Issue.update__the_last_label_taken_away": "no_label",
    "Issue.update__the_state_with_our_label": "unchanged",
    "IssueLabel.create__ours": "label_changed",
    "OAuthApp.revoked__ours": "app",
    "PermissionChange.teamAccessChanged__a_team_more": "permission_change",
    "ProjectUpdate.create__with_a_mention": "not_used",
    "Reaction.create__on_a_comment": "reaction",
}
"""By what each payload asks for work, or why it does not."""


def linear() -> Linear:
    return Linear(Linear.Settings(webhook_secret=Secret("s3cret"), app_user_id=APP), Us())


def delivered(name: str) -> Delivery:
    integration = linear()
    payload = RECORDED[name]
    return integration.parse(integration.verify(signed(integration, payload.body, payload.event), NOW))


def trigger(name: str) -> Trigger:
    (found,) = delivered(name).triggers
    return found


def changed(name: str, **fields: Any) -> Delivery:
    """What comes of a recorded payload with other fields at the top."""
    integration = linear()
    body = json.dumps({**json.loads(RECORDED[name].body), **fields}).encode()
    return integration.parse(integration.verify(signed(integration, body, ""), NOW))


def raw(body: bytes, headers: Mapping[str, str] | None = None) -> Inbound:
    return Inbound({"linear-signature": hmac_sha256(Secret("s3cret"), body).hex(), **(headers or {})}, body)


def sent(milliseconds: object) -> Inbound:
    return raw(json.dumps({"type": "Reaction", "action": "create", "webhookTimestamp": milliseconds}).encode())


def test_every_recorded_payload_is_expected_to_do_something() -> None:
    assert set(RECORDED) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_payload_does_what_is_expected(name: str) -> None:
    delivery = delivered(name)
    assert (delivery.triggers[0].by if delivery.triggers else delivery.ignored) == EXPECTED[name]
    assert delivery.event == name.partition("__")[0]


def test_the_contract_of_integrations_is_kept() -> None:
    events = {kind for kind, _ in webhook.TRIGGERS} | {"no_such_event"}
    assert check_integration(linear(), RECORDED.values(), webhook.TRIGGERS, events) == []


def test_no_row_is_in_both_tables() -> None:
    assert not webhook.TRIGGERS.keys() & webhook.IGNORED.keys()


# --- authenticity ---------------------------------------------------------------------------------------------------


def test_the_signature_is_hmac_sha256_of_the_raw_body_in_hex() -> None:
    # printf %s '{"webhookTimestamp":1700000000000}' | openssl dgst -sha256 -hmac s3cret
    body = b'{"webhookTimestamp":1700000000000}'
    good = "91ef9d71e80d61479777e1454d34cc26a8fdf08440e14826552212882138b227"
    linear().verify(Inbound({"linear-signature": good}, body), NOW)


@pytest.mark.parametrize(
    "given", [None, "", "0" * 64, "sha256=" + "0" * 64, "\u00e9" * 64, "\ud800", "A" * 100_000], ids=range(7)
)
def test_a_wrong_signature_is_refused(given: str | None) -> None:
    headers = {} if given is None else {"linear-signature": given}
    with pytest.raises(Rejected) as refused:
        linear().verify(Inbound(headers, RECORDED["Comment.create__mention"].body), NOW)
    assert (refused.value.word, refused.value.status) == ("signature", 401)


@pytest.mark.parametrize("age", [0.0, 59.0, -59.0, 61.0, 3_661.0, 6 * 3600 + 61.0, 7 * 3600 + 120.0])
def test_a_delivery_of_now_and_a_late_retry_are_taken(age: float) -> None:
    linear().verify(sent((NOW - age) * 1000), NOW)


@pytest.mark.parametrize("sent_at", [(NOW - 8 * 3600) * 1000, (NOW + 61) * 1000, 0, NOW, 1e300, -1e300])
def test_a_delivery_that_is_too_old_or_from_the_future_is_refused(sent_at: float) -> None:
    with pytest.raises(Rejected) as refused:
        linear().verify(sent(sent_at), NOW)
    assert (refused.value.word, refused.value.status) == ("stale", 401)


@pytest.mark.parametrize("sent_at", [None, "now", True, [], {}])
def test_a_delivery_without_a_time_is_refused(sent_at: object) -> None:
    with pytest.raises(Rejected) as refused:
        linear().verify(sent(sent_at), NOW)
    assert refused.value.status in (400, 401)


def test_the_unsigned_header_of_the_time_counts_for_nothing() -> None:
    stale = sent((NOW - 86_400) * 1000)
    with pytest.raises(Rejected):
        linear().verify(Inbound({**stale.headers, "linear-timestamp": str(int(NOW * 1000))}, stale.body), NOW)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_signed_rubbish_is_refused_without_a_fault(name: str) -> None:
    with pytest.raises(Rejected) as refused:
        linear().parse(linear().verify(raw(HOSTILE[name]), NOW))
    assert refused.value.status in (400, 401)


@pytest.mark.parametrize("value", [7, "x", [], [1], {}, True, None, {"id": 5}, {"id": "../.."}, 1e308])
@pytest.mark.parametrize("field", ["actor", "data", "updatedFrom", "agentSession", "agentActivity", "guidance"])
@pytest.mark.parametrize(
    "name", ["AgentSessionEvent.prompted__follow_up", "Comment.update__gains_mention", "Issue.update__our_label"]
)
def test_wrong_types_anywhere_end_in_a_refusal_or_nothing(name: str, field: str, value: object) -> None:
    allowed = {"refused", "ignored"} if field in json.loads(RECORDED[name].body) else {"refused", "taken"}
    assert _outcome(name, field, value) in allowed | ({"taken"} if field == "guidance" else set())


def _outcome(name: str, field: str, value: object) -> str:
    try:
        return "taken" if changed(name, **{field: value}).triggers else "ignored"
    except Rejected as refused:
        return "refused" if refused.status == 400 else str(refused)


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_a_mention_makes_a_request_of_the_sessions_creator() -> None:
    found = trigger("AgentSessionEvent.created__mention")
    assert found.thread == Thread("linear", "ENG", "ENG-12")
    assert found.actor == ALICE
    assert found.request.text == "please fix it"
    assert found.origin.kind == "session"
    assert found.title == "The login redirects to the wrong page"
    assert found.body.startswith("<issue identifier"), (
        "what Linear gives as context is what the agent is told of the issue"
    )
    assert found.repository is None


def test_a_delegation_says_nothing_and_means_the_issue() -> None:
    found = trigger("AgentSessionEvent.created__delegation")
    assert found.request.text == ""
    assert found.meaning.startswith("linear:session:")


def test_what_somebody_else_wrote_is_nobodys_wish() -> None:
    found = trigger("AgentSessionEvent.created__below_somebody_elses_comment")
    assert (found.actor, found.request.text) == (ALICE, "")
    assert found.meaning.startswith("linear:session:")


def test_guidance_of_the_workspace_is_neither_the_issues_text_nor_the_wish() -> None:
    found = trigger("AgentSessionEvent.created__delegation_with_guidance")
    assert (found.request.text, found.guidance) == ("", "Run the linter before you finish.")


def test_a_mention_in_another_thread_is_found_among_the_comments() -> None:
    found = trigger("AgentSessionEvent.created__mention_in_another_thread")
    assert (found.request.verb, found.request.text) == ("plan", "it first")
    assert found.meaning == "linear:comment:0dbff5bd-4d45-48b7-aecc-efcceb81ff9b"


def test_the_apps_name_need_not_be_our_handle() -> None:
    assert trigger("AgentSessionEvent.created__under_another_name").request.verb == "stop"


def test_a_session_without_an_issue_is_a_thread_of_its_own() -> None:
    assert trigger("AgentSessionEvent.created__in_a_document").thread == Thread(
        "linear", "session", "039d19eb-2189-49eb-ad9c-02ae2d6dc4f0"
    )


def test_whoever_writes_in_a_session_is_who_asks() -> None:
    found = trigger("AgentSessionEvent.prompted__follow_up")
    assert (found.actor.login, found.request.text) == ("Bob Birch", "Please mind the tests too")
    assert found.thread == Thread("linear", "ENG", "ENG-12")


@pytest.mark.parametrize(
    ("case", "verb"), [("stop_signal", "stop"), ("retry", "retry"), ("body_outside_of_content", "status")]
)
def test_verbs_and_the_stop_signal_are_read_in_a_session(case: str, verb: str) -> None:
    assert trigger(f"AgentSessionEvent.prompted__{case}").request.verb == verb


def test_a_chosen_repository_is_no_text() -> None:
    found = trigger("AgentSessionEvent.prompted__a_repository_chosen")
    assert (found.repository, found.request.text) == (Repository("github", "octo/hello"), "")


def test_the_same_comment_through_two_hooks_means_the_same() -> None:
    session = json.loads(RECORDED["AgentSessionEvent.created__mention"].body)["agentSession"]
    data = json.loads(RECORDED["Comment.create__mention"].body)["data"]
    (beside,) = changed("Comment.create__mention", data={**data, "id": session["comment"]["id"]}).triggers
    assert beside.meaning == trigger("AgentSessionEvent.created__mention").meaning


def test_an_edit_is_its_editors_wish_and_another_one() -> None:
    edited, created = trigger("Comment.update__gains_mention"), trigger("Comment.create__mention")
    assert edited.actor.login == "Bob Birch"
    assert edited.meaning != created.meaning
    assert edited.meaning.startswith(created.meaning)


def test_a_reply_is_answered_below_the_root_of_its_thread() -> None:
    assert trigger("Comment.create__reply").origin.thread_id == "0e1d2c3b-1234-4567-8901-aabbccddeeff"
    assert trigger("Comment.create__mention").origin.thread_id == "2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9"


def test_an_issue_of_an_old_payload_gets_its_identifier_from_team_and_number() -> None:
    assert trigger("Issue.create__without_an_actor_and_an_identifier").thread.item == "ENG-12"


def test_a_delivery_is_known_by_its_id_or_by_its_signature() -> None:
    integration, body = linear(), RECORDED["Comment.create__mention"].body
    whole = signed(integration, body, "Comment", "d-7")
    assert integration.parse(integration.verify(whole, NOW)).id == "d-7"
    bare = raw(whole.body)
    assert integration.parse(integration.verify(bare, NOW)).id == bare.headers["linear-signature"]


def test_nul_and_hidden_characters_do_not_get_through() -> None:
    data = json.loads(RECORDED["Comment.create__mention"].body)["data"]
    issue = {**data["issue"], "title": "a\u0000b\u202ec"}
    (found,) = changed("Comment.create__mention", data={**data, "issue": issue, "body": "@onhand x\u0000y"}).triggers
    assert (found.title, found.request.text) == ("abc", "xy")
