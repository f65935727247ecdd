"""What was asked while we were away: Linear keeps no list of deliveries, so sessions, prompts and comments are looked through.

They are read as their webhooks are, and come with the same meaning, so what did reach us is not taken twice. A label set
meanwhile is not found: nothing tells afterwards which delivery it would have been.
"""

import math
import time
from datetime import UTC, datetime
from itertools import chain

from msgspec.structs import replace

from bot.core import deliveries
from bot.core.deliveries import moment
from bot.core.in_turn import each, given_up
from bot.core.ports import CaughtUp
from bot.core.secret import Secret
from integrations.linear import documents, webhook
from integrations.linear.api import Api
from integrations.linear.payloads import Activity, Data, Payload, Session

_AT_ONCE = 5.0
"""Seconds within which a session's first prompt comes after it."""
_SETTLED = 60.0
"""Seconds after which a comment has surely begun its session. Where agents are used, a younger one is left to its delivery and
to the next look: answered by a comment, it would leave its session silent."""


async def missed(api: Api, token: Secret, since: float, us: webhook.Us) -> CaughtUp:
    """Return what was asked since then (Unix seconds), as deliveries; most will be known."""
    begin = datetime.fromtimestamp(since, UTC).isoformat()

    async def sessions() -> list[Payload]:
        found = await api.ask(token, documents.SESSIONS, {}, list[Session], "nodes")
        return [_created(session) for session in found if moment(session.createdAt) >= since]

    async def prompts() -> list[Payload]:
        found = await api.ask(token, documents.PROMPTS, {"since": begin}, list[Activity], "nodes")
        return [_prompted(prompt) for prompt in found if not _begins(prompt)]

    async def comments() -> list[Payload]:
        found = await api.ask(token, documents.COMMENTS, {"since": begin, "handle": us.handle}, list[Data], "nodes")
        latest = time.time() - _SETTLED if us.app_user_id else math.inf
        return [_commented(c) for c in found if _counts(c) and moment(c.createdAt) <= latest]

    looks = (sessions, prompts, comments) if us.app_user_id else (comments,)
    found, failed = await each((look() for look in looks), given_up())
    read = deliveries.missed(chain(*found), lambda payload: webhook.read(payload, "", us))
    return CaughtUp(read=read, failed=failed)


def _created(session: Session) -> Payload:
    source = session.sourceComment
    session = replace(session, sourceCommentId=source.id if source else None)
    near = [source] if source else []
    return Payload("AgentSessionEvent", "created", agentSession=session, previousComments=near)


def _prompted(prompt: Activity) -> Payload:
    source = prompt.sourceComment
    activity = replace(prompt, sourceCommentId=source.id if source else None)
    return Payload("AgentSessionEvent", "prompted", agentSession=prompt.agentSession, agentActivity=activity)


def _commented(comment: Data) -> Payload:
    return Payload("Comment", "create", data=comment, url=comment.url)


def _counts(comment: Data) -> bool:
    """Whether it is a person's, and reads as it did at first: what an edit asks for means something else."""
    return comment.user is not None and not comment.user.app and not comment.editedAt


def _begins(prompt: Activity) -> bool:
    """Whether it is what the session began with, which asks for nothing more."""
    session = prompt.agentSession
    return session is None or moment(prompt.createdAt) - moment(session.createdAt) < _AT_ONCE
