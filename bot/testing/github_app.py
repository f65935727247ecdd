"""The stand-in's GitHub Apps: signing in by JWT, installations, narrowed tokens, the list of deliveries, manifests."""

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.testing.git_server import Hosting
from bot.testing.github_api import Answered, ApiError
from bot.testing.github_state import Json, Person, State, permissions

_PAGE = re.compile(r"(/organizations/[\w-]+)?/settings/apps/new")
_OF_REPOSITORY = re.compile(r"/repos/([\w.-]+/[\w.-]+)(/.*)?")
_EVENTS = (
    "issues",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "check_run",
)
_NEEDED = (
    (r"GET /collaborators/.*", "metadata"),
    (r"\w+ /pulls.*", "pull_requests"),
    (r"\w+ /issues.*", "issues"),
    (r"\w+ (/check|/commits/[^/]+/check).*", "checks"),
    (r"\w+ /(contents|branches).*", "contents"),
)
"""Which permission a request below a repository needs; the others need none but metadata.

https://docs.github.com/rest/authentication/permissions-required-for-github-apps
"""


@dataclass
class Installation:
    """Where an App was let in. The people there may lift or lower its permissions, or suspend it."""

    id: int
    repositories: list[str]
    permissions: dict[str, str]
    suspended: bool = False


@dataclass
class Token:
    """An installation token: for some repositories, with some permissions, until a time (Unix seconds)."""

    value: str
    repositories: list[str]
    permissions: dict[str, str]
    until: float


@dataclass
class GitHubApp:
    """A registered App. `key` is its private key as PEM text."""

    id: int
    slug: str
    bot: Person
    key: str
    permissions: dict[str, str]
    webhook_secret: str = ""
    manifest: Json = field(default_factory=dict)
    events: list[str] = field(default_factory=lambda: list(_EVENTS))
    """What it is subscribed to, as it says; everything is delivered all the same."""
    installations: list[Installation] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    """Every token ever made, oldest first."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to deliver to a webhook; `delivery` is the id that the attempts of one delivery share."""

    id: int
    delivery: str
    event: str
    action: str
    at: float
    status: int
    again: bool
    place: str = ""


class Apps:
    """Every App, and the part of the API that is theirs. `send_again` delivers anew, by the delivery's id."""

    def __init__(
        self, state: State, git: Hosting, send_again: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._state, self._git, self._send_again, self._clock = state, git, send_again, clock
        self.apps: dict[int, GitHubApp] = {}
        self.attempts: list[Attempt] = []
        self.token_seconds = 3600.0
        """How long a new token lives."""
        self._codes: dict[str, Json] = {}

    def register(self, slug: str, permissions: Mapping[str, str], manifest: Json | None = None) -> GitHubApp:
        """Make an App with its bot's account and its key."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ).decode()
        bot = Person(f"{slug}[bot]", self._state.new_id(), "Bot")
        self._state.people[bot.login] = bot
        app = GitHubApp(self._state.new_id(), slug, bot, pem, dict(permissions), uuid.uuid4().hex, manifest or {})
        self.apps[app.id] = app
        return app

    def rename(self, old: str, new: str) -> None:
        """Know a repository under its new name in all installations and tokens."""
        for app in self.apps.values():
            reaching: list[Installation | Token] = [*app.installations, *app.tokens]
            for reach in reaching:
                reach.repositories = [new if name == old else name for name in reach.repositories]

    def alive(self, app: GitHubApp) -> list[Token]:
        """The tokens that still open something."""
        return [token for token in app.tokens if self._token(token.value) is not None]

    def of_bot(self, login: str) -> GitHubApp | None:
        """Return the App that acts under this login."""
        return next((app for app in self.apps.values() if app.bot.login == login), None)

    # --- who asks -----------------------------------------------------------------------------------------------------

    def by_jwt(self, credential: str) -> GitHubApp | None:
        """Return the App that signed this, if it is a claim that holds now."""
        try:
            claimed = jwt.decode(credential, options={"verify_signature": False})
            app = self.apps[int(claimed["iss"])]
            key = serialization.load_pem_private_key(app.key.encode(), None).public_key()
            assert isinstance(key, rsa.RSAPublicKey)
            jwt.decode(credential, key, ["RS256"], options={"require": ["iat", "exp", "iss"]}, leeway=0)
            return app if claimed["exp"] - claimed["iat"] <= 600 else None
        except (jwt.PyJWTError, KeyError, ValueError):
            return None

    def check(self, credential: str, method: str, path: str) -> None:
        """Raise ApiError where an installation token does not reach. Other credentials pass."""
        token = self._token(credential)
        if token is None:
            return
        if path == "/user":
            raise ApiError(403, "Resource not accessible by integration")
        if (found := _OF_REPOSITORY.fullmatch(path)) is None:
            return
        if found[1] not in token.repositories:
            raise ApiError(404, "Not Found")
        rest = f"{method} {found[2] or ''}"
        needed = next((name for pattern, name in _NEEDED if re.fullmatch(pattern, rest)), "metadata")
        granted = token.permissions.get(needed, "")
        if not granted or (method != "GET" and granted != "write"):
            raise ApiError(403, "Resource not accessible by integration")

    def _token(self, credential: str) -> Token | None:
        found = next((t for app in self.apps.values() for t in app.tokens if t.value == credential), None)
        if found and found.until <= self._clock():
            self._forget(found.value)
        return found if found and found.value in self._state.tokens else None

    # --- the API ------------------------------------------------------------------------------------------------------

    def answer(self, credential: str, method: str, path: str, query: Mapping[str, str], body: Any) -> Answered | None:
        """Answer what belongs to Apps; None for all else. Raises ApiError."""
        if method == "POST" and (found := re.fullmatch(r"/app-manifests/(\w+)/conversions", path)):
            return self._convert(found[1])
        if (method, path) == ("DELETE", "/installation/token"):
            if self._token(credential) is None:
                raise ApiError(401, "Bad credentials")
            self._forget(credential)
            return Answered(204, None)
        if (method, path) == ("GET", "/installation/repositories"):
            return self._reached(credential)
        of_repository = re.fullmatch(r"/repos/([\w.-]+/[\w.-]+)/installation", path)
        if not of_repository and path.split("/")[1] != "app":
            return None
        app = self.by_jwt(credential)
        if app is None:
            raise ApiError(401, "A JSON web token could not be decoded")
        if of_repository:
            return self._installed(app, of_repository[1])
        return self._for_app(app, f"{method} {path}", query, body or {})

    def _for_app(self, app: GitHubApp, request: str, query: Mapping[str, str], body: Json) -> Answered:
        if request == "GET /app":
            shown = {
                "id": app.id,
                "slug": app.slug,
                "name": app.slug,
                "html_url": f"{self._state.web}/apps/{app.slug}",
                "permissions": app.permissions,
                "events": app.events,
            }
            return Answered(200, {**shown, "installations_count": len(app.installations)})
        if request == "GET /app/installations":
            return Answered(200, [self._shown(one) for one in app.installations])
        if request == "GET /app/hook/deliveries":
            return self.deliveries(query, self.attempts)
        if found := re.fullmatch(r"POST /app/hook/deliveries/(\d+)/attempts", request):
            return self.again(int(found[1]))
        if found := re.fullmatch(r"POST /app/installations/(\d+)/access_tokens", request):
            return self._make_token(app, int(found[1]), body)
        raise ApiError(404, "Not Found")

    def _installed(self, app: GitHubApp, place: str) -> Answered:
        found = next((one for one in app.installations if place in one.repositories), None)
        if found is None:
            raise ApiError(404, "Not Found")
        return Answered(200, self._shown(found))

    def _shown(self, one: Installation) -> Json:
        suspended = self._state.now() if one.suspended else None
        return {
            "id": one.id,
            "account": self._state.person(self._account(one)),
            "permissions": one.permissions,
            "suspended_at": suspended,
            "repository_selection": "selected",
        }

    def _reached(self, credential: str) -> Answered:
        """List what a token is for. GitHub says of every right there that the token has it not."""
        if (token := self._token(credential)) is None:
            raise ApiError(401, "Bad credentials")
        nothing = {"permissions": dict(permissions("none"))}
        there = [self._state.repository(self._state.repositories[name]) | nothing for name in token.repositories]
        return Answered(200, {"total_count": len(there), "repository_selection": "selected", "repositories": there})

    def _account(self, one: Installation) -> Person:
        login = next(iter(one.repositories), "nobody/").partition("/")[0]
        return self._state.people.get(login) or Person(login, 1, "Organization")

    def _make_token(self, app: GitHubApp, number: int, body: Json) -> Answered:
        there = next((one for one in app.installations if one.id == number), None)
        if there is None:
            raise ApiError(404, "Not Found")
        if there.suspended:
            raise ApiError(403, "This installation has been suspended")
        places = {place.partition("/")[2]: place for place in there.repositories}
        if set(body.get("repositories", [])) - places.keys():
            raise ApiError(422, "There is at least one repository that does not exist or is not accessible.")
        wanted = body.get("permissions", there.permissions)
        if any(level == "write" and there.permissions.get(name) != "write" for name, level in wanted.items()):
            raise ApiError(422, "The permissions requested are not granted to this installation.")
        token = Token(
            f"ghs_{uuid.uuid4().hex}",
            [places[n] for n in body.get("repositories", places)],
            dict(wanted),
            self._clock() + self.token_seconds,
        )
        app.tokens.append(token)
        self._state.tokens[token.value] = app.bot.login
        if token.permissions.get("contents") == "write":
            self._git.narrowed[token.value] = set(token.repositories)
        until = datetime.fromtimestamp(token.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        shown = {"token": token.value, "expires_at": until, "permissions": token.permissions}
        return Answered(201, {**shown, "repository_selection": "selected"})

    def _forget(self, credential: str) -> None:
        self._state.tokens.pop(credential, None)
        self._git.narrowed.pop(credential, None)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def note(self, delivery: str, event: str, action: str, status: int, place: str = "") -> None:
        """Remember an attempt to deliver something that happened in a place."""
        again = any(attempt.delivery == delivery for attempt in self.attempts)
        self.attempts.append(
            Attempt(self._state.new_id(), delivery, event, action, self._clock(), status, again, place)
        )

    def deliveries(self, query: Mapping[str, str], attempts: Sequence[Attempt]) -> Answered:
        """Page attempts by cursor, newest first, as GitHub does."""
        newest = attempts[::-1]
        size, start = int(query.get("per_page", "30")), int(query.get("cursor", "v0")[1:])
        shown = [self._attempt(attempt) for attempt in newest[start : start + size]]
        more = {"per_page": size, "cursor": f"v{start + size}"} if start + size < len(newest) else {}
        return Answered(200, shown, cursor=urlencode(more))

    def _attempt(self, attempt: Attempt) -> Json:
        at = datetime.fromtimestamp(attempt.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "id": attempt.id,
            "guid": attempt.delivery,
            "delivered_at": at,
            "redelivery": attempt.again,
            "duration": 0.1,
            "status": "OK" if attempt.status == 200 else "failed",
            "status_code": attempt.status,
            "event": attempt.event,
            "action": attempt.action,
            "installation_id": None,
            "repository_id": None,
        }

    def again(self, number: int) -> Answered:
        """Deliver anew, by the id of an attempt. Raises ApiError."""
        found = next((attempt for attempt in self.attempts if attempt.id == number), None)
        if found is None:
            raise ApiError(404, "Not Found")
        self._send_again(found.delivery)
        return Answered(202, {})

    # --- manifests ----------------------------------------------------------------------------------------------------

    def page(self, path: str, query: Mapping[str, str], raw: bytes) -> str | None:
        """Take a manifest as the page does; return the address to which the browser is led back, None for other pages."""
        if not _PAGE.fullmatch(path):
            return None
        manifest = json.loads(parse_qs(raw.decode())["manifest"][0])
        code = uuid.uuid4().hex
        self._codes[code] = manifest
        return f"{manifest['redirect_url']}?{urlencode({'code': code, 'state': query.get('state', '')})}"

    def _convert(self, code: str) -> Answered:
        """Make the App; the code is good once."""
        manifest = self._codes.pop(code, None)
        if manifest is None:
            raise ApiError(404, "Not Found")
        slug = re.sub(r"[^a-z0-9]+", "-", manifest["name"].lower()).strip("-")
        app = self.register(slug, manifest["default_permissions"], manifest)
        shown = {"id": app.id, "slug": app.slug, "name": manifest["name"], "html_url": f"{self._state.web}/apps/{slug}"}
        secrets = {"client_secret": uuid.uuid4().hex, "webhook_secret": app.webhook_secret, "pem": app.key}
        return Answered(201, {**shown, "client_id": f"Iv1.{app.id}", **secrets})
