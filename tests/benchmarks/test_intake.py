"""How much of the limit the webhook endpoint reaches. The limit is a bare ASGI app that checks the HMAC of the same body.

Ratios of interleaved rounds in one run (medians); nothing is asserted about time.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bot import bootstrap, config
from bot.core.secret import Secret
from bot.core.signatures import hmac_sha256
from bot.web.app import create

SECRET = "the secret of the benchmark"
PAYLOADS = Path(__file__).parents[1] / "integrations" / "github" / "payloads"
ROUNDS, REQUESTS = 5, 400

App = Callable[[Any, Any, Any], Awaitable[None]]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    given = dict(scope["headers"])[b"x-hub-signature-256"].decode()
    status = 200 if given == f"sha256={hmac_sha256(Secret(SECRET), body).hex()}" else 401
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def post(app: App, body: bytes, delivery: str, signature: str = "") -> int:
    signature = signature or f"sha256={hmac_sha256(Secret(SECRET), body).hex()}"
    headers = {
        "content-type": "application/json",
        "x-github-event": "issue_comment",
        "x-github-delivery": delivery,
        "x-hub-signature-256": signature,
    }
    answered: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "query_string": b"", "root_path": "",
        "path": "/api/integration/github/events", "raw_path": b"/api/integration/github/events", "client": None,
        "server": ("127.0.0.1", 1), "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    return answered[0]


def a_comment(text: str, number: int) -> bytes:
    payload = json.loads(min(PAYLOADS.glob("issue_comment.created__*.json")).read_text())
    payload["comment"] |= {"id": number, "body": text, "user": {"login": "alice", "id": 7, "type": "User"}}
    payload["sender"] = {"login": "alice", "id": 7, "type": "User"}
    payload["issue"]["body"] = "x" * (14_000 - len(json.dumps(payload)))
    return json.dumps(payload).encode()


async def rate(app: App, bodies: list[bytes], wanted: int, name: str, signature: str = "") -> float:
    begin = time.perf_counter()
    answers = await asyncio.gather(*(post(app, body, f"{name}-{i}", signature) for i, body in enumerate(bodies)))
    assert set(answers) == {wanted}
    return len(bodies) / (time.perf_counter() - begin)


@pytest.mark.timeout(300)
async def test_intake(tmp_path: Path, redis_url: str) -> None:
    settings = config.load(
        {
            "ONHAND_HOME": str(tmp_path),
            "ONHAND_REDIS_URL": redis_url,
            "ONHAND_GITHUB__WEBHOOK_SECRET": SECRET,
            "ONHAND_GITHUB__TOKEN": "a token for the benchmark",
        }
    )
    found: dict[str, list[float]] = {"limit": [], "asks for nothing": [], "forged": [], "accepted, durable": []}
    async with bootstrap.build(settings) as built:
        app: Any = create(built)
        nothing = [a_comment("thank you", 1)] * REQUESTS
        for turn in range(ROUNDS):
            wishes = [a_comment("@onhand fix it", turn * 1000 + i) for i in range(REQUESTS // 4)]
            found["limit"].append(await rate(bare, nothing, 200, "l"))
            found["asks for nothing"].append(await rate(app, nothing, 200, "n"))
            found["forged"].append(await rate(app, nothing, 401, "f", "sha256=" + "0" * 64))
            found["accepted, durable"].append(await rate(app, wishes, 202, f"a{turn}"))
        assert await Redis.from_url(redis_url).zcard("onhand:actions") == ROUNDS * (REQUESTS // 4)
    limit = statistics.median(found["limit"])
    print(f"\nintake, {len(nothing[0])} bytes, no sockets, limit {limit:,.0f}/s")
    for name, rates in found.items():
        middle = statistics.median(rates)
        print(f"  {name:<20} {middle:>9,.0f}/s   {middle / limit:.2f} of the limit")
