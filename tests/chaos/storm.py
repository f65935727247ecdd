"""The storm: people ask and ask again, GitHub delivers late and twice, and processes are killed at random moments."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from bot.testing.github import Delivery
from tests.chaos.ground import PEOPLE, REPOSITORIES, Ground

GAP = (0.3, 2.2)
"""Seconds between two kills, at least and at most."""

_SHARES = {"web": 0.08, "redis": 0.12, "redis, emptied": 0.15, "box": 0.25}
"""What a kill falls on, up to which share of all of them; the others fall on workers."""

_BUSY = ("queued", "running", "waiting")


@dataclass(frozen=True)
class Kill:
    """One that happened: when (Unix seconds), what, and the pid of a worker."""

    at: float
    what: str
    pid: int = 0


@dataclass
class Storm:
    """One storm over one ground."""

    ground: Ground
    seed: int
    kills: int
    conversations: int
    tell: Callable[[str], None]
    happened: list[Kill] = field(default_factory=list)
    asked: int = 0
    redelivered: int = 0
    _threads: list[tuple[str, int]] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def blow(self) -> None:
        """Let it blow until all kills are done, then until everything that was asked has come to an end."""
        await asyncio.gather(*(self._open(number) for number in range(self.conversations)))
        tasks = [asyncio.create_task(work) for work in (self._go_on_asking(), self._redeliver())]
        try:
            await self._kill_all()
            self._over.set()
            await tasks[0]
            await self._calm()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _kill_all(self) -> None:
        chance = Random(self.seed + 3)
        for number, (gap, what) in enumerate(self._plan(), 1):
            await asyncio.sleep(gap)
            if what.startswith("redis"):
                self.happened.append(Kill(time.time(), what))
                await self.ground.kill_redis(empty=what == "redis, emptied")
            elif what == "box":
                self.happened.append(Kill(time.time(), what))
                await self.ground.kill_box(chance.random())
            else:
                at = time.time()
                self.happened.append(Kill(at, what.partition("-")[0], await self.ground.kill(what)))
            if number % max(1, self.kills // 10) == 0:
                counted = Counter(kill.what for kill in self.happened)
                self.tell(f"kill {number}/{self.kills} {dict(counted)}, {self.asked} mentions so far")

    def _plan(self) -> Iterator[tuple[float, str]]:
        """Yield when and what, settled by the seed: workers mostly, sometimes the web process, Redis, or a box."""
        chance = Random(self.seed)
        for _ in range(self.kills):
            gap, kind, which = chance.uniform(*GAP), chance.random(), chance.choice(self.ground.workers)
            yield gap, next((what for what, below in _SHARES.items() if kind < below), which)

    # --- people

    async def _open(self, number: int) -> None:
        place, words = REPOSITORIES[number % len(REPOSITORIES)], f"@onhand write lines for storm {number}"
        self.asked += 1
        title = f"Lines {number}"
        with suppress(httpx.HTTPError):  # GitHub keeps a delivery that nobody took
            await self.ground.github.issue(place, PEOPLE[number % 2], title, words)
        items = self.ground.github.state.repositories[place].items.values()
        self._threads.append((place, next(item.number for item in items if item.title == title)))

    async def _go_on_asking(self) -> None:
        """Ask again wherever nothing is going on, and now and then where something is."""
        chance = Random(self.seed + 1)
        while not self._over.is_set():
            await asyncio.sleep(0.5)
            busy = {record["thread"] for record in await self._records() if record["status"] in _BUSY}
            idle = [thread for thread in self._threads if "github:{}#{}".format(*thread) not in busy]
            if busy and chance.random() < 0.3:
                await self._ask(chance, *chance.choice(self._threads))
            for thread in idle if busy else []:
                await self._ask(chance, *thread)

    async def _ask(self, chance: Random, place: str, number: int) -> None:
        verb = "status" if chance.random() < 0.1 else "write more lines"
        words = f"@onhand {verb} {self.asked}"
        self.asked += 1
        with suppress(httpx.HTTPError):
            await self.ground.github.comment(place, number, chance.choice(PEOPLE), words)

    async def _records(self) -> list[dict[str, Any]]:
        try:
            async with httpx.AsyncClient(base_url=self.ground.url, trust_env=False, timeout=10) as client:
                found: list[dict[str, Any]] = (await client.get("/api/v1/conversations?limit=200")).json()
                return found
        except (httpx.HTTPError, ValueError):
            return []

    # --- GitHub

    async def _redeliver(self) -> None:
        """Send again what was not taken, and now and then what was."""
        chance, seen = Random(self.seed + 2), dict[str, float]()
        while True:
            await asyncio.sleep(0.5)
            for delivery in self._lost(seen):
                await self._send(delivery)
            if chance.random() < 0.5:
                await self._send(chance.choice(self.ground.github.deliveries))

    def _lost(self, seen: dict[str, float]) -> list[Delivery]:
        """The deliveries that have been without a good answer for two seconds."""
        now = time.monotonic()
        bad = [delivery for delivery in self.ground.github.deliveries if not _taken(delivery)]
        return [delivery for delivery in bad if now - seen.setdefault(delivery.id, now) > 2.0]

    async def _send(self, delivery: Delivery) -> None:
        self.redelivered += 1
        with suppress(httpx.HTTPError):
            await self.ground.github.send(delivery)

    async def _calm(self) -> None:
        """Wait until every delivery was taken and nothing is open any more."""
        while True:
            records = await self._records()
            open_still = [record for record in records if record["status"] in _BUSY]
            if len(records) >= self.conversations and not open_still and self._all_taken():
                return
            await asyncio.sleep(0.5)

    def _all_taken(self) -> bool:
        return all(_taken(delivery) for delivery in self.ground.github.deliveries)


def _taken(delivery: Delivery) -> bool:
    return 200 <= delivery.status < 300
