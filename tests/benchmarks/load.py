"""Signed deliveries of 14 KB over kept connections, as fast as they are answered.

A program: python load.py PORT SECRET KIND COUNT FIRST, KIND one of nothing, forged, wish; FIRST is the number of the
first delivery, the numbers after it follow. It prints deliveries per second and how often each status came, as JSON.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

CONNECTIONS = 64
PAYLOAD = Path(__file__).parents[1] / "integrations/github/payloads/issue_comment.created__no_mention.json"
ALICE = {"login": "alice", "id": 7, "type": "User"}


def body(kind: str, number: int) -> bytes:
    """A comment; each wish stands in an issue of a hundred. As in GitHub's own, most of 14 KB is addresses in the repository."""
    payload: dict[str, Any] = json.loads(PAYLOAD.read_text())
    text = "@onhand fix it" if kind == "wish" else "thank you"
    payload["comment"] |= {"id": number, "body": text, "user": ALICE}
    payload["sender"] = ALICE
    payload["issue"] |= {"number": number % 100 + 1, "body": "It goes on. " * 80}
    url = "https://api.github.example/repos/octo-maintainer/Hello-World/{part}{/number}"
    missing = (14_000 - len(json.dumps(payload))) // (len(url) + 20)
    payload["repository"] |= {f"address_{index:02d}_url": url for index in range(missing)}
    return json.dumps(payload).encode()


def request(kind: str, number: int, secret: str) -> bytes:
    data = body(kind, number)
    signature = "0" * 64 if kind == "forged" else hmac.digest(secret.encode(), data, hashlib.sha256).hex()
    head = (
        f"POST /api/integration/github/events HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nUser-Agent: GitHub-Hookshot/044aadd\r\n"
        f"X-GitHub-Event: issue_comment\r\nX-GitHub-Delivery: {kind}-{number}\r\nX-GitHub-Hook-ID: 1\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\n\r\n"
    )
    return head.encode() + data


class Connection(asyncio.Protocol):
    """Sends the next request when the last one was answered."""

    def __init__(self, requests: Iterator[bytes], statuses: Counter[str], done: asyncio.Event) -> None:
        self._requests, self._statuses, self._done = requests, statuses, done
        self._answer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def next(self) -> None:
        if data := next(self._requests, None):
            self._transport.write(data)
        else:
            self._done.set()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if end and len(rest) >= int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            self._statuses[head[9:12].decode()] += 1
            self._answer = b""
            self.next()

    def connection_lost(self, error: Exception | None) -> None:
        self._statuses["lost"] += 1
        self._done.set()


async def load(port: int, requests: list[bytes]) -> dict[str, Any]:
    queue, statuses, loop = iter(requests), Counter[str](), asyncio.get_running_loop()
    ends = [asyncio.Event() for _ in range(CONNECTIONS)]
    made = [
        await loop.create_connection(lambda end=end: Connection(queue, statuses, end), "127.0.0.1", port)  # type: ignore[misc]
        for end in ends
    ]
    begin = time.perf_counter()
    for _, connection in made:
        connection.next()
    for end in ends:
        await end.wait()
    rate = len(requests) / (time.perf_counter() - begin)
    found = dict(statuses)
    for transport, _ in made:
        transport.abort()
    return {"rate": rate, "statuses": found}


if __name__ == "__main__":
    port, secret, kind, count, first = sys.argv[1:]
    if kind == "wish":
        made = [request(kind, int(first) + n, secret) for n in range(int(count))]
    else:
        made = [request(kind, int(first), secret)] * int(count)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(load(int(port), made))))
