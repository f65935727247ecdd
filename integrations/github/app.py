"""The bot as a GitHub App: tokens for one repository each, kept until shortly before they run out; lost deliveries sent again.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from urllib.parse import quote

import jwt
from msgspec import Struct

from bot.core.errors import ConfigError, ProviderError, Refused
from bot.core.inbound import Account
from bot.core.refusals import courtesy, unless
from bot.core.secret import Secret
from integrations.github.answers import Answer, Repo
from integrations.github.api import Api
from integrations.github.deliveries import Redelivery
from integrations.github.manifest import EVENTS, PERMISSIONS
from integrations.github.payloads import Person

RENEWED_BEFORE = 300.0
"""Seconds before its end at which a token is made anew: no call takes longer, no two clocks differ by more."""

_SIGNED_FOR, _SIGNED_BACK, _SIGNATURE_KEPT = 300, 180, 120.0
"""Seconds that a signed claim holds, and lies back, so that a clock may be wrong; and is used again."""
_INSTALLATION_KEPT = 600.0
_INDISPENSABLE = ("contents", "issues", "pull_requests")
_TOO_LITTLE_KEPT = 20.0
"""Seconds for which a token is used that lacks what is indispensable."""
_REACH_KEPT = 60.0
"""Seconds for which it is remembered which repositories there are: people search letter by letter."""
_TOKENS_KNOWN = 1024
_LEVELS = ("", "read", "write", "admin")


class Installation(Struct, frozen=True):
    """Where the App was let in."""

    id: int
    permissions: dict[str, str] = {}
    suspended_at: str | None = None
    account: Person | None = None


class Made(Struct, frozen=True):
    """An installation token, fresh from GitHub."""

    token: str
    expires_at: datetime
    permissions: dict[str, str] = {}


class Identity(Struct, frozen=True):
    """The App itself."""

    slug: str
    name: str
    html_url: str = ""
    permissions: dict[str, str] = {}
    events: tuple[str, ...] = ()
    installations_count: int = 0


@dataclass(frozen=True)
class Minted:
    """A token of ours. `place` is the one repository that it is for, "" for none; it is used `until` then, in Unix seconds."""

    token: Secret
    place: str
    use: str
    until: float
    permissions: dict[str, str]

    def may_push(self, repository: str) -> bool:
        """Whether it lets commits into this repository."""
        return self.place.casefold() == repository.casefold() and self.permissions.get("contents") == "write"


@dataclass
class _Kept:
    """The token of one place and use; the lock lets one request at a time make it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    minted: Minted | None = None


class App:
    """A GitHub App, which may be installed at several places. Raises ConfigError for a key that signs nothing."""

    def __init__(self, api: Api, app_id: str, key: Secret, clock: Callable[[], float]) -> None:
        self._api, self._app_id, self._clock = api, app_id, clock
        self._key = Secret(key.reveal().replace("\\n", "\n"))
        self._signed, self._signed_at = self._sign(), clock()
        self._redelivery = Redelivery(api, clock)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._known: dict[Secret, Minted] = {}
        self._installations: dict[str, tuple[Installation, float]] = {}
        self._reach: list[Repo] = []
        self._reach_until = 0.0
        self._bot: Account | None = None
        api.renew = self.renew

    # --- tokens -------------------------------------------------------------------------------------------------------

    async def token(self, place: str, use: str) -> Secret:
        """Return the token of this place and use, made anew where it is about to run out. Raises ProviderError, Refused."""
        kept = self._kept.setdefault((place.casefold(), use), _Kept())
        async with kept.lock:
            if kept.minted is None or kept.minted.until - self._clock() < RENEWED_BEFORE:
                kept.minted = await self._mint(place, use)
                self._known[kept.minted.token] = kept.minted
                self._tidy()
            return kept.minted.token

    def minted(self, token: Secret) -> Minted | None:
        """Return what is known of a token of ours; None for anybody else's."""
        return self._known.get(token)

    async def give_back(self, use: str) -> None:
        """End the tokens that were made for a use."""
        await self._end(key for key in list(self._kept) if key[1] == use)

    async def renew(self, token: Secret) -> Secret | None:
        """Return a new token for one that GitHub does not take any more, unless it was given back."""
        old = self._known.get(token)
        kept = self._kept.get((old.place.casefold(), old.use)) if old else None
        if old is None or kept is None:
            return None
        async with kept.lock:
            if kept.minted == old:
                kept.minted = None
        return await self.token(old.place, old.use)

    async def close(self) -> None:
        """End every token, as far as that goes quickly."""
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._end(list(self._kept))

    async def _end(self, keys: Iterable[tuple[str, str]]) -> None:
        minted = [kept.minted for key in keys if (kept := self._kept.pop(key)).minted]
        await asyncio.gather(*(self._revoke(one.token) for one in minted if one))

    async def _revoke(self, token: Secret) -> None:
        with suppress(ProviderError):  # it runs out by itself
            await self._api.request(token, "DELETE", "/installation/token")

    async def _mint(self, place: str, use: str) -> Minted:
        made = await unless(self._make(await self._installation(place), place), "missing", "invalid", "forbidden")
        made = made or await self._make_knowing_better(place)
        until = made.expires_at.timestamp()
        if place and not all(_has(made.permissions, name, PERMISSIONS[name]) for name in _INDISPENSABLE):
            self._installations.pop(place, None)  # people are told, and grant it at any moment
            until = min(until, self._clock() + RENEWED_BEFORE + _TOO_LITTLE_KEPT)
        return Minted(Secret(made.token), place, use, until, made.permissions)

    async def _make(self, installation: Installation, place: str) -> Made:
        body: dict[str, object] = {"permissions": {"metadata": "read"}}
        if place:
            may = installation.permissions
            narrowed = {name: level for name, level in PERMISSIONS.items() if _has(may, name, level)}
            body = {"repositories": [place.partition("/")[2]], "permissions": narrowed}
        path = f"/app/installations/{installation.id}/access_tokens"
        return (await self._api.request(self._jwt(), "POST", path, body=body)).read(Made)

    async def _make_knowing_better(self, place: str) -> Made:
        """Make a token after looking again: it was installed anew, suspended or allowed less, or the repository was renamed."""
        self._installations.pop(place, None)
        there = await self._installation(place)
        made = await unless(self._make(there, place), "invalid")
        return made or await self._make(there, await self._name(there, place))

    async def _name(self, installation: Installation, place: str) -> str:
        """Return the name that a repository has now: a token is made by that alone, all else is sent on from an old one."""
        token = Secret((await self._make(installation, "")).token)
        try:
            return (await self._api.get(token, f"/repos/{place}")).read(Repo).full_name
        finally:
            await self._revoke(token)

    async def _installation(self, place: str) -> Installation:
        """Return the installation that serves a repository; without one, any (to look people up)."""
        found, until = self._installations.get(place, (None, 0.0))
        if found is None or until < self._clock():
            found = await self._find_installation(place)
            self._installations[place] = (found, self._clock() + _INSTALLATION_KEPT)
        return found

    async def _find_installation(self, place: str) -> Installation:
        if place:
            answer = await unless(self._get(f"/repos/{place}/installation"), "missing")
            found = [answer.read(Installation)] if answer else []
        else:
            everywhere = (await self._get("/app/installations")).read(list[Installation])
            found = sorted(everywhere, key=lambda one: bool(one.suspended_at))  # one that serves, if there is any
        where, remedy = place or "any repository", "Whoever administers it can"
        if not found:
            raise Refused("not_installed", f"I am not installed on {where}. {remedy} do that.")
        if found[0].suspended_at:
            raise Refused("suspended", f"My installation on {where} is suspended. {remedy} lift that.")
        return found[0]

    def _tidy(self) -> None:
        """Forget what has run out, so that nothing grows with the number of runs and repositories."""
        now = self._clock()
        self._kept = {k: v for k, v in self._kept.items() if v.lock.locked() or (v.minted and v.minted.until > now)}
        self._installations = {k: v for k, v in self._installations.items() if v[1] > now}
        self._known = dict(list(self._known.items())[-_TOKENS_KNOWN:])

    # --- who it is ----------------------------------------------------------------------------------------------------

    async def check(self) -> str:
        """Say which App it is, where it stands, and what people there have to mend. Raises ProviderError."""
        us = (await self._get("/app")).read(Identity)
        lacking = [
            *_lacking(us.permissions, PERMISSIONS),
            *(f"the event {name}" for name in EVENTS if name not in us.events),
        ]
        places = f"{us.installations_count} place{'s' if us.installations_count != 1 else ''}"
        said = [f"App {us.name}, installed at {places}", f"it lacks {', '.join(lacking)}" if lacking else ""]
        if not us.installations_count:
            said.append(f"install it: {us.html_url}/installations/new")
        else:
            there = await self._api.get(self._jwt(), "/app/installations", {"per_page": 100})
            said += [trouble for one in there.read(list[Installation]) if (trouble := _trouble(one, us.permissions))]
        return "; ".join(part for part in said if part)

    async def bot(self, token: Secret) -> Account:
        """Return the account under which what the App does is shown; any token may ask. Raises ProviderError."""
        if self._bot is None:
            slug = (await self._get("/app")).read(Identity).slug
            person = (await self._api.get(token, f"/users/{quote(f'{slug}[bot]')}")).read(Person)
            self._bot = Account("github", str(person.id), person.login)
        return self._bot

    # --- what it reaches ----------------------------------------------------------------------------------------------

    async def repositories(self) -> list[Repo]:
        """Return the repositories that it may push to, of every place where it is installed, a hundred of each at most.

        What GitHub says of a token's own rights there is no for each of them. A place that does not let us in any more is left
        out: it may take us from some addresses alone. Raises ProviderError.
        """
        if self._clock() >= self._reach_until:
            there = (await self._api.get(self._jwt(), "/app/installations", {"per_page": 100})).read(list[Installation])
            serving = (one for one in there if not one.suspended_at and _has(one.permissions, "contents", "write"))
            found = await asyncio.gather(*(courtesy(self._reached(one)) for one in serving))
            self._reach, self._reach_until = list(chain(*filter(None, found))), self._clock() + _REACH_KEPT
        return self._reach

    async def _reached(self, there: Installation) -> list[Repo]:
        token = Secret((await self._make(there, "")).token)
        try:
            shown = await self._api.get(token, "/installation/repositories", {"per_page": 100})
            return [repo for repo in shown.read(list[Repo], "repositories") if not (repo.archived or repo.disabled)]
        finally:
            await self._revoke(token)

    # --- deliveries that did not arrive -------------------------------------------------------------------------------

    async def send_again(self, since: float) -> int:
        """Have GitHub send again what did not arrive since then (Unix seconds); return how many. Raises ProviderError."""
        return await self._redelivery.of("/app/hook", self._jwt, since)

    # --- signing in as the App ----------------------------------------------------------------------------------------

    async def _get(self, path: str) -> Answer:
        return await self._api.get(self._jwt(), path)

    def _jwt(self) -> Secret:
        """Return the App's own signed claim, the same for a while: connections are kept by it."""
        if not 0 <= self._clock() - self._signed_at < _SIGNATURE_KEPT:
            self._signed, self._signed_at = self._sign(), self._clock()
        return self._signed

    def _sign(self) -> Secret:
        now = int(self._clock())
        claims = {"iat": now - _SIGNED_BACK, "exp": now + _SIGNED_FOR, "iss": self._app_id}
        try:
            return Secret(jwt.encode(claims, self._key.reveal(), "RS256"))
        except (ValueError, TypeError, jwt.PyJWTError):
            raise ConfigError(
                "github.private_key: expected the whole PEM file that GitHub gave for the App, its first and last line too"
            ) from None


def _trouble(there: Installation, offered: Mapping[str, str]) -> str:
    """Say what people have to mend where the App is installed: what it may ask for (`offered`) is not granted by itself."""
    where = there.account.login if there.account else f"installation {there.id}"
    if there.suspended_at:
        return f"suspended at {where}"
    waiting = _lacking(there.permissions, {name: level for name, level in PERMISSIONS.items() if name in offered})
    return f"{where} has still to accept {', '.join(waiting)}" if waiting else ""


def _lacking(permissions: dict[str, str], wanted: Mapping[str, str]) -> list[str]:
    return [f"{name}: {level}" for name, level in wanted.items() if not _has(permissions, name, level)]


def _has(permissions: dict[str, str], name: str, level: str) -> bool:
    granted = permissions.get(name, "")
    return granted in _LEVELS and _LEVELS.index(granted) >= _LEVELS.index(level)
