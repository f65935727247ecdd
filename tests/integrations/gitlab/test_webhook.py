"""What GitLab delivers, and what is read out of it."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import Rejected
from bot.core.inbound import Account, Delivery, Inbound, Origin, Repository, Thread, Trigger
from bot.core.mentions import Request
from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.integrations import HOSTILE, NOW, check_integration, read_payloads, signed
from integrations.gitlab import webhook
from integrations.gitlab.client import GitLab

RECORDED = {payload.name: payload for payload in read_payloads(Path(__file__).parent / "payloads")}
SHARED = [file for above in Path(__file__).parents[4:6] for file in sorted(above.glob("shared/payloads/gitlab/*.json"))]
"""Recorded by others: they lie beside the project where it is made."""
SIGNING = Secret("whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode())

EXPECTED: dict[str, str] = {
    "emoji.award__on_a_note": "not_used",
    "issue.close__with_mention": "closed",
    "issue.open__assigned_to_us": "assignment",
    "issue.open__by_a_project_token": "bot",
    "issue.open__confidential": "mention",
    "issue.open__mention_in_code": "no_mention",
    "issue.open__mention_in_description": "mention",
    "issue.open__mention_in_title": "mention",
    "issue.open__mention_of_the_bot_account": "mention",
    "issue.open__moved_here_by_another": "not_new",
    "issue.open__nothing_for_us": "no_mention",
    "issue.open__null_description": "no_mention",
    "issue.open__our_own": "own_act",
    "issue.open__with_our_label": "label",
    "issue.open__with_our_label_and_a_mention": "mention",
    "issue.reopen__with_mention": "reopened",
    "issue.update__another_label_while_ours_is_there": "other_change",
    "issue.update__assigned_to_another_beside_us": "other_change",
    "issue.update__assigned_to_us": "assignment",
    "issue.update__box_ticked": "mentioned_before",
    "issue.update__description_gains_mention": "mention",
    "issue.update__description_was_null": "mention",
    "issue.update__due_date": "other_change",
    "issue.update__mention_was_there": "mentioned_before",
    "issue.update__older_version_names_no_action": "other_change",
    "issue.update__our_label": "label",
    "issue.update__our_label_among_others": "label",
    "issue.update__our_label_removed": "other_change",
    "issue.update__our_label_set_by_us": "own_act",
    "issue.update__title_gains_mention_by_another": "mention",
    "merge_request.approved__with_mention": "reviewed",
    "merge_request.merge__with_mention": "merged",
    "merge_request.open__mention_in_description": "mention",
    "merge_request.open__nothing_for_us": "no_mention",
    "merge_request.open__our_own": "own_act",
    "merge_request.open__our_own_under_a_persons_token": "own_message",
    "merge_request.open__we_are_reviewer": "review_request",
    "merge_request.update__assigned_to_us": "assignment",
    "merge_request.update__description_gains_mention": "mention",
    "merge_request.update__our_label": "label",
    "merge_request.update__pushed": "other_change",
    "merge_request.update__review_asked_of_another": "other_change",
    "merge_request.update__review_asked_of_us_anew": "review_request",
    "merge_request.update__review_asked_of_us_anew_in_a_list": "review_request",
    "merge_request.update__we_begin_our_review": "other_change",
    "issue.update__changes_in_a_form_unknown": "other_change",
    "issue.update__older_version_without_assignees_before": "assignment",
    "merge_request.update__we_become_reviewer": "review_request",
    "note.create__by_a_service_account": "bot",
    "note.create__in_a_thread": "mention",
    "note.create__internal": "mention",
    "note.create__mention": "mention",
    "note.create__mention_in_quote": "no_mention",
    "note.create__no_mention": "no_mention",
    "note.create__null_text": "no_mention",
    "note.create__older_version": "mention",
    "note.create__on_a_commit": "not_used",
    "note.create__on_a_confidential_issue": "mention",
    "note.create__on_a_line": "mention",
    "note.create__on_a_merge_request": "mention",
    "note.create__on_a_removed_line": "mention",
    "note.create__on_a_snippet": "not_used",
    "note.create__on_an_image": "mention",
    "note.create__own_message": "own_act",
    "note.create__own_message_under_a_persons_token": "own_message",
    "note.create__stop": "mention",
    "note.create__system_note": "system_note",
    "note.update__gains_mention": "mention",
    "note.update__gains_mention_by_another": "mention",
    "note.update__no_mention": "no_mention",
    "pipeline__failed": "not_used",
    "push__branch": "not_used",
    "work_item.open__epic_of_a_group": "no_project",
    "work_item.open__objective_with_mention": "not_used",
    "work_item.open__task_with_mention": "mention",
    "work_item.update__incident_gets_our_label": "label",
}
"""By what each payload asks for work, or why it does not."""


def gitlab(username: str = "onhand-bot", allow: str = "") -> GitLab:
    settings = GitLab.Settings(
        signing_token=SIGNING, webhook_secret=Secret("s3cret"), bot_username=username, allow=allow
    )
    return GitLab(settings, Us())


def delivered(name: str, integration: GitLab | None = None) -> Delivery:
    payload, integration = RECORDED[name], integration or gitlab()
    return integration.parse(integration.verify(signed(integration, payload.body, payload.event), NOW))


def posted(event: str, body: Any, headers: Mapping[str, str] | None = None) -> Delivery:
    integration = gitlab()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    inbound = signed(integration, raw, event)
    verified = integration.verify(inbound, NOW)
    return integration.parse(type(verified)({**verified.headers, **(headers or {})}, raw))


def changed(name: str, **parts: Any) -> dict[str, Any]:
    """A recorded payload with `object_attributes` or whole parts changed."""
    payload: dict[str, Any] = json.loads(RECORDED[name].body)
    for part, value in parts.items():
        both = isinstance(value, dict) and isinstance(payload.get(part), dict)
        payload[part] = {**payload[part], **value} if both else value
    return payload


def trigger(name: str, integration: GitLab | None = None) -> Trigger:
    (found,) = delivered(name, integration).triggers
    return found


def test_every_recorded_payload_is_expected_to_do_something() -> None:
    assert set(RECORDED) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_payload_does_what_is_expected(name: str) -> None:
    delivery = delivered(name)
    assert (delivery.triggers[0].by if delivery.triggers else delivery.ignored) == EXPECTED[name]
    if delivery.event != "unknown":
        assert delivery.event.partition(".")[0] == name.partition("__")[0].partition(".")[0]


def test_the_contract_of_integrations_is_kept() -> None:
    events = {event for event, _ in webhook.TRIGGERS} | {"push", "no_such_event"}
    assert check_integration(gitlab(), RECORDED.values(), webhook.TRIGGERS, events) == []


def test_no_row_is_in_both_tables() -> None:
    assert not webhook.TRIGGERS.keys() & webhook.IGNORED.keys()


@pytest.mark.skipif(not SHARED, reason="there are no recorded payloads beside this checkout")
@pytest.mark.parametrize("username", ["", "onhand-bot", "root"])
def test_recorded_payloads_of_others_are_all_taken_and_ask_for_nothing(username: str) -> None:
    integration = gitlab(username)
    for file in SHARED:
        event = file.name.partition("__")[0].partition(".")[0]
        delivery = integration.parse(integration.verify(signed(integration, file.read_bytes(), event), NOW))
        assert delivery.ignored not in ("", "unreadable")
        assert not delivery.triggers


@pytest.mark.skipif(not SHARED, reason="there are no recorded payloads beside this checkout")
@pytest.mark.parametrize("file", [f for f in SHARED if "Note_Hook" in f.name or ".open__" in f.name], ids=str)
def test_a_mention_in_recorded_payloads_of_others_asks_where_a_person_said_it(file: Path) -> None:
    payload = json.loads(file.read_bytes())
    attributes = payload["object_attributes"]
    attributes["note" if payload["object_kind"] == "note" else "description"] = "@onhand fix it"
    delivery = posted(file.name.partition(".")[0], payload)
    if attributes.get("noteable_type") in (None, "Issue", "MergeRequest"):
        assert len(delivery.triggers) == 1
    else:
        assert delivery.ignored == "not_used"


# --- authenticity ---------------------------------------------------------------------------------------------------


def sign(key: bytes, body: bytes = b"{}", delivery: str = "d-1", at: str = f"{NOW:.0f}") -> dict[str, str]:
    digest = hmac.new(key, f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": delivery, "webhook-timestamp": at, "webhook-signature": signature}


def verified(headers: Mapping[str, str], signing: str = "", secret: str = "", body: bytes = b"{}") -> bool:
    try:
        webhook.verify(Inbound(headers, body), [Secret(signing)] if signing else [], Secret(secret) or None, NOW)
    except Rejected as refused:
        return refused.status != 401
    return True


def test_the_vector_of_standard_webhooks_is_accepted() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    token = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    inbound = Inbound(headers, b'{"test": 2432232314}')
    assert webhook.verify(inbound, [token], None, 1614265330.0).body == inbound.body


@pytest.mark.parametrize(
    ("token", "key"),
    [
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", b"0123456789abcdef"),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", b"whsec_MDEyMzQ1Njc4OWFiY2RlZg=="),
        ("MDEyMzQ1Njc4OWFiY2RlZg==", b"0123456789abcdef"),
        ("MDEyMzQ1Njc4OWFiY2RlZg==", b"MDEyMzQ1Njc4OWFiY2RlZg=="),
        ("a plain token", b"a plain token"),
        ("whsec_no base64", b"whsec_no base64"),
    ],
)
def test_a_signing_token_is_taken_in_both_forms(token: str, key: bytes) -> None:
    assert verified(sign(key), token)
    assert not verified(sign(key + b"x"), token)


def test_one_good_signature_of_several_is_enough() -> None:
    good = sign(b"key")["webhook-signature"]
    other = sign(b"other")["webhook-signature"]
    for several in (f"{other} {good}", f"{good} {other}", f"v2,xyz {good}", f"v1a,{good[3:]}  {good}"):
        assert verified({**sign(b"key"), "webhook-signature": several}, "key")
    assert not verified({**sign(b"key"), "webhook-signature": f"{other} {other}"}, "key")


@pytest.mark.parametrize(
    "given", ["", "v1,", "v1", "v1,é", "v1,\ud800", "v1,\x00", "v2,abc", "x" * 99_999, "v1, " * 999]
)
@pytest.mark.parametrize("header", ["webhook-signature", "webhook-id", "webhook-timestamp"])
def test_a_wrong_signature_is_refused_with_401(header: str, given: str) -> None:
    assert not verified({**sign(b"key"), header: given}, "key")


@pytest.mark.parametrize("at", [NOW - 301, NOW + 301, 0, -5, "x", "1e9", "٣", "9" * 400, "1700000000.5"])
def test_a_stale_delivery_is_refused_with_401(at: Any) -> None:
    text = at if isinstance(at, str) else f"{at:.0f}"
    assert not verified(sign(b"key", at=text), "key")


def test_a_late_delivery_within_the_window_is_taken() -> None:
    assert verified(sign(b"key", at=f"{NOW - 299:.0f}"), "key")


@pytest.mark.parametrize("given", ["", "s3cre", "s3crets", "é", "\ud800"])
def test_a_wrong_secret_token_is_refused_with_401(given: str) -> None:
    assert verified({"x-gitlab-token": "s3cret"}, secret="s3cret")
    assert not verified({"x-gitlab-token": given}, secret="s3cret")


def test_during_a_migration_both_are_taken_and_a_bad_signature_is_not_saved_by_the_secret_token() -> None:
    assert verified(sign(b"key"), "key", "s3cret")
    assert verified({"x-gitlab-token": "s3cret"}, "key", "s3cret")
    assert verified({**sign(b"key"), "x-gitlab-token": "s3cret"}, "key", "s3cret")
    assert not verified({**sign(b"other"), "x-gitlab-token": "s3cret"}, "key", "s3cret")
    assert not verified({"x-gitlab-token": "s3cret"}, "key"), "without a secret token set, only a signature counts"
    assert verified({**sign(b"other"), "x-gitlab-token": "s3cret"}, secret="s3cret")


def test_without_a_secret_nothing_is_received() -> None:
    integration = GitLab(GitLab.Settings(), Us())
    assert not integration.receives
    with pytest.raises(Rejected) as refused:
        integration.verify(Inbound({}, b"{}"), NOW)
    assert refused.value.status == 404


# --- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("hook", ["Note Hook", "System Hook", "Pipeline Hook", "", "\x00é"])
def test_signed_rubbish_is_taken_without_work(body: bytes, hook: str) -> None:
    delivery = posted("note", body, {"x-gitlab-event": hook})
    assert delivery.ignored
    assert not delivery.triggers


@pytest.mark.parametrize("part", ["object_kind", "object_attributes", "user", "project", "issue"])
@pytest.mark.parametrize("value", [None, 1, "x", [], True, {"id": 2**70, "iid": -1}])
def test_a_part_of_the_wrong_kind_never_asks_for_work_by_accident(part: str, value: Any) -> None:
    payload = json.loads(RECORDED["note.create__mention"].body)
    assert posted("note", {**payload, part: value}).ignored


@pytest.mark.parametrize(
    "path",
    ["", "acme", "acme/", "/web", "../web", "acme/..", "acme/./web", "acme/we b", "a?b/c", "acme/é", "-a/b", "a//b",
     "a/" * 30 + "b", "a/" + "b" * 600, "a/b\x00", "a/b#1", "a/b!1"],
)  # fmt: skip
def test_a_project_of_another_shape_is_ignored(path: str) -> None:
    payload = changed("note.create__mention", project={"path_with_namespace": path})
    assert posted("note", payload).ignored == "no_project"


def test_hidden_characters_reach_no_trigger() -> None:
    payload = changed("note.create__mention", object_attributes={"note": "@onhand fix\u0000 \u202ethis\u200b"})
    payload["issue"]["title"], payload["user"]["username"] = "T\u0000itle", "bob\u0000"
    (found,) = posted("note", payload).triggers
    assert (found.request.text, found.title, found.actor.login) == ("fix this", "Title", "bob")


def test_an_address_that_is_none_is_left_out() -> None:
    payload = changed("note.create__mention", object_attributes={"url": "javascript:alert(1)"})
    assert posted("note", payload).triggers[0].url == ""


@pytest.mark.parametrize(
    "body",
    [
        {"object_kind": "build", "user": 5},
        {"event_name": "user_add_to_group"},
        {"event_name": "note"},
        {"object_kind": "x y"},
        {},
    ],
)
def test_an_event_without_a_row_is_ignored_however_it_looks(body: dict[str, Any]) -> None:
    assert posted("note", body).ignored == "not_used"


@pytest.mark.parametrize(
    "rubbish", [b'"\xff\xfe"', b'"\\ud800 @onhand"', b"[" * 5000 + b"]" * 5000, b"1e999", b"9" * 9999, b"{}"]
)
@pytest.mark.parametrize("part", [b"title", b"description", b"labels", b"assignees", b"reviewers"])
def test_rubbish_among_the_changes_asks_for_nothing(part: bytes, rubbish: bytes) -> None:
    payload = changed("merge_request.update__pushed", changes=None, object_attributes={"description": "Quiet"})
    changes = b'{"%s": {"previous": null, "current": %s}}' % (part, rubbish)
    body = json.dumps(payload).encode().replace(b'"changes": null', b'"changes": ' + changes)
    assert changes in body
    assert posted("merge_request", body).ignored in ("other_change", "no_mention", "unreadable")


def test_a_system_hook_and_one_without_a_name_are_read_by_their_kind() -> None:
    payload = json.loads(RECORDED["merge_request.open__mention_in_description"].body)
    for name in ("System Hook", "Confidential Whatever Hook", ""):
        assert posted("merge_request", payload, {"x-gitlab-event": name}).triggers


# --- what is asked --------------------------------------------------------------------------------------------------


def test_a_note_becomes_a_trigger_with_all_that_a_run_needs() -> None:
    assert trigger("note.create__mention") == Trigger(
        thread=Thread("gitlab", "acme/shop/web", "12"),
        actor=Account("gitlab", "102", "bob"),
        request=Request("work", "fix the login redirect, please", {"model": "small"}),
        meaning="gitlab:note:1241",
        by="mention",
        origin=Origin("comment", "1241"),
        title="Login redirects to the wrong page",
        body="Steps: sign in.",
        url="https://gitlab.example/acme/shop/web/-/issues/12#note_1241",
        change=False,
        repository=Repository("gitlab", "acme/shop/web"),
    )


def test_issues_and_merge_requests_with_one_number_are_two_threads() -> None:
    found = trigger("note.create__on_a_merge_request")
    assert (found.thread.key, found.change) == ("gitlab:acme/shop/web#!7", True)
    assert trigger("merge_request.update__our_label").thread == found.thread
    assert trigger("issue.open__with_our_label").thread.item == "12"


def test_a_remark_on_code_carries_its_place_and_thread() -> None:
    origin = trigger("note.create__on_a_line").origin
    assert (origin.kind, origin.id, origin.path, origin.line) == ("review_comment", "1244", "src/login.py", 12)
    assert origin.thread_id == "6a9c1750b37d513a43987b574953fceb50b03ce7"
    assert trigger("note.create__on_a_removed_line").origin.line == 9
    assert trigger("note.create__on_an_image").origin.line == 0


def test_an_answer_goes_beneath_a_thread_and_beneath_an_internal_note_but_not_beneath_a_plain_one() -> None:
    threads = {
        name: bool(trigger(f"note.create__{name}").origin.thread_id) for name in ("mention", "in_a_thread", "internal")
    }
    assert threads == {"mention": False, "in_a_thread": True, "internal": True}


def test_a_discussion_id_of_another_shape_goes_into_no_address() -> None:
    payload = changed("note.create__in_a_thread", object_attributes={"discussion_id": "../../users"})
    assert posted("note", payload).triggers[0].origin.thread_id == ""


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (">>>\n@onhand fix it\n>>>\nNo, thanks.", ""),
        (">>>\r\nSo\r\n@onhand fix it\r\n>>>\r\nNo, thanks.", ""),
        (">>>\nIt is broken\n>>>\n\n@onhand fix it", "> It is broken\n\nfix it"),
        (">>> @onhand fix it", ""),
        (">>>\nnever closed\n\n@onhand fix it", ">>>\nnever closed\n\nfix it"),
    ],
)
def test_what_stands_in_a_quote_of_several_lines_is_not_said(text: str, asked: str) -> None:
    delivery = posted("note", changed("note.create__mention", object_attributes={"note": text}))
    assert [trigger.request.text for trigger in delivery.triggers] == ([asked] if asked else [])


@pytest.mark.parametrize("text", [">>>\n" * 200_000, ">>>\nx" * 200_000, ">>>\n" + "x\n" * 400_000])
def test_hostile_quotes_keep_nobody_waiting(text: str) -> None:
    began = time.process_time()
    posted("note", changed("note.create__mention", object_attributes={"note": text + "@onhand"}))
    assert time.process_time() - began < 2


def test_a_verb_is_read() -> None:
    assert trigger("note.create__stop").request.verb == "stop"
    assert trigger("issue.open__mention_of_the_bot_account").request.verb == "plan"


def test_a_review_request_says_that_a_review_is_wanted() -> None:
    found = trigger("merge_request.update__we_become_reviewer")
    assert "review" in found.request.text.lower()
    assert found.origin.kind == "change"


def test_whoever_edits_anothers_text_is_the_one_who_asks() -> None:
    assert trigger("note.update__gains_mention_by_another").actor.login == "alice"
    assert trigger("issue.update__title_gains_mention_by_another").actor.login == "bob"


def test_all_that_is_set_while_opening_is_one_wish() -> None:
    names = ("with_our_label", "assigned_to_us", "mention_in_description")
    assert {trigger(f"issue.open__{name}").meaning for name in names} == {"gitlab:opened:acme/shop/web#12"}


def test_later_labels_assignments_and_edits_are_wishes_of_their_own() -> None:
    names = (
        "open__mention_in_description",
        "update__our_label",
        "update__assigned_to_us",
        "update__description_was_null",
    )
    assert len({trigger(f"issue.{name}").meaning for name in names}) == 4


def test_a_note_counts_once_however_often_it_is_edited() -> None:
    assert trigger("note.update__gains_mention").meaning == trigger("note.create__mention").meaning


def test_an_older_version_that_sends_no_user_id_names_the_author() -> None:
    assert trigger("note.create__older_version").actor == Account("gitlab", "101", "alice")


@pytest.mark.parametrize("name", ["", "a b", "a\nCo-authored-by: b", "<b@c>", "@onhand", "é", "x" * 300])
def test_a_name_that_no_user_can_have_asks_for_nothing(name: str) -> None:
    assert posted("note", changed("note.create__mention", user={"username": name})).ignored == "no_sender"


def test_the_same_payload_through_two_hooks_means_the_same() -> None:
    payload = json.loads(RECORDED["note.create__mention"].body)
    project = posted("note", payload, {"webhook-id": "a"})
    group = posted("note", payload, {"webhook-id": "b"})
    assert project.id != group.id
    assert project.triggers[0].meaning == group.triggers[0].meaning


def test_a_delivery_is_known_by_the_best_id_that_it_has() -> None:
    def named(**headers: str) -> str:
        sent = {"webhook-id": "", "idempotency-key": "", **{n.replace("_", "-"): v for n, v in headers.items()}}
        return posted("note", {"object_kind": "note"}, sent).id

    assert named(webhook_id="w", idempotency_key="i") == "w"
    assert named(idempotency_key="i", x_gitlab_event_uuid="u") == "i"
    assert named(x_gitlab_event_uuid="u").startswith("u:")
    assert named() == named()
    assert named(webhook_id="\x00") == named()


@pytest.mark.parametrize("quoted", ["> <!-- onhand:status:1 -->\n> **Done.**", "What is `<!-- onhand:status:1 -->`?"])
def test_who_quotes_our_message_with_its_mark_is_heard(quoted: str) -> None:
    payload = json.loads(RECORDED["note.create__mention"].body)
    payload["object_attributes"]["note"] = f"{quoted}\n\n@onhand now the docs"
    assert posted("note", payload).triggers


def test_without_a_bot_username_only_the_handle_and_the_label_count() -> None:
    for name in ("issue.update__assigned_to_us", "merge_request.update__we_become_reviewer"):
        assert delivered(name, gitlab("")).ignored == "other_change"
    assert trigger("note.create__mention", gitlab(""))
    assert trigger("issue.update__our_label", gitlab(""))


@pytest.mark.parametrize(
    ("allow", "works"),
    [("", True), ("acme", True), ("acme/shop/web", True), ("Acme/Shop", True), (" other , acme/shop/ ", True),
     ("acme/shop/webs", False), ("acm", False), ("other", False)],
)  # fmt: skip
def test_work_is_done_only_in_the_projects_and_groups_on_the_list(allow: str, works: bool) -> None:
    delivery = delivered("note.create__mention", gitlab(allow=allow))
    assert bool(delivery.triggers) is works
    assert delivery.ignored == ("" if works else "not_allowed")
