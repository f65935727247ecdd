"""What GitHub delivers, and what is read out of it."""

import json
import os
import urllib.parse
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.core.errors import Rejected
from bot.core.inbound import Account, Delivery, Inbound, Repository, Thread, Trigger
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.integrations import HOSTILE, NOW, check_integration, read_payloads, signed
from integrations.github import webhook
from integrations.github.client import GitHub

PAYLOADS = Path(__file__).parent / "payloads"
RECORDED = {payload.name: payload for payload in read_payloads(PAYLOADS)}
EXAMPLES = os.environ.get("ONHAND_TEST_GITHUB_EXAMPLES", "")

EXPECTED: dict[str, str] = {
    "check_run.completed__ours": "check",
    "check_run.requested_action__another_button": "other_button",
    "check_run.requested_action__of_another_app": "other_app",
    "check_run.requested_action__retry": "button",
    "check_run.requested_action__stop": "button",
    "check_run.requested_action__without_a_mark_of_ours": "other_button",
    "check_run.rerequested__of_another_app": "other_app",
    "check_run.rerequested__ours": "button",
    "check_suite.rerequested__of_a_fork": "other_button",
    "check_suite.rerequested__of_a_pull_request": "button",
    "check_suite.rerequested__of_another_app": "other_app",
    "check_suite.rerequested__of_our_branch": "button",
    "check_suite.rerequested__without_a_check_of_ours": "other_button",
    "issue_comment.created__author_was_deleted": "mention",
    "issue_comment.created__by_a_bot": "bot",
    "issue_comment.created__by_a_mannequin_on_enterprise": "mention",
    "issue_comment.created__mention": "mention",
    "issue_comment.created__mention_in_quote": "no_mention",
    "issue_comment.created__no_mention": "no_mention",
    "issue_comment.created__null_body": "no_mention",
    "issue_comment.created__on_a_pull_request": "mention",
    "issue_comment.created__own_message": "own_message",
    "issue_comment.created__own_message_under_a_persons_token": "own_message",
    "issue_comment.created__stop": "mention",
    "issue_comment.deleted__mention": "deleted",
    "issue_comment.edited__gains_mention": "mention",
    "issue_comment.edited__gains_mention_by_another": "mention",
    "issue_comment.edited__mention_was_there": "mentioned_before",
    "issue_comment.edited__nothing_changed": "unchanged",
    "issues.assigned__to_somebody_beside_the_bot": "not_us",
    "issues.assigned__to_the_bot": "assignment",
    "issues.assigned__while_opening": "assignment",
    "issues.closed__with_mention": "closed",
    "issues.edited__body_gains_mention": "mention",
    "issues.edited__body_was_null": "mention",
    "issues.edited__mention_was_there": "mentioned_before",
    "issues.edited__no_changes_named": "no_mention",
    "issues.edited__other_part_changed": "no_mention",
    "issues.edited__title_gains_mention_by_another": "mention",
    "issues.labeled__another_while_ours_is_there": "other_label",
    "issues.labeled__by_a_bot": "bot",
    "issues.labeled__by_another_while_opening_with_mention": "label",
    "issues.labeled__ours": "label",
    "issues.labeled__ours_among_others_in_capitals": "label",
    "issues.labeled__while_opening": "label",
    "issues.labeled__while_opening_with_mention": "said_at_opening",
    "issues.opened__by_a_bot": "bot",
    "issues.opened__by_a_deleted_user": "no_sender",
    "issues.opened__mention_in_body": "mention",
    "issues.opened__mention_in_code": "no_mention",
    "issues.opened__mention_in_title": "mention",
    "issues.opened__mention_of_the_bot_account": "mention",
    "issues.opened__moved_here": "transferred",
    "issues.opened__nothing_for_us": "no_mention",
    "issues.unlabeled__ours": "label_removed",
    "ping__hook": "ping",
    "pull_request.assigned__to_the_bot": "assignment",
    "pull_request.edited__base_changed": "no_mention",
    "pull_request.edited__body_gains_mention": "mention",
    "pull_request.labeled__ours": "label",
    "pull_request.opened__mention_in_body": "mention",
    "pull_request.opened__our_own": "own_message",
    "pull_request.review_requested__of_a_team": "not_us",
    "pull_request.review_requested__of_the_bot": "review_request",
    "pull_request.synchronize__fork_gone": "pushed",
    "pull_request_review.dismissed__mention": "dismissed",
    "pull_request_review.edited__gains_mention": "mention",
    "pull_request_review.submitted__mention": "mention",
    "pull_request_review.submitted__null_body": "no_mention",
    "pull_request_review_comment.created__mention": "mention",
    "pull_request_review_comment.created__reply": "mention",
    "pull_request_review_comment.deleted__mention": "deleted",
    "pull_request_review_comment.edited__gains_mention": "mention",
    "push__branch": "not_used",
}
"""By what each payload asks for work, or why it does not."""


@cache
def key() -> Secret:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, pkcs1 = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return Secret(private.private_bytes(pem, pkcs1, serialization.NoEncryption()).decode())


def github(login: str = "onhand-bot", app: str = "4711") -> GitHub:
    acts_as = {"app_id": app, "private_key": key()} if app else {}
    return GitHub(GitHub.Settings(webhook_secret=Secret("s3cret"), bot_login=login, **acts_as), Us())


def delivered(name: str, integration: GitHub | None = None) -> Delivery:
    payload, integration = RECORDED[name], integration or github()
    return integration.parse(integration.verify(signed(integration, payload.body, payload.event), NOW))


def posted(event: str, body: Any, headers: Mapping[str, str] | None = None) -> Delivery:
    integration = github()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    inbound = signed(integration, raw, event)
    return integration.parse(integration.verify(Inbound({**inbound.headers, **(headers or {})}, raw), NOW))


def comes_to_nothing(event: str, body: Any, headers: Mapping[str, str] | None = None) -> bool:
    """Whether a body is refused with 400, or taken without work and with a reason."""
    try:
        delivery = posted(event, body, headers)
    except Rejected as refused:
        return refused.status == 400
    return bool(delivery.ignored) and not delivery.triggers


def trigger(name: str, integration: GitHub | None = None) -> Trigger:
    (found,) = delivered(name, integration).triggers
    return found


def test_every_recorded_payload_is_expected_to_do_something() -> None:
    assert set(RECORDED) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_payload_does_what_is_expected(name: str) -> None:
    delivery = delivered(name)
    assert (delivery.triggers[0].by if delivery.triggers else delivery.ignored) == EXPECTED[name]
    assert delivery.event == name.partition("__")[0]


def test_the_contract_of_integrations_is_kept() -> None:
    events = {event for event, _ in webhook.TRIGGERS} | {"ping", "push", "no_such_event"}
    assert check_integration(github(), RECORDED.values(), webhook.TRIGGERS, events) == []


def test_no_row_is_in_both_tables() -> None:
    assert not webhook.TRIGGERS.keys() & webhook.IGNORED.keys()


# --- authenticity ---------------------------------------------------------------------------------------------------


def test_the_signature_that_github_publishes_is_accepted() -> None:
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    inbound = Inbound({"x-hub-signature-256": f"sha256={digest}"}, b"Hello, World!")
    assert webhook.verify(inbound, Secret("It's a Secret to Everybody")).body == inbound.body


@pytest.mark.parametrize(
    "given",
    [
        "",
        "sha256=",
        "757107",
        "sha256=é",
        "sha256=\ud800",
        "sha256=\x00",
        "sha1=0f" * 9,
        "sha256=" + "0" * 64,
        "x" * 99_999,
    ],
)
def test_a_wrong_signature_is_refused_with_401(given: str) -> None:
    with pytest.raises(Rejected) as refused:
        webhook.verify(Inbound({"x-hub-signature-256": given}, b"{}"), Secret("s3cret"))
    assert (refused.value.status, refused.value.word) == (401, "signature")


def test_a_signature_with_sha1_alone_is_refused() -> None:
    sha1 = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"
    with pytest.raises(Rejected) as refused:
        webhook.verify(Inbound({"x-hub-signature": sha1}, b"Hello, World!"), Secret("It's a Secret to Everybody"))
    assert refused.value.status == 401


def test_without_a_secret_nothing_is_received() -> None:
    integration = GitHub(GitHub.Settings(), Us())
    assert not integration.receives
    with pytest.raises(Rejected) as refused:
        integration.verify(Inbound({}, b"{}"), NOW)
    assert refused.value.status == 404


def test_a_refusal_shows_no_signature() -> None:
    good = signed(github(), b"{}", "push").headers["x-hub-signature-256"]
    with pytest.raises(Rejected) as refused:
        webhook.verify(Inbound({"x-hub-signature-256": good[:-1] + "x"}, b"{}"), Secret("s3cret"))
    assert good[10:30] not in str(refused.value)


# --- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["x-github-event", "x-github-delivery"])
@pytest.mark.parametrize("value", ["", "a b", "é", "a\x00", "x" * 500])
def test_githubs_own_headers_must_be_there(missing: str, value: str) -> None:
    with pytest.raises(Rejected) as refused:
        posted("issue_comment", {}, {missing: value})
    assert (refused.value.status, refused.value.word) == (400, "headers")


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_signed_rubbish_is_refused_or_ignored(body: bytes, kind: str) -> None:
    assert comes_to_nothing("issue_comment", body, {"content-type": kind})


@pytest.mark.parametrize("part", ["action", "issue", "comment", "repository", "sender"])
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, True, {"id": 2**70, "number": -1}])
def test_a_part_of_the_wrong_kind_never_asks_for_work_by_accident(part: str, value: Any) -> None:
    payload = json.loads(RECORDED["issue_comment.created__mention"].body)
    assert comes_to_nothing("issue_comment", {**payload, part: value})


@pytest.mark.parametrize(
    "name",
    [
        "",
        "octo",
        "octo/",
        "/hello",
        "../hello",
        "octo/..",
        "octo/.",
        "a/b/c",
        "octo/he llo",
        "octo/a?b",
        "octo/é",
        "a/" + "b" * 101,
    ],
)
def test_a_repository_name_of_another_shape_is_refused(name: str) -> None:
    payload = json.loads(RECORDED["issue_comment.created__mention"].body)
    payload["repository"]["full_name"] = name
    with pytest.raises(Rejected):
        posted("issue_comment", payload)


def test_hidden_characters_reach_no_trigger() -> None:
    payload = json.loads(RECORDED["issue_comment.created__mention"].body)
    payload["comment"]["body"] = "@onhand fix\u0000 \u202ethis\u200b"
    payload["issue"]["title"] = "T\u0000itle"
    payload["sender"]["login"] = "octo\u0000"
    (found,) = posted("issue_comment", payload).triggers
    assert (found.request.text, found.title, found.actor.login) == ("fix this", "Title", "octo")


def test_an_address_that_is_none_is_left_out() -> None:
    payload = json.loads(RECORDED["issue_comment.created__mention"].body)
    payload["comment"]["html_url"] = "javascript:alert(1)"
    assert posted("issue_comment", payload).triggers[0].url == ""


def test_a_form_with_the_payload_is_read_like_json() -> None:
    raw = b"x=1&payload=" + urllib.parse.quote_plus(RECORDED["issue_comment.created__mention"].body).encode()
    delivery = posted("issue_comment", raw, {"content-type": "application/x-www-form-urlencoded; charset=utf-8"})
    assert delivery == delivered("issue_comment.created__mention")


def test_an_event_without_a_row_is_ignored_unread() -> None:
    assert posted("workflow_run", b"{not even JSON").ignored == "not_used"


# --- what is asked --------------------------------------------------------------------------------------------------


def test_a_comment_becomes_a_trigger_with_all_that_a_run_needs() -> None:
    assert trigger("issue_comment.created__mention") == Trigger(
        thread=Thread("github", "octo-maintainer/Hello-World", "1"),
        actor=Account("github", "102", "octo-bob"),
        request=webhook.Request("work", "fix the login redirect,", {"model": "small"}),
        meaning="github:comment:492700400",
        by="mention",
        origin=webhook.Origin("comment", "492700400"),
        title="Login redirects to the wrong page",
        body="Steps: sign in.",
        url="https://github.example/octo-maintainer/Hello-World/issues/1#issuecomment-492700400",
        change=False,
        repository=Repository("github", "octo-maintainer/Hello-World"),
    )


def test_a_comment_on_a_pull_request_is_known_as_such() -> None:
    found = trigger("issue_comment.created__on_a_pull_request")
    assert found.change
    assert found.request.text == "Nearly there. add a test"


def test_a_remark_on_code_carries_its_place_and_thread() -> None:
    origin = trigger("pull_request_review_comment.created__mention").origin
    assert (origin.kind, origin.path, origin.line, origin.thread_id) == (
        "review_comment",
        "src/login.py",
        12,
        origin.id,
    )
    assert "def login" in origin.hunk


def test_a_reply_to_a_remark_belongs_to_the_first_remark() -> None:
    origin = trigger("pull_request_review_comment.created__reply").origin
    assert (origin.thread_id, origin.line) == ("284312600", 12)


def test_a_review_is_the_origin_of_its_text() -> None:
    assert trigger("pull_request_review.submitted__mention").origin.kind == "review"


def test_a_verb_is_read() -> None:
    assert trigger("issue_comment.created__stop").request.verb == "stop"
    assert trigger("issues.opened__mention_of_the_bot_account").request.verb == "plan"


def test_a_label_asks_for_what_title_and_body_say() -> None:
    found = trigger("issues.labeled__ours")
    assert (found.request.verb, found.request.text, found.origin) == ("work", "", webhook.Origin("issue", "1"))
    assert found.title


def test_a_review_request_says_that_a_review_is_wanted() -> None:
    found = trigger("pull_request.review_requested__of_the_bot")
    assert "review" in found.request.text.lower()
    assert found.origin.kind == "change"


@pytest.mark.parametrize(
    ("name", "verb", "who"),
    [
        ("check_run.requested_action__stop", "stop", "octo-alice"),
        ("check_run.requested_action__retry", "retry", "octo-bob"),
        ("check_run.rerequested__ours", "retry", "octo-alice"),
        ("check_suite.rerequested__of_a_pull_request", "retry", "octo-alice"),
    ],
)
def test_a_button_is_a_verb_in_the_thread_of_its_check(name: str, verb: str, who: str) -> None:
    found = trigger(name)
    assert found.thread == Thread("github", "octo-maintainer/Hello-World", "2")
    assert (found.request, found.actor.login) == (webhook.Request(verb), who)  # type: ignore[arg-type]


def test_all_checks_of_our_branch_run_again_retry_what_made_it() -> None:
    found = trigger("check_suite.rerequested__of_our_branch")
    assert (found.thread.item, found.request.verb) == ("12", "retry")


@pytest.mark.parametrize(
    "branch", ["onhand/", "onhand/x-1", "onhand/12x", "onhand/1٢-x", "other/12-x", "onhand/" + "1" * 20]
)
def test_a_branch_that_is_not_named_as_ours_are_leads_to_the_pull_request(branch: str) -> None:
    payload = json.loads(RECORDED["check_suite.rerequested__of_our_branch"].body)
    payload["check_suite"]["head_branch"] = branch
    assert posted("check_suite", payload).triggers[0].thread.item == "2"


@pytest.mark.parametrize("app", ["25811", ""])
def test_another_apps_check_run_steers_nothing(app: str) -> None:
    assert delivered("check_run.requested_action__stop", github(app=app)).ignored == "other_app"


def test_an_app_may_be_known_by_its_client_id() -> None:
    payload = json.loads(RECORDED["check_run.requested_action__stop"].body)
    us = github(app=payload["check_run"]["app"]["client_id"])
    assert trigger("check_run.requested_action__stop", us)


@pytest.mark.parametrize("app", [None, {}, {"id": 0}, {"id": 4712}, {"slug": "onhand"}, {"id": 1, "client_id": ""}])
def test_a_check_run_whose_app_is_not_ours_steers_nothing(app: Any) -> None:
    payload = json.loads(RECORDED["check_run.requested_action__stop"].body)
    payload["check_run"]["app"] = app
    assert posted("check_run", payload).ignored == "other_app"


@pytest.mark.parametrize("part", ["action", "check_run", "requested_action", "repository", "sender"])
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, True, {"id": 2**70}, {"identifier": "work"}])
def test_a_part_of_the_wrong_kind_presses_no_button(part: str, value: Any) -> None:
    payload = json.loads(RECORDED["check_run.requested_action__stop"].body)
    assert comes_to_nothing("check_run", {**payload, part: value})


@pytest.mark.parametrize("sender", [{"type": "Bot"}, {"login": "some-app[bot]"}, {"login": "onhand-bot"}])
def test_no_bot_presses_a_button(sender: dict[str, str]) -> None:
    payload = json.loads(RECORDED["check_run.requested_action__stop"].body)
    payload["sender"].update(sender)
    assert posted("check_run", payload).ignored in ("bot", "own_act")


def test_every_press_of_a_button_is_a_wish_of_its_own() -> None:
    integration, payload = github(), RECORDED["check_run.requested_action__retry"]
    first, second, again = (
        integration.parse(integration.verify(signed(integration, payload.body, payload.event, name), NOW))
        for name in ("a", "b", "a")
    )
    assert first.triggers[0].meaning != second.triggers[0].meaning
    assert first == again


def test_whoever_edits_anothers_text_is_the_one_who_asks() -> None:
    assert trigger("issue_comment.edited__gains_mention_by_another").actor.login == "octo-alice"
    assert trigger("issues.edited__title_gains_mention_by_another").actor.login == "octo-bob"


def test_what_an_author_sets_while_opening_is_one_wish() -> None:
    label, assignment = trigger("issues.labeled__while_opening"), trigger("issues.assigned__while_opening")
    assert label.meaning == assignment.meaning == trigger("issues.opened__mention_in_body").meaning


def test_later_labels_and_assignments_are_wishes_of_their_own() -> None:
    names = ("issues.labeled__ours", "issues.assigned__to_the_bot", "issues.opened__mention_in_body")
    assert len({trigger(name).meaning for name in names}) == 3


def test_an_edit_is_another_wish_than_the_comment_itself() -> None:
    edited = trigger("issue_comment.edited__gains_mention").meaning
    assert edited.startswith("github:comment:")
    assert edited.endswith("@2026-03-05T10:30:00Z")


def test_the_same_payload_under_another_delivery_id_means_the_same() -> None:
    integration = github()
    payload = RECORDED["issue_comment.created__mention"]
    first, second = (
        integration.parse(integration.verify(signed(integration, payload.body, payload.event, name), NOW))
        for name in ("a", "b")
    )
    assert first.id != second.id
    assert first.triggers[0].meaning == second.triggers[0].meaning


def test_without_a_bot_login_only_the_handle_and_the_label_count() -> None:
    for name in ("issues.assigned__to_the_bot", "pull_request.review_requested__of_the_bot"):
        assert delivered(name, github("")).ignored == "not_us"
    assert trigger("issue_comment.created__mention", github(""))
    assert trigger("issues.labeled__ours", github(""))


@pytest.mark.parametrize("quoted", ["> <!-- onhand:status:1 -->\n> **Done.**", "What is `<!-- onhand:status:1 -->`?"])
def test_who_quotes_our_message_with_its_mark_is_heard(quoted: str) -> None:
    payload = json.loads(RECORDED["issue_comment.created__mention"].body)
    payload["comment"]["body"] = f"{quoted}\n\n@onhand now the docs"
    assert posted("issue_comment", payload).triggers


def test_without_a_bot_login_our_own_messages_are_known_by_their_mark() -> None:
    assert delivered("issue_comment.created__own_message", github("")).ignored == "own_message"


@pytest.mark.skipif(
    not EXAMPLES, reason="set ONHAND_TEST_GITHUB_EXAMPLES to the folder of npm's @octokit/webhooks-examples"
)
@pytest.mark.parametrize("login", ["", "onhand-bot", "octo-org"])
def test_githubs_own_examples_are_all_taken_and_ask_for_nothing(login: str) -> None:
    integration, count = github(login), 0
    for file in sorted(Path(EXAMPLES).glob("*/index.json")):
        for event in json.loads(file.read_bytes()):
            for example in event["examples"]:
                inbound = signed(integration, json.dumps(example).encode(), event["name"])
                delivery = integration.parse(integration.verify(inbound, NOW))
                assert delivery.ignored
                assert not delivery.triggers
                count += 1
    assert count > 100


@pytest.mark.skipif(
    not EXAMPLES, reason="set ONHAND_TEST_GITHUB_EXAMPLES to the folder of npm's @octokit/webhooks-examples"
)
def test_a_mention_in_githubs_own_examples_asks_exactly_where_a_person_said_it() -> None:
    integration, asked = github(), set()
    for file in sorted(Path(EXAMPLES).glob("*/index.json")):
        for event in json.loads(file.read_bytes()):
            for example in event["examples"]:
                said = (
                    example.get("comment")
                    or example.get("review")
                    or example.get("issue")
                    or example.get("pull_request")
                )
                if not isinstance(said, dict) or "changes" in example:
                    continue
                said["body"] = "@onhand look"
                inbound = signed(integration, json.dumps(example).encode(), event["name"])
                delivery = integration.parse(integration.verify(inbound, NOW))
                bots = {p.get("type") for p in (example.get("sender"), said.get("user")) if p}
                wanted = (event["name"], example.get("action")) in webhook.TRIGGERS and "Bot" not in bots
                if delivery.triggers:
                    assert wanted
                    asked.add(delivery.event)
                elif wanted:
                    assert delivery.ignored in ("other_label", "not_us", "unchanged", "transferred")
    assert {"issue_comment.created", "issues.opened", "pull_request.opened", "pull_request_review.submitted"} <= asked
