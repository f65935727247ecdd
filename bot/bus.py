"""Redis as the product sees it: arq jobs that carry ids, a doorbell that wakes a worker, a whisper when a log has grown.

Everything here may be lost at any time; the database knows what is to be done, and the sweep rings again.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from bot.core.errors import Unavailable

log = logging.getLogger(__name__)

RUNS, ACTIONS = "onhand:runs", "onhand:actions"
"""The two queues: runs take minutes, actions (admit and acknowledge, sweep) take moments."""

_JOB_LIFE_MS = 86_400_000
_GROWN = "onhand:grown:"
_FALLBACK = 2.0
"""Seconds after which a follower looks for itself, in case a whisper was lost."""

_PATIENCE = 2.0
"""Seconds that a ring may take: a provider is waiting for its answer, and the sweep rings again."""

encode_job = msgspec.msgpack.encode
decode_job = msgspec.msgpack.decode


def bell(queue: str) -> str:
    """Return the key of a queue's doorbell, a list on which idle workers wait."""
    return f"{queue}:bell"


def connect(url: str) -> ArqRedis:
    """Return a client for the URL; it connects when it is first used, and again after a loss."""
    pool = ConnectionPool.from_url(url, socket_connect_timeout=5, health_check_interval=30, max_connections=200)
    return ArqRedis(connection_pool=pool, job_serializer=encode_job, job_deserializer=decode_job)


class RedisBus:
    """The port Bus over one Redis. Its methods raise Unavailable when Redis is out of reach."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis
        self._followers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._latest: dict[str, int] = {}
        self._listening: asyncio.Task[None] | None = None

    async def acknowledge(self, conversation_id: str, seq: int) -> None:
        """Queue the admission of a request; queued already is fine."""
        await self._ring(ACTIONS, "acknowledge", f"ack:{conversation_id}:{seq}", conversation_id, seq)

    async def run(self, conversation_id: str, seq: int, *, hurry: bool = False) -> None:
        """Queue a run for a request; queued already is fine, and with `hurry` it is due now."""
        await self._ring(RUNS, "run_conversation", f"run:{conversation_id}:{seq}", conversation_id, hurry=hurry)

    async def _ring(self, queue: str, function: str, job_id: str, *arguments: Any, hurry: bool = False) -> None:
        """Queue a job as arq's enqueue_job does, and wake one worker, in one round trip."""
        now = timestamp_ms()
        body = serialize_job(function, arguments, {}, None, now, serializer=encode_job)
        try:
            async with asyncio.timeout(_PATIENCE), self.redis.pipeline(transaction=True) as pipe:
                pipe.set(job_key_prefix + job_id, body, px=_JOB_LIFE_MS, nx=True)
                pipe.zadd(queue, {job_id: now}, nx=not hurry, lt=hurry)
                pipe.lpush(bell(queue), 1)
                pipe.ltrim(bell(queue), 0, 999)
                await pipe.execute()
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis is out of reach: {error}") from error

    async def lengths(self) -> dict[str, int]:
        """Return how many jobs each queue holds, those being worked on among them. Raises Unavailable."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return {queue.removeprefix("onhand:"): await self.redis.zcard(queue) for queue in (RUNS, ACTIONS)}
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis is out of reach: {error}") from error

    async def grown(self, conversation_id: str, seq: int) -> None:
        """Whisper to every process that follows the conversation."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.redis.publish(_GROWN + conversation_id, seq)
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis is out of reach: {error}") from error

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
                    await pubsub.psubscribe(_GROWN + "*")
                    async for message in pubsub.listen():
                        self._hear(message["channel"].decode().removeprefix(_GROWN), int(message["data"]))
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
