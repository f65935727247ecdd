"""What GitHub and its people send in the soak: much that asks for nothing, some forged, some twice, few that start a run."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import httpx

from bot.core.secret import Secret
from bot.testing.github import Delivery, signed_headers
from tests.benchmarks.load import body
from tests.chaos.ground import REPOSITORIES, Ground
from tests.journeys.steps import CANARIES

AT_ONCE = 16
_TRIES = 3

SHARES = {"asks for nothing": 0.68, "forged": 0.10, "a duplicate": 0.22}
"""What the deliveries beside the accepted ones are."""

_NOTHING = body("nothing", 1)
_EXPECTED = {"asks for nothing": 200, "forged": 401, "a duplicate": 200}


@dataclass
class Load:
    """Sends batches to a ground, and counts what came of them."""

    ground: Ground
    seed: int
    answered: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    again: int = 0
    """How often a connection broke, and the delivery was sent again, as a provider does."""
    runs: int = 0
    _accepted: list[Delivery] = field(default_factory=list)

    async def batch(self, deliveries: int, runs: int) -> None:
        """Send this many deliveries, of which `runs` start one; return when those runs have ended."""
        chance = Random(self.seed + self.runs)
        for _ in range(runs):
            await self._ask()
        kinds = chance.choices(list(SHARES), list(SHARES.values()), k=deliveries - runs)
        turns = asyncio.Semaphore(AT_ONCE)
        url = f"{self.ground.url}/api/integration/github/events"
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
            await asyncio.gather(*(self._send(client, turns, url, kind, chance) for kind in kinds))
            await self._until_ended(client)

    async def _ask(self) -> None:
        """Open an issue that asks for work."""
        self.runs += 1
        place = REPOSITORIES[self.runs % len(REPOSITORIES)]
        title = f"Soak {self.runs}"
        await self.ground.github.issue(place, "alice", title, "@onhand write a line")
        self._accepted = [
            *self._accepted[-50:],
            next(d for d in reversed(self.ground.github.deliveries) if title.encode() in d.body),
        ]
        self.answered["accepted"] += 1

    async def _send(
        self, client: httpx.AsyncClient, turns: asyncio.Semaphore, url: str, kind: str, chance: Random
    ) -> None:
        async with turns:
            content, headers = self._signed(kind, chance)
            status = await self._post(client, url, content, headers)
        self.answered[kind] += 1
        if status != _EXPECTED[kind]:
            self.wrong[f"{kind}: {status}"] += 1

    async def _post(self, client: httpx.AsyncClient, url: str, content: bytes, headers: Mapping[str, str]) -> int:
        for _ in range(_TRIES):
            try:
                return (await client.post(url, content=content, headers=dict(headers))).status_code
            except httpx.TransportError:  # the server ends idle connections, sometimes just as one is used again
                self.again += 1
        raise ConnectionError(f"no answer in {_TRIES} tries")

    def _signed(self, kind: str, chance: Random) -> tuple[bytes, Mapping[str, str]]:
        right = Secret(CANARIES["webhook"])
        if kind == "a duplicate":
            known = chance.choice(self._accepted)
            return known.body, signed_headers(known, right)
        delivery = Delivery(str(uuid.uuid4()), "issue_comment", "created", _NOTHING)
        return _NOTHING, signed_headers(delivery, right if kind != "forged" else Secret("another secret"))

    async def _until_ended(self, client: httpx.AsyncClient) -> None:
        """Wait until every conversation of the latest hundred is at rest."""
        async with asyncio.timeout(300):
            while True:
                records = (await client.get(f"{self.ground.url}/api/v1/conversations?limit=100")).json()
                if all(record["status"] not in ("queued", "running", "waiting") for record in records):
                    return
                await asyncio.sleep(0.1)
