"""Notes on issues and merge requests: said once, edited, found again; beneath a discussion, on a line, or below the whole.
And those that were there before.
"""

from typing import Any

from bot.core.deliveries import moment
from bot.core.errors import ProviderError
from bot.core.inbound import Account, Message, Thread, Trigger
from bot.core.markdown import code
from bot.core.marks import begins_with_mark, mark
from bot.core.outbound import Receipt, Say
from bot.core.platform import number_in
from bot.core.refusals import unless
from bot.core.secret import Secret
from integrations.gitlab.answers import Note
from integrations.gitlab.api import Api
from integrations.gitlab.code import items_of
from integrations.gitlab.replies import SayInDiff, marked

_BELOW = "b"
"""Before the id of a note that says below the whole which line it means."""
_NEWEST = {"order_by": "created_at", "sort": "desc"}
_PAGES = 5
"""Pages of 100 notes in which a message of ours is looked for, newest first."""


async def say(api: Api, token: Secret, web: str, call: Say) -> Receipt:
    """Say it beneath the discussion; where that is gone, on the same line of the diff; where GitLab takes no such remark, below.

    Raises ProviderError.
    """
    path = items_of(call.thread.place, call.thread.item)
    below = isinstance(call, SayInDiff) and bool(call.beneath)
    if call.beneath:
        reply = f"{path}/discussions/{call.beneath}/notes"
        made = await unless(api.request(token, "post", reply, Note, body=_body(call)), "missing", "invalid")
        if not made and isinstance(call, SayInDiff):
            made = await unless(_on_the_line(api, token, path, call), "missing", "invalid")
        if made:
            return _receipt(web, call, made)
    return _receipt(web, call, await api.request(token, "post", f"{path}/notes", Note, body=_body(call, below)), below)


async def edit(api: Api, token: Secret, web: str, call: Say, said: Receipt) -> Receipt:
    """Make the note of this topic read so. Raises ProviderError (`missing` where somebody has deleted it)."""
    below = said.id.startswith(_BELOW)
    note = f"{items_of(call.thread.place, call.thread.item)}/notes/{number_in(said.id.removeprefix(_BELOW))}"
    return _receipt(web, call, await api.request(token, "put", note, Note, body=_body(call, below)), below)


async def find(api: Api, token: Secret, web: str, call: Say, us: Account) -> Receipt | None:
    """Look for our note among the newest ones. One that somebody else has put our mark on is not ours."""
    path = f"{items_of(call.thread.place, call.thread.item)}/notes"
    for page in range(1, _PAGES + 1):
        notes = await api.get(token, path, list[Note], {**_NEWEST, "per_page": 100, "page": page})
        for note in notes:
            if mark(call.topic) in (note.body or "") and note.author and str(note.author.id) == us.id:
                return _receipt(web, call, note, isinstance(call, SayInDiff) and _meant(call) in (note.body or ""))
        if len(notes) < 100:
            break
    return None


async def before(api: Api, token: Secret, web: str, trigger: Trigger) -> list[Message]:
    """Return what was said before, newest first: the discussion whole, then the rest. Raises ProviderError.

    Internal notes are told only where it was asked in their own discussion: the answer goes where everybody reads it.
    """
    path, beneath = items_of(trigger.thread.place, trigger.thread.item), trigger.origin.thread_id
    thread = (await api.get(token, f"{path}/discussions/{beneath}", list[Note], at=("notes",)))[::-1] if beneath else []
    seen = {trigger.origin.id} if trigger.origin.kind in ("comment", "review_comment") else set[str]()
    said = []
    for note in [*thread, *await api.get(token, f"{path}/notes", list[Note], {**_NEWEST, "per_page": 100})]:
        ours = note.system or begins_with_mark(note.body or "")
        if not ours and str(note.id) not in seen and (note in thread or not note.internal):
            author = (note.author.username if note.author else "") or "somebody"
            said.append(Message(author, note.body or "", moment(note.created_at), _url(web, trigger.thread, note)))
        seen.add(str(note.id))
    return said


async def _on_the_line(api: Api, token: Secret, path: str, call: SayInDiff) -> Note | None:
    """Begin a discussion on the line that was remarked on. Raises ProviderError where its place is refused."""
    body = {**_body(call), "position": await _position(api, token, path, call)}
    made = await api.request(token, "post", f"{path}/discussions", list[Note], body=body, at=("notes",))
    return next(iter(made), None)


def _body(call: Say, below: bool = False) -> dict[str, str]:
    text = f"{_meant(call)}\n\n{call.text}" if below and isinstance(call, SayInDiff) else call.text
    return {"body": marked(text, call.topic)}


def _meant(call: SayInDiff) -> str:
    return f"On line {call.origin.line} of {code(call.origin.path, 300)}:"


async def _position(api: Api, token: Secret, path: str, call: SayInDiff) -> dict[str, Any]:
    """Return the place of a line in the newest version of the diff. Raises ProviderError.

    https://docs.gitlab.com/api/discussions/#create-a-new-thread-in-the-merge-request-diff
    """
    refs: Any = await api.get(token, path, Any, at=("diff_refs",))
    shas = {name: (refs or {}).get(name) for name in ("base_sha", "start_sha", "head_sha")}
    if not all(shas.values()):
        raise ProviderError("invalid", "the merge request has no diff")
    where, line = call.origin.path, call.origin.line
    return {"position_type": "text", **shas, "new_path": where, "old_path": where, "new_line": line}


def _receipt(web: str, call: Say, note: Note, below: bool = False) -> Receipt:
    return Receipt(f"{_BELOW if below else ''}{note.id}", _url(web, call.thread, note))


def _url(web: str, thread: Thread, note: Note) -> str:
    kind = "merge_requests" if thread.item.startswith("!") else "issues"
    return f"{web}/{thread.place}/-/{kind}/{thread.item.removeprefix('!')}#note_{note.id}"
