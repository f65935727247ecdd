"""Answers of the REST API: the fields that we read and nothing else of them. Pure.

https://docs.gitlab.com/api/rest/
"""

from msgspec import Struct

from integrations.gitlab.payloads import Attributes, Person

DEVELOPER = 30
"""The access level from which on a member may push. https://docs.gitlab.com/api/access_requests/#valid-access-levels"""


class User(Person, frozen=True):
    """A user. `bot` and `state` are shown by /users alone."""

    state: str = "active"
    bot: bool | None = None


class Member(Struct, frozen=True):
    """Somebody's membership in a project, inherited ones included."""

    id: int
    access_level: int = 0
    state: str = "active"
    membership_state: str = "active"

    @property
    def writes(self) -> bool:
        """Whether it lets them push."""
        return self.access_level >= DEVELOPER and self.state == "active" and self.membership_state == "active"


class Project(Struct, frozen=True):
    """A project; a new one has no default branch."""

    id: int
    path_with_namespace: str
    default_branch: str | None = None
    last_activity_at: str | None = None
    archived: bool = False
    merge_requests_template: str | None = None


class References(Struct, frozen=True):
    """How something is called where it was asked for: `!7`, or `group/project!7` elsewhere."""

    relative: str = ""


class MergeRequest(Struct, frozen=True):
    """A merge request. `allow_collaboration` says whether members of the target project may push to the fork's branch."""

    iid: int
    web_url: str
    source_branch: str
    target_branch: str
    source_project_id: int | None = None
    target_project_id: int | None = None
    state: str = "opened"
    sha: str | None = None
    """The head of its source branch; once it is merged or closed, where that stood then."""
    title: str = ""
    description: str | None = None
    allow_collaboration: bool | None = None
    author: User | None = None
    references: References = References()


class Note(Attributes, frozen=True, kw_only=True):
    """A note, alone or in a discussion. An answer without its id tells of none."""

    id: int
    body: str | None = None
    author: User | None = None


class Discussion(Struct, frozen=True):
    """A thread of notes."""

    id: str
    notes: list[Note] = []


class Listed(Attributes, frozen=True):
    """An issue or merge request in a list."""

    web_url: str = ""
    author: User | None = None
    user_notes_count: int = 1
    """GitLab's own notes not counted."""


class Award(Struct, frozen=True):
    """An emoji on something."""

    name: str
    user: User | None = None


class Hook(Struct, frozen=True):
    """A webhook. Its secrets are never shown; old versions do not know signing tokens."""

    id: int
    url: str
    signing_token_present: bool | None = None
