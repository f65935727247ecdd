"""gitlab_api.json is written by hand: here it is held against what python-gitlab knows of the same operations."""

from typing import Any

import pytest
from gitlab.v4 import objects

from tests.standins.gitlab import API

MERGE_REQUEST = "/projects/{id}/merge_requests/{merge_request_iid}"
ISSUE = "/projects/{id}/issues/{issue_iid}"
BODIES: dict[tuple[str, str], Any] = {
    ("post", "/projects/{id}/merge_requests"): objects.ProjectMergeRequestManager._create_attrs,
    ("put", MERGE_REQUEST): objects.ProjectMergeRequestManager._update_attrs,
    ("post", f"{ISSUE}/notes"): objects.ProjectIssueNoteManager._create_attrs,
    ("post", f"{MERGE_REQUEST}/notes"): objects.ProjectMergeRequestNoteManager._create_attrs,
    ("post", f"{ISSUE}/discussions"): objects.ProjectIssueDiscussionManager._create_attrs,
    ("post", f"{MERGE_REQUEST}/discussions"): objects.ProjectMergeRequestDiscussionManager._create_attrs,
    ("post", f"{ISSUE}/discussions/{{discussion_id}}/notes"): objects.ProjectIssueDiscussionNoteManager._create_attrs,
    ("post", f"{ISSUE}/award_emoji"): objects.ProjectIssueAwardEmojiManager._create_attrs,
    ("post", f"{MERGE_REQUEST}/notes/{{note_id}}/award_emoji"): (
        objects.ProjectMergeRequestNoteAwardEmojiManager._create_attrs
    ),
    ("post", "/projects/{id}/hooks"): objects.ProjectHookManager._create_attrs,
    ("put", "/projects/{id}/hooks/{hook_id}"): objects.ProjectHookManager._update_attrs,
}
FILTERS = {
    "/projects": objects.ProjectManager,
    "/projects/{id}/issues": objects.ProjectIssueManager,
    "/projects/{id}/merge_requests": objects.ProjectMergeRequestManager,
    "/users": objects.UserManager,
}


@pytest.mark.parametrize("operation", BODIES, ids=" ".join)
def test_a_body_has_the_fields_that_python_gitlab_knows(operation: tuple[str, str]) -> None:
    method, path = operation
    body = API["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    known = BODIES[operation]
    assert set(body["properties"]) <= {*known.required, *known.optional}
    assert set(body["required"]) == set(known.required)


@pytest.mark.parametrize("path", FILTERS)
def test_a_list_is_asked_for_by_filters_that_python_gitlab_knows(path: str) -> None:
    named = {p["name"] for p in API["paths"][path]["get"]["parameters"] if p["in"] == "query"}
    assert named - {"page", "per_page"} <= set(FILTERS[path]._list_filters)
