"""Redis as the product sees it: arq jobs that carry ids, a doorbell that wakes a worker, a whisper when a log has grown.

Everything here may be lost at any time; the database knows what is to be done, and the sweep rings again.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError, ResponseError

from bot.core.batches import Batches
from bot.core.errors import ConfigError, Unavailable

log = logging.getLogger(__name__)

RUNS, ACTIONS = "onhand:runs", "onhand:actions"
"""The two queues: runs take minutes, actions (admit and acknowledge, sweep) take moments."""

JOB_LIFE_MS = 86_400_000
_GROWN = "onhand:grown"
_PROBE, _PROBE_MS = "onhand:probe", 10_000
_FALLBACK = 2.0
"""Seconds after which a follower looks for itself, in case a whisper was lost."""

_PATIENCE = 1.4
"""Seconds that a round trip may take. A ring waits for two at most, while a provider waits for its answer (Slack for 3 s);
the sweep rings again."""

HEAD_START_MS = 10**13
"""What is taken off the time at which a job is due once its turn has come: cut off or put off for a moment, it keeps its place
before all that wait for theirs. So a score below 0 is that of a job which has begun."""

_RING = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, job in ipairs(cjson.decode(ARGV[1])) do
    local begun = job[4] or tonumber(redis.call('ZSCORE', KEYS[1], job[1]) or 0) < 0
    redis.call('SET', ARGV[2] .. job[1], job[2], 'PX', ARGV[3], 'NX')
    redis.call('ZADD', KEYS[1], job[3], begun and now - ARGV[4] or now, job[1])
    redis.call('LPUSH', KEYS[2], 1)
end
redis.call('LTRIM', KEYS[2], 0, 999)
"""
"""Queues jobs that are due now, by Redis' clock: ours may be minutes ahead of a worker's. KEYS: the queue, its bell. ARGV: of each
job its id, its body, NX or LT, and whether it has begun, as one JSON list (an argument costs the client more than all else); what
comes before an id in the key of a body; the life of a job in milliseconds; the head start."""

_HURRY = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, ahead in ipairs({tonumber(ARGV[2]), 0}) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now - ahead, ahead > 0 and '(0' or '+inf')) do
        if redis.call('EXISTS', ARGV[1] .. id) == 0 then redis.call('ZADD', KEYS[1], now - ahead, id) end
    end
end
"""
"""Makes every job due that nobody holds; one with a head start keeps it."""

_MOST_TOGETHER = 256
"""Rings and whispers that share a round trip."""

encode_job = msgspec.json.encode
decode_job = msgspec.json.decode


def bell(queue: str) -> str:
    """Return the key of a queue's doorbell, a list on which idle workers wait."""
    return f"{queue}:bell"


def connect(url: str) -> ArqRedis:
    """Return a client for the URL; it connects when it is first used, and again after a loss.

    Raises ConfigError for what is no such URL, without it: it may hold a password.
    """
    try:
        pool = ConnectionPool.from_url(url, socket_connect_timeout=5, health_check_interval=30, max_connections=200)
    except ValueError:
        raise ConfigError(
            "ONHAND_REDIS_URL: expected redis://host:port/number, rediss://... or unix:///path; what is set cannot be read"
        ) from None
    return ArqRedis(connection_pool=pool, job_serializer=encode_job, job_deserializer=decode_job)


@contextlib.asynccontextmanager
async def _within_reach() -> AsyncIterator[None]:
    """Inside, a Redis that is away or says nothing is raised as Unavailable."""
    try:
        async with asyncio.timeout(_PATIENCE):
            yield
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis is out of reach: {str(error) or 'no answer in time'}") from error


class _Ring(NamedTuple):
    queue: str
    job_id: str
    body: str
    unless: str = "NX"
    """What a job that is queued already is left to be: as it is, or with LT due now."""
    begun: bool = False
    """Whether it has begun, which an emptied Redis does not know any more."""

    @classmethod
    def of(cls, queue: str, function: str, job_id: str, *arguments: Any) -> "_Ring":
        body = serialize_job(function, arguments, {}, None, timestamp_ms(), serializer=encode_job)
        return cls(queue, job_id, body.decode())


class RedisBus:
    """The port Bus over one Redis. Its methods raise Unavailable when Redis is out of reach."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis
        self._followers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._latest: dict[str, int] = {}
        self._listening: asyncio.Task[None] | None = None
        self._sent = Batches(self._send_all, _MOST_TOGETHER)

    async def acknowledge(self, conversation_id: str, seq: int) -> None:
        """Queue the admission of a request; queued already is fine."""
        await self._sent.do(_Ring.of(ACTIONS, "acknowledge", f"ack:{conversation_id}:{seq}", conversation_id, seq))

    async def run(self, conversation_id: str, seq: int, *, hurry: bool = False, begun: bool = False) -> None:
        """Queue a run for a request; queued already is fine, and with `hurry` it is due now."""
        ring = _Ring.of(RUNS, "run_conversation", f"run:{conversation_id}:{seq}", conversation_id)
        await self._sent.do(ring._replace(unless="LT" if hurry else "NX", begun=begun))

    async def _send_all(self, items: Sequence[_Ring | Mapping[str, int]]) -> Sequence[None]:
        """Queue jobs as arq's enqueue_job does, wake a worker for each, and whisper how far logs have grown, in one round trip."""
        rings = [item for item in items if isinstance(item, _Ring)]
        async with _within_reach(), self.redis.pipeline(transaction=False) as pipe:
            for queue in {ring.queue for ring in rings}:
                jobs = msgspec.json.encode([ring[1:] for ring in rings if ring.queue == queue])
                life, ahead = str(JOB_LIFE_MS), str(HEAD_START_MS)
                pipe.eval(_RING, 2, queue, bell(queue), jobs, job_key_prefix, life, ahead)  # type: ignore[arg-type]
            for latest in (item for item in items if not isinstance(item, _Ring)):
                pipe.publish(_GROWN, msgspec.json.encode(latest))
            await pipe.execute()
        return [None] * len(items)

    async def hurry(self) -> None:
        """Make every job due that waits for a better time. A worker that starts may be what they wait for: with a new token."""
        async with _within_reach():
            for queue in (RUNS, ACTIONS):
                await self.redis.eval(_HURRY, 1, queue, in_progress_key_prefix, str(HEAD_START_MS))  # type: ignore[misc]

    async def check(self) -> None:
        """Write something that Redis forgets in a moment: one that answers may take no writes. Raises Unavailable, and why."""
        async with _within_reach():
            try:
                await self.redis.set(_PROBE, 1, px=_PROBE_MS)
            except ResponseError as error:  # its memory or disk is full, it is a replica, we may not
                raise Unavailable(f"Redis answers, but takes no writes: {error}") from error

    async def lengths(self) -> dict[str, int]:
        """Return how many jobs each queue holds, those being worked on among them. Raises Unavailable."""
        async with _within_reach():
            return {queue.removeprefix("onhand:"): await self.redis.zcard(queue) for queue in (RUNS, ACTIONS)}

    async def grown(self, latest: Mapping[str, int]) -> None:
        """Whisper to every process that follows one of the conversations."""
        await self._sent.do(latest)

    async def follow(self, conversation_id: str) -> AsyncIterator[int]:
        """Yield the last seq heard whenever the log has grown, and every few seconds in any case."""
        heard = asyncio.Event()
        self._followers[conversation_id].add(heard)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            while True:
                yield self._latest.get(conversation_id, 0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FALLBACK):  # wait_for of Python 3.11 can swallow a cancellation
                        await heard.wait()
                heard.clear()
        finally:
            self._followers[conversation_id].discard(heard)
            if not self._followers[conversation_id]:
                del self._followers[conversation_id]
                self._latest.pop(conversation_id, None)

    async def _listen(self) -> None:
        """One subscription for the whole process, made again whenever it breaks."""
        while True:
            try:
                async with self.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(_GROWN)
                    async for message in pubsub.listen():
                        for conversation_id, seq in msgspec.json.decode(message["data"]).items():
                            self._hear(conversation_id, seq)
            except (RedisError, OSError) as error:
                log.warning("cannot hear of new events, looking every %.0f s instead: %s", _FALLBACK, error)
                await asyncio.sleep(_FALLBACK)

    def _hear(self, conversation_id: str, seq: int) -> None:
        if followers := self._followers.get(conversation_id):
            self._latest[conversation_id] = seq
            for heard in followers:
                heard.set()

    async def close(self) -> None:
        """Let go of Redis."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.redis.aclose()
