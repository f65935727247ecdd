"""Answers of the REST API: the fields that we read and nothing else of them, and refusals as ProviderError. Pure.

https://docs.github.com/rest
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType

from bot.core.errors import ProviderError
from bot.core.refusals import date_of, read, refusal, wait_of
from integrations.github.payloads import Item, Maker, Person, Place

T = TypeVar("T")


_CLOCKS_DIFFER = 60.0
"""Seconds."""
_SLOW_DOWN = {403: ("rate limit", "abuse detection"), 422: ("was submitted too quickly",)}
"""In which words GitHub says that it was asked for too much, by status; the second is what older servers say."""


class Said(Struct, frozen=True):
    """What GitHub says with a refusal."""

    message: str = ""
    errors: list[Any] | None = None


class Answer(Struct, frozen=True):
    """An answer as it came. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str

    def read(self, kind: type[T], *path: str) -> T:
        """Return what stands under a path in the body as a value of this type. Raises ProviderError."""
        return read(self.text, kind, "GitHub", *path)

    @property
    def last_page(self) -> int:
        """The number of the last page of a list, as the Link header names it; 1 without one."""
        page = self._linked("last", "page")
        return int(page) if page.isdecimal() else 1

    @property
    def next_cursor(self) -> str:
        """Where a list that is paged by cursors goes on, as the Link header names it; "" at its end."""
        return self._linked("next", "cursor")

    def _linked(self, relation: str, parameter: str) -> str:
        """Return a parameter of the address to which the Link header leads."""
        for part in self.headers.get("link", "").split(","):
            if f'rel="{relation}"' in part:
                query = urlsplit(part.partition("<")[2].partition(">")[0]).query
                return parse_qs(query).get(parameter, [""])[0]
        return ""


class Permissions(Struct, frozen=True):
    """What the token's owner may do in a repository."""

    push: bool
    admin: bool = False


class Repo(Struct, frozen=True):
    """A repository. `permissions` are told to whoever is signed in."""

    full_name: str
    default_branch: str = "main"
    private: bool = True
    archived: bool = False
    disabled: bool = False
    permissions: Permissions | None = None
    owner: Person | None = None


class Standing(Struct, frozen=True):
    """What a person may do in a repository: a permission of admin, write, read or none, and a role.

    GitHub always tells permission and user: an answer without them is none, and not a right that somebody lacks.
    https://docs.github.com/rest/collaborators/collaborators#get-repository-permissions-for-a-user
    """

    permission: str
    user: Person | None
    role_name: str | None = None

    @property
    def writes(self) -> bool:
        """Whether it is write or better; a custom role counts as the permission that it builds on."""
        return self.permission in ("admin", "maintain", "write") or self.role_name in ("admin", "maintain", "write")


class Check(Struct, frozen=True):
    """A check run."""

    id: int
    html_url: str | None = None
    external_id: str | None = None
    app: Maker | None = None


class Referrer(Item, frozen=True):
    """The issue or pull request that mentions another one."""

    state: str = "open"
    repository: Place | None = None


class Reference(Struct, frozen=True):
    """What a mention came from."""

    issue: Referrer | None = None


class Happened(Struct, frozen=True):
    """Something in the timeline of an issue."""

    source: Reference | None = None


class Commit(Struct, frozen=True):
    """A commit."""

    sha: str


class Branch(Struct, frozen=True):
    """A branch, and where it stands."""

    name: str
    commit: Commit


class Side(Struct, frozen=True):
    """One side of a pull request. `repo` is null when the fork is gone, and missing where a server knows no forks."""

    ref: str
    sha: str = ""
    repo: Repo | UnsetType | None = UNSET


class Pull(Struct, frozen=True):
    """A pull request."""

    number: int
    html_url: str
    head: Side
    base: Side
    state: str = "open"
    title: str = ""
    body: str | None = None
    maintainer_can_modify: bool | None = None


class Content(Struct, frozen=True):
    """An entry of a folder, or a file with its content."""

    name: str
    path: str
    type: str = "file"
    size: int = 0
    encoding: str | None = None
    content: str | None = None


def refused(answer: Answer, what: str, now: float) -> ProviderError:
    """Return the error for an answer that is no success; `now` is in Unix seconds.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    said, wait = Said(), wait_of(answer.headers, now, "x-ratelimit")
    with suppress(ProviderError):
        said = answer.read(Said)
    told = f"{said.message[:300]} {msgspec.json.encode(said.errors).decode() if said.errors else ''}"
    slow_down = any(words in told.lower() for words in _SLOW_DOWN.get(answer.status, ()))
    limited = slow_down or (answer.status == 403 and wait is not None)
    behind = date_of(answer.headers, now) - now
    if answer.status == 401 and abs(behind) > _CLOCKS_DIFFER:  # an App signs in with the time
        told += (
            f"The clock here is {abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} GitHub's; set it right."
        )
    return refusal("GitHub", answer.status, what, told, "limited" if limited else None, wait)
