"""Deliveries that did not reach us, sent again: those of the App's webhook, or of repositories' own.

https://docs.github.com/webhooks/using-webhooks/handling-failed-webhook-deliveries
"""

import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from msgspec import Struct

from bot.core.errors import ProviderError
from bot.core.in_turn import given_up, in_turn
from bot.core.refusals import unless
from bot.core.secret import Secret
from integrations.github.answers import Repo
from integrations.github.api import Api

log = logging.getLogger(__name__)

_HOOKS_KEPT = 3600.0
"""Seconds for which it is remembered where webhooks of ours are."""


_MOST_PAGES = 100
"""Pages of 100 attempts that are read in one look."""

_ON_ITS_WAY = 60.0
"""Seconds that a delivery is given to arrive once GitHub was asked for it: it comes after the answer."""


class Attempt(Struct, frozen=True):
    """One attempt to deliver something to our webhook; attempts of the same delivery share its guid."""

    id: int
    guid: str
    delivered_at: datetime
    status_code: int = 0


class Config(Struct, frozen=True):
    """Where a webhook leads."""

    url: str | None = None


class Hook(Struct, frozen=True):
    """A webhook of a repository."""

    id: int
    config: Config


class Redelivery:
    """Has GitHub send again what did not arrive. One that was just asked for is on its way: two looks may fall together."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self._api, self._clock = api, clock
        self._coming: dict[str, float] = {}

    async def of(self, hook: str, token: Callable[[], Secret], since: float) -> int:
        """Have it send again what is lost since then (Unix seconds); return how many.

        `hook` is the webhook's path in the API, `token` gives what opens it at this moment. Raises ProviderError, after the
        others were asked for all the same.
        """
        attempts = [attempt async for attempt in _attempts(self._api, token, f"{hook}/deliveries", since)]
        arrived = {attempt.guid for attempt in attempts if _arrived(attempt)}
        lost = {attempt.guid: attempt.id for attempt in attempts if attempt.guid not in arrived}
        asked = (  # the list comes newest first, people asked for it in the other order
            self._ask(guid, f"{hook}/deliveries/{attempt}/attempts", token) for guid, attempt in reversed(lost.items())
        )
        return await in_turn(asked, given_up(self._clock))

    async def _ask(self, guid: str, path: str, token: Callable[[], Secret]) -> bool:
        now = self._clock()
        self._coming = {known: until for known, until in self._coming.items() if until > now}
        if guid in self._coming:
            return False
        self._coming[guid] = now + _ON_ITS_WAY
        try:
            await self._api.request(token(), "POST", path)
        except ProviderError as error:
            if error.may_pass:
                self._coming.pop(guid, None)
                raise
            log.warning("the delivery %s was lost and cannot be sent again: %s", guid, error)
            return False
        return True


async def _attempts(api: Api, token: Callable[[], Secret], path: str, since: float) -> AsyncIterator[Attempt]:
    """Yield them newest first. However the list goes on (a page may lead to itself), it comes to an end."""
    query, seen = {"per_page": "100"}, {""}
    for _ in range(_MOST_PAGES):
        page = await api.get(token(), path, query)
        for attempt in page.read(list[Attempt]):
            if attempt.delivered_at.timestamp() < since:
                return
            yield attempt
        if (cursor := page.next_cursor) in seen:
            return
        seen.add(cursor)
        query["cursor"] = cursor
    log.warning("%s goes on after %d pages; older ones are not looked at", path, _MOST_PAGES)


def _arrived(attempt: Attempt) -> bool:
    """Whether it was taken, or refused for what it is: then sending it again every few minutes would change nothing."""
    return 200 <= attempt.status_code < 300 or attempt.status_code in (400, 401, 413)


class Hooks:
    """The webhooks that lead to `address`, of the repositories that a token administers: nobody else may see them.

    Looked for among the hundred repositories that were pushed to last.
    """

    def __init__(self, api: Api, address: str, clock: Callable[[], float]) -> None:
        self._api, self._address, self._clock = api, address, clock
        self._redelivery = Redelivery(api, clock)
        self._places: list[str] = []
        self._known: dict[str, list[str]] = {}
        """The paths of our webhooks, by repository."""
        self._until = 0.0

    async def send_again(self, token: Secret, since: float) -> int:
        """Have what was lost since then (Unix seconds) sent again by all of them; return how many.

        Raises ProviderError, after the others have had their turn all the same.
        """
        if self._until < self._clock():
            self._places, self._known = await self._administered(token), {}
            self._until = self._clock() + _HOOKS_KEPT
        return await in_turn((self._in(place, token, since) for place in self._places), given_up(self._clock))

    async def _in(self, place: str, token: Secret, since: float) -> int:
        if (hooks := self._known.get(place)) is None:
            hooks = self._known[place] = await self._at(place, token)
        return await in_turn((self._of_one(hook, token, since) for hook in hooks), given_up(self._clock))

    async def _of_one(self, hook: str, token: Secret, since: float) -> int:
        sent = await unless(self._redelivery.of(hook, lambda: token, since), "missing", "forbidden")
        if sent is None:
            self._until = 0.0  # it is gone, or the right to see it is
        return sent or 0

    async def _administered(self, token: Secret) -> list[str]:
        repositories = (await self._api.get(token, "/user/repos", {"sort": "pushed", "per_page": 100})).read(list[Repo])
        return [repo.full_name for repo in repositories if repo.permissions and repo.permissions.admin]

    async def _at(self, place: str, token: Secret) -> list[str]:
        path = f"/repos/{place}/hooks"
        seen = await unless(self._api.get(token, path, {"per_page": 100}), "missing", "forbidden")
        hooks = seen.read(list[Hook]) if seen else []  # else the token is not for webhooks
        return [f"{path}/{hook.id}" for hook in hooks if hook.config.url == self._address]
