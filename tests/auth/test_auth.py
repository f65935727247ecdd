"""Strategies and tickets."""

import pytest

from bot.auth import api_token, tickets
from bot.auth.multi_user import CONNECT, LINK_SECONDS, MultiUser, as_subject, from_subject
from bot.auth.none import LOCAL, NoAuth
from bot.auth.single_user import SingleUser
from bot.core.errors import Refused
from bot.core.inbound import Account
from bot.core.ports import AuthContext, User
from bot.core.secret import Secret

KEY = Secret("a key for the tests")
ALICE, BOB = Account("github", "1", "alice"), Account("github", "2", "bob")


class KnowsAlice:
    async def user_of(self, account: Account) -> User | None:
        return User("alice", "alice") if account.id == "1" else None


def context(login: str = "") -> AuthContext:
    return AuthContext(KnowsAlice(), KEY, "http://here", login)  # type: ignore[arg-type]


def test_a_ticket_gives_its_subject_back() -> None:
    assert tickets.redeem(KEY, "api", tickets.issue(KEY, "api", "alice", 100.0), 99.0) == "alice"


@pytest.mark.parametrize(
    ("purpose", "key", "now", "spoil"),
    [
        ("connect", KEY, 99.0, ""),
        ("api", Secret("another key entirely"), 99.0, ""),
        ("api", KEY, 101.0, ""),
        ("api", KEY, 99.0, "x"),
        ("api", KEY, 99.0, "é"),
    ],
)
def test_a_ticket_is_refused(purpose: str, key: Secret, now: float, spoil: str) -> None:
    ticket = tickets.issue(KEY, "api", "alice", 100.0)
    with pytest.raises(Refused):
        tickets.redeem(key, purpose, spoil + ticket, now)


@pytest.mark.parametrize("rubbish", ["", ".", "a.b", "..", "\udcff.x", "e30.e30"])
def test_rubbish_is_refused_as_a_ticket(rubbish: str) -> None:
    with pytest.raises(Refused):
        tickets.redeem(KEY, "api", rubbish, 0.0)


async def test_none_takes_everybody_for_the_local_user() -> None:
    auth = NoAuth(context())
    assert await auth.user_of(BOB) == LOCAL


@pytest.mark.parametrize(
    ("public_url", "host", "allowed"),
    [
        ("http://127.0.0.1:3000", "127.0.0.1:3000", True),
        ("http://localhost:3000", "[::1]:3000", True),
        ("http://127.0.0.1:3000", "rebound.example", False),
        ("http://127.0.0.1:3000", "", False),
        ("https://onhand.example.com", "127.0.0.1:3000", False),
    ],
)
async def test_none_opens_the_rest_api_to_this_machine_alone(public_url: str, host: str, allowed: bool) -> None:
    auth = NoAuth(AuthContext(KnowsAlice(), KEY, public_url))  # type: ignore[arg-type]
    assert bool(await auth.user_of_request({"host": host}, 0.0)) == allowed


async def test_single_user_may_be_restricted_to_one_account() -> None:
    assert await SingleUser(context("github:Alice")).user_of(ALICE)
    assert await SingleUser(context("github:Alice")).user_of(BOB) is None
    assert await SingleUser(context()).user_of(BOB)


async def test_the_rest_api_wants_a_token() -> None:
    auth = SingleUser(context())
    token = tickets.issue(KEY, api_token.PURPOSE, "owner", 100.0)
    assert await auth.user_of_request({"authorization": f"Bearer {token}"}, 1.0)
    assert await auth.user_of_request({"authorization": f"Bearer {token}"}, 101.0) is None
    assert await auth.user_of_request({"authorization": "Basic x"}, 1.0) is None
    assert await auth.user_of_request({}, 1.0) is None


async def test_multi_user_gives_a_stranger_a_link_that_expires() -> None:
    auth = MultiUser(context())
    assert await auth.user_of(ALICE) == User("alice", "alice")
    assert await auth.user_of(BOB) is None
    link = auth.connect_url(BOB, 1000.0)
    ticket = link.removeprefix("http://here/api/auth/connect?ticket=")
    assert from_subject(tickets.redeem(KEY, CONNECT, ticket, 1000.0 + LINK_SECONDS - 1)) == BOB
    with pytest.raises(Refused):
        tickets.redeem(KEY, CONNECT, ticket, 1000.0 + LINK_SECONDS + 1)


@pytest.mark.parametrize(
    "account", [Account("slack", "T1:U2", "U2"), Account("jira", "557058:f5-8", "Ann: (557058:f5-8)")]
)
def test_an_account_with_colons_is_the_same_after_its_link(account: Account) -> None:
    assert from_subject(as_subject(account)) == account


def test_a_link_of_an_older_make_is_refused() -> None:
    with pytest.raises(Refused):
        from_subject("github:2:bob")
