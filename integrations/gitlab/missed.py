"""What people asked while no hook reached us: comments, and issues and merge requests opened with a mention.

GitLab sends nothing again by itself, so the projects that the bot works in are read. Found things go the way of a hook's
payload and mean the same, so what was answered already is not answered again. Labels and assignments are not looked for:
the API does not tell in a list who set them.
"""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from msgspec import structs

from bot.core.deliveries import moment
from bot.core.in_turn import each, given_up
from bot.core.inbound import Delivery
from bot.core.ports import CaughtUp
from bot.core.secret import Secret
from integrations.gitlab.answers import Award, Discussion, Listed, Note
from integrations.gitlab.api import Api
from integrations.gitlab.code import path_of, projects
from integrations.gitlab.payloads import Payload, Place
from integrations.gitlab.webhook import Us, understand

log = logging.getLogger(__name__)

GRACE = 60.0
"""Seconds that a hook may take: what is younger is left to it."""
_STALE = 3600.0
"""Seconds by which the time of a project's last activity may be behind."""
_AT_ONCE = 4
_MOST = 100
_PAGES = 10
"""Pages of so many issues or merge requests of a project that are looked at, the last changed first."""
_KINDS = (("issue", "issues"), ("merge_request", "merge_requests"))
_REWRITTEN = ("changed the description", "changed title")
"""So begin GitLab's own notes about an edit: then nobody knows who put the mention there."""


async def read(api: Api, token: Secret, us: Us, own_id: str, since: float, now: float) -> CaughtUp:
    """Return what was asked since then (Unix seconds). Raises ProviderError."""
    ours = await projects(api, token, us)
    names = [p.path_with_namespace for p in ours if moment(p.last_activity_at) >= since - _STALE]
    look = _Look(api, token, us, own_id, since, now - GRACE)
    found, failed = await each((look.into(name, *kind) for name in names for kind in _KINDS), given_up(), _AT_ONCE)
    return CaughtUp(read=tuple(chain(*found)), failed=failed)


class _Look:
    """One look at everything between two moments."""

    def __init__(self, api: Api, token: Secret, us: Us, own_id: str, since: float, until: float) -> None:
        self._api, self._token, self._us, self._own_id = api, token, us, own_id
        self._since, self._until = since, until

    async def into(self, name: str, kind: str, path: str) -> list[Delivery]:
        """Look into the issues or the merge requests of a project."""
        after = datetime.fromtimestamp(self._since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        query = {"scope": "all", "updated_after": after, "order_by": "updated_at", "per_page": _MOST}
        found = list[Delivery]()
        async for item in self._listed(f"{path_of(name)}/{path}", query):
            author = item.author.id if item.author else None
            as_sent = structs.replace(item, author_id=author, url=item.web_url)
            found += await self._item(name, kind, f"{path_of(name)}/{path}/{item.iid}", as_sent)
        return [delivery for delivery in found if delivery.triggers]

    async def _listed(self, path: str, query: dict[str, Any]) -> AsyncIterator[Listed]:
        """Yield what a list has, page by page. What changes meanwhile comes to its front, so that something may come twice."""
        for page in range(1, _PAGES + 1):
            items = await self._api.get(self._token, path, list[Listed], {**query, "page": page})
            for item in items:
                yield item
            if len(items) < _MOST:
                return
        log.warning("%s has more than %d that changed; older ones are not looked at", path, _PAGES * _MOST)

    async def _item(self, name: str, kind: str, path: str, item: Listed) -> list[Delivery]:
        opened = self._opened(name, kind, item)
        is_asked = bool(opened.triggers) and self._is_new(item.created_at)
        if not (is_asked or item.user_notes_count):
            return []
        newest = {"order_by": "updated_at", "sort": "desc", "per_page": _MOST}
        notes = await self._api.get(self._token, f"{path}/notes", list[Note], newest)
        said = [note for note in notes if self._is_new(note.updated_at) and self._note(name, kind, item, note).triggers]
        asked = [await self._threaded(path, name, kind, item, note) for note in said]
        rewritten = any(note.system and (note.body or "").startswith(_REWRITTEN) for note in notes)
        if is_asked and not rewritten and not await self._seen(path):
            asked.append(opened)
        return asked

    def _is_new(self, at: str | None) -> bool:
        return self._since <= moment(at) <= self._until

    def _opened(self, name: str, kind: str, item: Listed) -> Delivery:
        payload = Payload(kind, item.author, Place(name), structs.replace(item, action="open"))
        return understand(f"missed:{kind}:{name}#{item.iid}", kind, payload, self._us)

    def _note(self, name: str, kind: str, item: Listed, note: Note, discussion: str = "") -> Delivery:
        change = kind == "merge_request"
        said = structs.replace(
            note,
            action="create",
            note=note.body,
            noteable_type="MergeRequest" if change else "Issue",
            discussion_id=discussion or None,
            url=f"{item.web_url}#note_{note.id}",
        )
        issue, merge_request = (None, item) if change else (item, None)
        payload = Payload("note", note.author, Place(name), said, issue, merge_request)
        return understand(f"missed:note:{note.id}", "note", payload, self._us)

    async def _threaded(self, path: str, name: str, kind: str, item: Listed, note: Note) -> Delivery:
        """Return the delivery of a note with the discussion that it stands in, which notes in a list do not tell."""
        for page in range(1, 1 + (5 if note.type or note.internal else 0)):
            query = {"per_page": _MOST, "page": page}
            discussions = await self._api.get(self._token, f"{path}/discussions", list[Discussion], query)
            if here := next((d.id for d in discussions if any(n.id == note.id for n in d.notes)), ""):
                return self._note(name, kind, item, note, here)
        if note.internal:
            return Delivery("gitlab", f"missed:note:{note.id}", "note.create", ignored="internal")
        return self._note(name, kind, item, note)

    async def _seen(self, path: str) -> bool:
        """Whether our eyes are on it: then it was answered, maybe under another meaning."""
        awards = await self._api.get(self._token, f"{path}/award_emoji", list[Award], {"per_page": _MOST})
        return any(award.name == "eyes" and award.user and str(award.user.id) == self._own_id for award in awards)
