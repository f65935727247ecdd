"""arq's worker, with six things changed.

It is woken by a doorbell instead of polling. A running job is held by a claim of a few seconds that is renewed, so that a
killed worker's job comes back in seconds rather than after the job's timeout. A held job is moved out of sight in the queue:
arq reads only the oldest ids that are due, so hundreds of running ones would hide a new one. A job that was cut off goes on
before all that wait for their first turn, however many those are. When a job is due, and which turn of a cron job comes next, is
told by Redis' clock alone, because those of two machines may differ by minutes, and any may be set. And no garbage in Redis ends
it.
"""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.cron import CronJob
from arq.jobs import serialize_job
from arq.utils import timestamp_ms, to_unix_ms
from arq.worker import Worker
from redis.exceptions import RedisError

from bot.bus import HEAD_START_MS, JOB_LIFE_MS, bell, decode_job, encode_job

log = logging.getLogger(__name__)

CLAIM_SECONDS = 3.0
_RENEW_EVERY = 1.0
_LOOK_EVERY = 5
"""Seconds between two looks at the queue, at most, when nobody rings and nothing that was seen there becomes due."""
_PATIENCE = 5.0
"""Seconds after which a Redis that says nothing is taken to be out of reach."""
_PAUSE = 1.0
"""Seconds to wait for a Redis that is out of reach."""
_SOON = 0.01
"""Seconds to wait where there is nothing to wait for; 0 would be for ever, and Redis rounds a thousandth to it."""
_LETTING_GO = (3.0, 1.0)
"""Seconds that jobs have to end when they are told to, and again when they are told once more."""

_HEAD_STARTS = 5
"""How often a job can have begun and still go before the line: what ends its worker each time must not keep all others waiting."""

_KEPT = (job_key_prefix, retry_key_prefix, in_progress_key_prefix)
"""What comes before the id of a job in the keys that hold what it is, how often it was tried and that it is held."""
_OF_ANOTHER_KIND = "WRONGTYPE"
"""What Redis says when a key holds a list where, say, a string is expected."""

_TAKE = """
local time = redis.call('TIME')
local now, room, taken = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[1]), {}
local due, head, i = now + ARGV[4], tonumber(ARGV[5]), 1
local first = redis.call('ZRANGE', KEYS[1], 0, room - 1, 'WITHSCORES')
while first[i] do
    local id, at, claim, begun = first[i], tonumber(first[i + 1]), ARGV[2] .. first[i], false
    if at < 0 then
        at, begun = at + head, true
    end
    i = i + 2
    if at > now then
        due = math.min(due, at)
        first, i = begun and redis.call('ZRANGEBYSCORE', KEYS[1], 0, '+inf', 'WITHSCORES', 'LIMIT', 0, room - #taken) or {}, 1
    else
        local held = redis.call('PTTL', claim)
        if held == -1 then
            redis.call('PEXPIRE', claim, ARGV[3])
            held = ARGV[3]
        end
        if held ~= -2 then
            redis.call('ZADD', KEYS[1], now + math.max(held, 1) - head, id)
            due = now
        elseif begun and (tonumber(redis.pcall('GET', ARGV[6] .. id)) or 0) >= tonumber(ARGV[7]) then
            redis.call('ZADD', KEYS[1], now, id)
            due = now
        else
            redis.call('SET', claim, '1', 'PX', ARGV[3])
            redis.call('ZADD', KEYS[1], now + ARGV[3] - head, id)
            table.insert(taken, id)
        end
    end
end
return {now, due - now, taken}
"""
"""Claims jobs that are due, at most as many as there is room for, first those with a head start, and moves what is held out of
sight: then the next look is at once, because what was moved may be due in a moment, and what it hid is now. A claim without an
end, which none of ours is, gets one. What was begun too often loses its head start, and stands at the end of the line. The line
is read by itself only where held jobs stand before it: an idle worker looks often.

Returns Redis' time in milliseconds, the milliseconds until the next look, and the ids of what was taken.
"""


_TURNS = "onhand:turns"
"""The key of a hash: of each cron job the last turn that some worker has queued, in milliseconds by Redis' clock."""
_AHEAD = timedelta(seconds=2 * _LOOK_EVERY)
"""How long before its time a turn is queued: every worker looks at the queue in between, and knows when to wake up."""

_TURN = """
local time = redis.call('TIME')
local last_that_counts = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for _, turn in ipairs(cjson.decode(ARGV[3])) do
    local name, at, id, body = unpack(turn)
    local last = tonumber(redis.call('HGET', KEYS[2], name)) or 0
    if last > last_that_counts then
        last = 0
        redis.call('HDEL', KEYS[2], name)
    end
    if last < at and at <= last_that_counts then
        redis.call('HSET', KEYS[2], name, string.format('%.0f', at))
        redis.call('SET', ARGV[2] .. id, body, 'PX', ARGV[4])
        redis.call('ZADD', KEYS[1], at, id)
    end
end
"""
"""Queues turns that are near and that no worker has queued yet. One that was noted before Redis' clock was set back is forgotten:
it lies in the future. KEYS: the queue, the turns. ARGV: how near, in milliseconds; what comes before an id in the key of a body; of
each turn the cron job's name, its time, its job's id and body, as one JSON list; the life of a job in milliseconds."""


class BellWorker(Worker):
    """Runs the jobs of one queue, at most `max_jobs` at a time."""

    def __init__(self, queue: str, redis: ArqRedis, functions: list[Any], max_jobs: int, **options: Any) -> None:
        super().__init__(
            functions,
            queue_name=queue,
            redis_pool=redis,
            max_jobs=max_jobs,
            handle_signals=False,
            keep_result=0,
            max_tries=2**31,
            job_timeout=86_400,
            poll_delay=_LOOK_EVERY,
            job_serializer=_nothing,
            job_deserializer=decode_job,
            log_results=False,
            on_job_start=self._has_begun,
            **options,
        )
        self.in_progress_timeout_s = CLAIM_SECONDS
        self._due_at_start: dict[str, int] = {}
        self._until_begun: dict[str, asyncio.Timeout] = {}
        self._stepped_back: set[str] = set()
        """Jobs that found nothing to try, because another is at it."""
        self._redis_began = 0.0
        """Redis' time in milliseconds when our monotonic clock was 0: that one nobody sets."""
        self._turns_looked_at: datetime | None = None
        self._look_after = float(_LOOK_EVERY)

    async def main(self) -> None:
        """Work until cancelled; a Redis that is away is waited for."""
        renewing = asyncio.create_task(self._renew_claims())
        try:
            while True:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await self._poll_iteration()
                    async with asyncio.timeout(_LOOK_EVERY + _PATIENCE):
                        await self._wait()
                except (RedisError, OSError) as error:
                    await self._say_why_not(error)
                    await asyncio.sleep(_PAUSE)
        finally:
            renewing.cancel()

    async def _say_why_not(self, error: Exception) -> None:
        """Say why the queue cannot be looked at: Redis is away, or somebody else has made something of our keys."""
        if _OF_ANOTHER_KIND not in str(error):
            log.warning("queue %s: Redis is out of reach: %s", self.queue_name, error or "it did not answer in time")
            return
        with suppress(RedisError, OSError):
            async with asyncio.timeout(_PATIENCE):
                for key, wanted in ((self.queue_name, "zset"), (bell(self.queue_name), "list"), (_TURNS, "hash")):
                    found = (await self.pool.type(key)).decode()
                    if found not in (wanted, "none"):
                        log.error("the key %s in Redis holds a %s, expected a %s; delete it", key, found, wanted)

    async def drain(self) -> None:
        """End the running jobs so that other workers go on with them at once.

        Where Redis or the database is away, they cannot be let go of: then claims and leases run out by themselves.
        """
        self.allow_pick_jobs = False
        running = set(self.tasks.values())
        for seconds in _LETTING_GO:
            for task in running:
                task.cancel()
            if running:
                done, running = await asyncio.wait(running, timeout=seconds)
                await asyncio.gather(*done, return_exceptions=True)
        if running:
            log.warning("queue %s: %d jobs did not end; they are left to run out", self.queue_name, len(running))

    async def _poll_iteration(self) -> None:
        """Start what is due, queue what has its turn soon, bury what has ended."""
        if self.allow_pick_jobs and self._free > 0:
            for job_id in await self._take():
                if job_id not in self.tasks or self.tasks[job_id].done():  # else only its claim had run out
                    self.tasks[job_id] = asyncio.create_task(self.run_job(job_id, timestamp_ms()))
            await self._queue_turns(datetime.fromtimestamp(self._redis_ms() / 1000, UTC))
        for job_id in [job_id for job_id, task in self.tasks.items() if task.done()]:
            del self.tasks[job_id]  # its errors were caught in run_job

    async def _take(self) -> list[str]:
        """Claim as many jobs as there is room for."""
        claim, longest = str(int(CLAIM_SECONDS * 1000)), str(_LOOK_EVERY * 1000)
        ahead = str(HEAD_START_MS), retry_key_prefix, str(_HEAD_STARTS)
        now, wait, ids = await self.pool.eval(  # type: ignore[misc]
            _TAKE, 1, self.queue_name, str(self._free), in_progress_key_prefix, claim, longest, *ahead
        )
        self._redis_began = int(now) - time.monotonic() * 1000
        self._look_after = max(int(wait) / 1000, _SOON)
        readable = [job_id for job_id in ids if _is_text(job_id)]
        for job_id in set(ids) - set(readable):
            log.warning("queue %s: %r is no id of a job; it is dropped", self.queue_name, job_id)
            await self._drop(job_id)
        return [job_id.decode() for job_id in readable]

    async def _drop(self, job_id: bytes) -> None:
        """Remove whatever is kept of a job that cannot be run."""
        async with self.pool.pipeline(transaction=False) as pipe:
            pipe.zrem(self.queue_name, job_id)
            pipe.delete(*(prefix.encode() + job_id for prefix in _KEPT))
            await pipe.execute()

    async def _queue_turns(self, now: datetime) -> None:
        """Queue the turns of cron jobs that are near, instead of arq's `run_cron`; of what was missed only the last.

        `now` is Redis' time, so that workers agree on the turns, whatever their own clocks say.
        """
        anew = self._turns_looked_at is None or now < self._turns_looked_at  # the clock was set back
        turns: list[tuple[CronJob, datetime]] = []
        for job in self.cron_jobs:
            if job.next_run is None or anew:
                starting = job.next_run is None and job.run_at_startup
                job.next_run = now if starting else _next_turn(job, now)
            if anew or job.next_run <= now + _AHEAD:
                turns.append((job, job.next_run))
        if turns:
            near, life = str(_AHEAD // timedelta(milliseconds=1)), str(JOB_LIFE_MS)
            listed = encode_job([_turn(job.name, at) for job, at in turns]).decode()
            await self.pool.eval(_TURN, 2, self.queue_name, _TURNS, near, job_key_prefix, listed, life)  # type: ignore[misc]
            self._look_after = _SOON
        for job, at in turns:
            if at <= now + _AHEAD:
                job.next_run = _next_turn(job, max(at, now))
        self._turns_looked_at = now

    def _redis_ms(self) -> int:
        return int(self._redis_began + time.monotonic() * 1000)

    @property
    def has_room(self) -> bool:
        """Whether another job can be begun."""
        return self._free > 0

    @property
    def _free(self) -> int:
        return self.max_jobs - sum(not task.done() for task in self.tasks.values())

    async def _wait(self) -> None:
        """Wait for the bell or until the next job is due; with a full house, for a job to end."""
        if self._free > 0:
            await self.pool.blpop([bell(self.queue_name)], timeout=self._look_after)  # type: ignore[misc,arg-type]
        elif self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)

    async def run_job(self, job_id: str, score: int) -> None:
        """Run one job under the claim that it was taken with; `score` is when that was, by our clock.

        What cannot even be read is dropped: nobody could ever run it, and what is true is in the database.
        """
        self._due_at_start[job_id] = score
        try:
            async with asyncio.timeout(_PATIENCE) as self._until_begun[job_id]:
                await super().run_job(job_id, score)
        except (RedisError, OSError) as error:  # the sweep finds what is left undone
            if _OF_ANOTHER_KIND in str(error):
                await self._give_up(job_id, error)
            else:
                log.warning("job %s: Redis is out of reach: %s", job_id, error or "it did not answer in time")
        except Exception as error:  # noqa: BLE001  arq's, over a body that it can decode and not understand
            await self._give_up(job_id, error)
        finally:
            self._due_at_start.pop(job_id, None)
            self._until_begun.pop(job_id, None)
            self._stepped_back.discard(job_id)

    async def _give_up(self, job_id: str, error: Exception) -> None:
        log.error("job %s cannot be run, it is dropped: %s: %s", job_id, type(error).__name__, error)
        with suppress(RedisError, OSError):  # then its claim runs out, and it comes again
            async with asyncio.timeout(_PATIENCE):
                await self._drop(job_id.encode())

    async def _has_begun(self, ctx: dict[str, Any]) -> None:
        """Let the job take its time, now that Redis has told what it is.

        One that finds another at its work calls `step_back`: it keeps its place, and this was none of its tries.
        """
        self._until_begun[ctx["job_id"]].reschedule(None)
        ctx["step_back"] = partial(self._stepped_back.add, ctx["job_id"])

    async def finish_job(
        self,
        job_id: str,
        finish: bool,
        result_data: bytes | None,
        result_timeout_s: float | None,
        keep_result_forever: bool,
        incr_score: int | None,
        keep_in_progress: float | None,
    ) -> None:
        """Let go of the claim; a job that is not done becomes due when it asked to be, or at once; somebody looks when.

        `keep_in_progress` is arq's way to do a turn of a cron job once; here it is noted which one was queued.
        """
        score = self._due_at_start.pop(job_id, timestamp_ms())
        async with asyncio.timeout(_PATIENCE):
            await super().finish_job(job_id, finish, result_data, result_timeout_s, keep_result_forever, None, None)
            if not finish:  # its claim is gone: whoever hears the bell must not find it held
                await self._put_back(job_id, score + incr_score - timestamp_ms() if incr_score else 0)

    async def _put_back(self, job_id: str, wait: int) -> None:
        """Have a job come again in so many milliseconds. One that was cut off (0), or stepped back, keeps its place."""
        stepped_back = job_id in self._stepped_back
        due = self._redis_ms() + wait - (HEAD_START_MS if stepped_back or not wait else 0)
        async with self.pool.pipeline(transaction=False) as pipe:
            pipe.zadd(self.queue_name, {job_id: due}, xx=True)
            if stepped_back:
                pipe.decr(retry_key_prefix + job_id)
            pipe.lpush(bell(self.queue_name), 1)
            await pipe.execute()

    async def _renew_claims(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._claim(list(self._due_at_start))
            except (RedisError, OSError) as error:
                log.warning("claims of queue %s could not be renewed: %s", self.queue_name, error)

    async def _claim(self, job_ids: list[str]) -> None:
        if not job_ids:
            return
        until = self._redis_ms() + int(CLAIM_SECONDS * 1000)
        async with self.pool.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.psetex(in_progress_key_prefix + job_id, int(CLAIM_SECONDS * 1000), b"1")
                pipe.zadd(self.queue_name, {job_id: until - HEAD_START_MS}, xx=True)
            await pipe.execute()


def _nothing(result: object) -> bytes:
    """Make nothing of a result: none is kept, and what a job failed with is no JSON."""
    return b""


def _is_text(job_id: bytes) -> bool:
    try:
        job_id.decode()
    except UnicodeDecodeError:
        return False
    return True


def _next_turn(job: CronJob, after: datetime) -> datetime:
    job.calculate_next(after)
    assert job.next_run is not None
    return job.next_run


def _turn(name: str, at: datetime) -> tuple[str, int, str, str]:
    """Return a cron job's turn as the script wants it; its id is the same from every worker."""
    due = to_unix_ms(at)
    return name, due, f"{name}:{due}", serialize_job(name, (), {}, None, due, serializer=encode_job).decode()
