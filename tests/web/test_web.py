"""The web process, on a real database and Redis, spoken to over HTTP."""

import asyncio
import json
import sqlite3
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
import uvicorn

from bot import bootstrap, config
from bot.auth import tickets
from bot.auth.multi_user import as_subject
from bot.bus import connect
from bot.commands.service import free_port
from bot.core.conversation import conversation_id
from bot.core.errors import Unavailable
from bot.core.events import Draft, Message
from bot.core.inbound import Account, Thread
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from bot.web import webhooks
from bot.web.app import create
from bot.web.metrics import Metrics

SECRET = "the webhook secret"
PAYLOADS = Path(__file__).parents[1] / "integrations" / "github" / "payloads"
CONVERSATION = conversation_id(Thread("github", "acme/app", "1"))


def mention(text: str = "@onhand fix it", comment: int = 5) -> dict[str, Any]:
    person = {"login": "alice", "id": 7, "type": "User"}
    when = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    return {
        "action": "created",
        "issue": {
            "number": 1,
            "id": 11,
            "title": "Login",
            "body": "x",
            "html_url": "http://x/1",
            "user": person,
            **when,
        },
        "comment": {"id": comment, "body": text, "user": person, "html_url": "http://x/c", **when},
        "repository": {"id": 1, "full_name": "acme/app", "html_url": "http://x", "default_branch": "main"},
        "sender": person,
    }


class Service:
    """A running web process and a signed way into it."""

    def __init__(self, url: str, built: bootstrap.Built) -> None:
        self.url, self.built = url, built
        self.client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=10)

    async def deliver(
        self, body: bytes, event: str = "issue_comment", delivery: str = "d-1", **headers: str
    ) -> httpx.Response:
        signed = {**self.signed(body, event, delivery), **headers}
        return await self.client.post("/api/integration/github/events", content=body, headers=signed)

    @staticmethod
    def signed(body: bytes, event: str = "issue_comment", delivery: str = "d-1") -> dict[str, str]:
        return {
            "x-github-event": event,
            "x-github-delivery": delivery,
            "x-hub-signature-256": f"sha256={hmac_sha256(Secret(SECRET), body).hex()}",
            "content-type": "application/json",
        }

    async def mention(self, **more: Any) -> httpx.Response:
        return await self.deliver(json.dumps(mention()).encode(), **more)


@pytest.fixture
async def service(
    database_url: str, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Service]:
    environment = {
        "ONHAND_HOME": str(tmp_path / "home"),
        "ONHAND_DATABASE_URL": database_url,
        "ONHAND_REDIS_URL": redis_url,
        "ONHAND_GITHUB__WEBHOOK_SECRET": SECRET,
        "ONHAND_GITHUB__TOKEN": "a token for the tests",
        **getattr(request, "param", {}),
    }
    settings = config.load(environment)
    port = free_port("127.0.0.1")
    async with bootstrap.build(settings) as built:
        server = uvicorn.Server(uvicorn.Config(create(built), port=port, log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        running = Service(f"http://127.0.0.1:{port}", built)
        yield running
        await running.client.aclose()
        server.should_exit = True
        await serving


async def test_a_mention_is_stored_before_it_is_answered(service: Service) -> None:
    answer = await service.mention()
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "conversation_ids": [CONVERSATION]})
    assert len(await service.built.services.log.read(CONVERSATION)) == 1
    assert await service.built.bus.redis.zcard("onhand:actions") == 1


async def test_a_job_carries_ids_and_nothing_else(service: Service) -> None:
    await service.mention()
    [key] = [k async for k in service.built.bus.redis.scan_iter("arq:job:*")]
    body = await service.built.bus.redis.get(key)
    assert b"fix it" not in body
    assert b"alice" not in body
    assert CONVERSATION.encode() in body


async def test_five_equal_deliveries_at_once_are_one_request(service: Service) -> None:
    answers = await asyncio.gather(*(service.mention() for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [200, 200, 200, 200, 202]
    assert len(await service.built.services.log.read(CONVERSATION)) == 1


async def test_the_same_comment_through_two_hooks_is_one_request(service: Service) -> None:
    answers = [await service.mention(delivery=name) for name in ("d-1", "d-2")]
    assert [a.json()["status"] for a in answers] == ["accepted", "duplicate"]


async def test_what_asks_for_nothing_touches_neither_database_nor_redis(service: Service, redis_url: str) -> None:
    for index, (event, body) in enumerate([("push", {"ref": "refs/heads/main"}), ("ping", {}), ("a_new_event", {})]):
        answer = await service.deliver(json.dumps(body).encode(), event, f"d-{index}")
        assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    answer = await service.deliver(json.dumps(mention("nothing for you")).encode(), delivery="d-9")
    assert answer.json()["status"] == "ignored"
    assert await service.built.services.conversations.list() == []
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
    assert 'event="push"' in (await service.client.get("/metrics")).text


@pytest.mark.parametrize(
    "headers",
    [
        {"x-hub-signature-256": "sha256=" + "0" * 64},
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": "sha256=\xe9"},
        {"x-hub-signature-256": "", "x-hub-signature": "sha1=" + "0" * 40},
    ],
)
async def test_a_wrong_signature_is_401_and_leaves_nothing(service: Service, headers: dict[str, str]) -> None:
    body = json.dumps(mention()).encode()
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = await service.deliver(body, **raw)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]) == (401, "signature")
    assert await service.built.services.conversations.list() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"action": "created"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"[]",
        b"null",
        b"1e999999",
        b'"text"',
        json.dumps({**mention(), "comment": 7}).encode(),
        json.dumps({**mention(), "issue": {"number": 10**30}}).encode(),
        json.dumps(mention("@onhand \x00 fix \ud800 it")).encode(),
    ],
)
async def test_signed_rubbish_is_never_a_500(service: Service, body: bytes) -> None:
    answer = await service.deliver(body)
    assert answer.status_code in (200, 202, 400)
    assert answer.json()


async def test_a_body_that_is_too_large_is_413(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(27):
            yield b" " * 1024 * 1024

    streamed = await service.client.post("/api/integration/github/events", content=chunks())
    assert (streamed.status_code, streamed.json()["error"]) == (413, "too_large")


async def test_half_sent_bodies_have_only_so_much_room(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "ROOM", 300_000)
    head = b"POST /api/integration/github/events HTTP/1.1\r\nhost: x\r\ncontent-length: 999999\r\n\r\n"
    port, answers = int(service.url.rpartition(":")[2]), []
    async with asyncio.timeout(10):
        lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for reader, writer in lines:
            writer.write(head + b" " * 150_000)
            answers.append(asyncio.create_task(reader.readline()))
        done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    assert b" 503 " in done.pop().result()
    for _, writer in lines:
        writer.close()
    await asyncio.gather(*answers, return_exceptions=True)
    assert (await service.mention()).status_code == 202, "there is room again"


async def test_what_was_sent_is_not_held_while_it_waits_for_the_database(service: Service) -> None:
    size, waiting, go = 2_000_000, asyncio.Semaphore(0), asyncio.Event()

    class Slow:
        async def accept(self, _: Any) -> None:
            waiting.release()
            await go.wait()
            raise Unavailable("it was too slow")

    app = webhooks.Webhooks(replace(service.built.services, inbox=Slow()), Metrics())  # type: ignore[arg-type]
    statuses: list[int] = []

    async def post(number: int) -> None:
        sent = [json.dumps(mention() | {"a_field_of_theirs": "a" * size}).encode()]
        signed = service.signed(sent[0], delivery=f"d-{number}")
        headers = [(name.encode(), value.encode()) for name, value in signed.items()]

        async def receive() -> Any:
            return {"type": "http.request", "body": sent.pop(), "more_body": False}

        async def send(message: Any) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        scope: Any = {"path": "/api/integration/github/events", "method": "POST", "headers": headers}
        await app(scope, receive, send)

    tracemalloc.start()
    try:
        posts = [asyncio.create_task(post(number)) for number in range(5)]
        for _ in posts:
            await waiting.acquire()
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()
        go.set()
    await asyncio.gather(*posts)
    assert statuses == [503] * 5


async def test_a_page_says_so_when_the_database_is_away(service: Service) -> None:
    class Away:
        async def list(self, *_: Any) -> None:
            raise Unavailable("no route to it")

    away = replace(service.built, services=replace(service.built.services, conversations=Away()))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(create(away))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=service.url) as client:
        answer = await client.get("/api/v1/conversations")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("POST", "/api/integration/slack/events", 404, "no_endpoint"),
        ("POST", "/api/integration/nobody/events", 404, "no_endpoint"),
        ("POST", "/api/integration/github", 404, "not_found"),
        ("GET", "/api/integration/github/events", 405, "method"),
    ],
)
async def test_other_doors_are_closed(service: Service, method: str, path: str, status: int, error: str) -> None:
    answer = await service.client.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Hold the lock that a delivery's transaction needs."""
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(database_url) as blocker:
            blocker.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
            yield


async def test_a_database_that_is_locked_is_503_and_the_retry_is_taken(service: Service, database_url: str) -> None:
    with locked(database_url):
        refused = await service.mention()
    assert (refused.status_code, refused.json()["error"]) == (503, "unavailable")
    assert refused.headers["retry-after"] == "5"
    assert (await service.mention()).status_code == 202


async def test_a_redis_that_is_away_loses_nothing(service: Service) -> None:
    there = service.built.bus.redis
    service.built.bus.redis = connect("unix:///nowhere/redis.sock")
    answer = await service.mention()
    service.built.bus.redis = there
    assert answer.status_code == 202
    assert await service.built.services.inbox.unanswered(0) == [(CONVERSATION, 1, "asked")]
    again = await service.mention()
    assert again.json()["status"] == "duplicate"
    assert await there.zcard("onhand:actions") == 1, "the redelivery finished the half-done one"


async def test_events_come_as_pages_and_as_a_stream(service: Service) -> None:
    await service.mention()
    path = f"/api/v1/conversations/{CONVERSATION}/events"
    page = (await service.client.get(path)).json()
    assert [event["action"] for event in page["events"]] == ["asked"]
    log = service.built.services.log
    await log.append(CONVERSATION, [Draft(Message(content="one")), Draft(Message(content="two"))], expected=1)
    seen: list[dict[str, Any]] = []
    headers = {"accept": "text/event-stream", "last-event-id": "2"}
    async with asyncio.timeout(10), service.client.stream("GET", path, headers=headers) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
                if len(seen) == 1:
                    await log.append(CONVERSATION, [Draft(Message(content="live"))], expected=3)
            if len(seen) == 2:
                break
    assert [event["args"]["content"] for event in seen] == ["two", "live"]
    assert (await service.client.get(path, params={"after": 2, "limit": 1})).json()["next"] == 3


async def test_a_conversation_is_listed_and_shown(service: Service) -> None:
    await service.mention()
    [record] = (await service.client.get("/api/v1/conversations")).json()
    assert (record["thread"], record["status"]) == ("github:acme/app#1", "queued")
    view = (await service.client.get(f"/api/v1/conversations/{CONVERSATION}")).json()
    assert view["open_requests"] == 1
    assert (await service.client.get("/api/v1/conversations/nobody")).status_code == 404
    assert (await service.client.get("/api/v1/conversations?limit=9999")).status_code == 400


async def test_health_readiness_and_the_api_description(service: Service) -> None:
    assert (await service.client.get("/health")).json() == {"status": "ok"}
    assert (await service.client.get("/ready")).json() == {"database": "ok", "redis": "ok"}
    paths = (await service.client.get("/schema")).json()["paths"]
    assert "/api/v1/conversations/{conversation_id}/events" in paths


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_a_probe_may_ask_for_the_head_alone(service: Service, path: str) -> None:
    got, head = await service.client.get(path), await service.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_readiness_says_when_to_ask_again(service: Service, method: str) -> None:
    class Away(bootstrap.Built):
        async def check(self) -> dict[str, str]:
            return {"database": "away", "redis": "ok"}

    away = Away(**vars(service.built))
    transport = httpx.ASGITransport(create(away))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=service.url) as client:
        answer = await client.request(method, "/ready")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("service", [{"ONHAND_AUTH__STRATEGY": "single_user"}], indirect=True)
async def test_the_rest_api_asks_for_a_token(service: Service) -> None:
    assert (await service.client.get("/api/v1/conversations")).status_code == 401
    token = tickets.issue(service.built.key, "api", "owner", time.time() + 60)
    headers = {"authorization": f"Bearer {token}"}
    assert (await service.client.get("/api/v1/conversations", headers=headers)).status_code == 200


async def test_a_connect_link_says_what_to_do_and_a_forged_one_does_not(service: Service) -> None:
    ticket = tickets.issue(
        service.built.key, "connect", as_subject(Account("github", "7", "<b>alice")), time.time() + 60
    )
    good = await service.client.get("/api/auth/connect", params={"ticket": ticket})
    assert "onhand users link &#x27;github:&lt;b&gt;alice&#x27; --id 7" in good.text
    assert (await service.client.get("/api/auth/connect", params={"ticket": "x" + ticket})).status_code == 400
