"""arq's worker, with four things changed.

It is woken by a doorbell instead of polling. A running job is held by a claim of a few seconds that is renewed, so that a
killed worker's job comes back in seconds rather than after the job's timeout. A held job is moved out of sight in the queue:
arq reads only the oldest ids that are due, so hundreds of running ones would hide a new one. And when a job is due is told by
Redis' clock alone, because those of two machines may differ by minutes.
"""

import asyncio
import logging
from typing import Any

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.utils import timestamp_ms
from arq.worker import Worker
from redis.exceptions import RedisError

from bot.bus import bell, decode_job, encode_job

log = logging.getLogger(__name__)

CLAIM_SECONDS = 3.0
_RENEW_EVERY = 1.0
_LOOK_EVERY = 1
"""Seconds between two looks at the queue when nobody rings: for deferred jobs and for those of killed workers."""
_PATIENCE = 5.0
"""Seconds after which a Redis that says nothing is taken to be out of reach."""
_LOOK_AT = 100
"""Ids of a queue that one look takes in."""

_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {now}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
    if #taken > tonumber(ARGV[2]) then break end
    if redis.call('SET', ARGV[3] .. id, '1', 'PX', ARGV[4], 'NX') then
        redis.call('ZADD', KEYS[1], now + ARGV[4], id)
        table.insert(taken, id)
    end
end
return taken
"""
"""Claims jobs that are due; returns Redis' time in milliseconds and their ids."""


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
            job_serializer=encode_job,
            job_deserializer=decode_job,
            log_results=False,
            **options,
        )
        self.in_progress_timeout_s = CLAIM_SECONDS
        self._due_at_start: dict[str, int] = {}
        self._ahead = 0
        """Milliseconds by which our clock is ahead of Redis'."""

    async def main(self) -> None:
        """Work until cancelled; a Redis that is away is waited for."""
        renewing = asyncio.create_task(self._renew_claims())
        try:
            while True:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await self._poll_iteration()
                    async with asyncio.timeout(_PATIENCE):
                        await self._wait()
                except (RedisError, OSError) as error:
                    log.warning(
                        "queue %s: Redis is out of reach: %s", self.queue_name, error or "it did not answer in time"
                    )
                    await asyncio.sleep(_LOOK_EVERY)
        finally:
            renewing.cancel()

    async def drain(self) -> None:
        """End the running jobs so that other workers go on with them at once."""
        self.allow_pick_jobs = False
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll_iteration(self) -> None:
        """Start what is due, bury what has ended, and let the clockwork (arq's cron) tick."""
        if self.allow_pick_jobs and self._free > 0:
            for job_id in await self._take():
                self.tasks[job_id] = asyncio.create_task(self.run_job(job_id, timestamp_ms()))
        for job_id, task in [(job_id, task) for job_id, task in self.tasks.items() if task.done()]:
            del self.tasks[job_id]
            task.result()  # a job's own errors were caught at its door
        await self.heart_beat()

    async def _take(self) -> list[str]:
        """Claim as many jobs as there is room for."""
        claim = int(CLAIM_SECONDS * 1000)
        now, *ids = await self.pool.eval(  # type: ignore[misc]
            _TAKE, 1, self.queue_name, str(_LOOK_AT), str(self._free), in_progress_key_prefix, str(claim)
        )
        self._ahead = timestamp_ms() - int(now)
        return [job_id.decode() for job_id in ids]

    @property
    def _free(self) -> int:
        return self.max_jobs - sum(not task.done() for task in self.tasks.values())

    async def _wait(self) -> None:
        """Wait for the bell, or, with a full house, for a job to end."""
        if self._free > 0:
            await self.pool.blpop([bell(self.queue_name)], timeout=_LOOK_EVERY)  # type: ignore[misc]
        elif self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)

    async def run_job(self, job_id: str, score: int) -> None:
        """Run one job under the claim that it was taken with; `score` is when that was, by our clock."""
        self._due_at_start[job_id] = score
        try:
            await super().run_job(job_id, score)
        except (RedisError, OSError) as error:  # the sweep finds what is left undone
            log.warning("job %s: Redis is out of reach: %s", job_id, error)
        finally:
            self._due_at_start.pop(job_id, None)

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
        """Let go of the claim; a job that is not done becomes due when it asked to be, or at once."""
        score = self._due_at_start.pop(job_id, timestamp_ms())
        if not finish:
            due = score + incr_score if incr_score else timestamp_ms()
            await self.pool.zadd(self.queue_name, {job_id: due - self._ahead}, xx=True)
            if not incr_score:
                await self.pool.lpush(bell(self.queue_name), 1)  # type: ignore[misc]
        await super().finish_job(
            job_id, finish, result_data, result_timeout_s, keep_result_forever, None, keep_in_progress
        )

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
        until = timestamp_ms() - self._ahead + int(CLAIM_SECONDS * 1000)
        async with self.pool.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.psetex(in_progress_key_prefix + job_id, int(CLAIM_SECONDS * 1000), b"1")
                pipe.zadd(self.queue_name, {job_id: until}, xx=True)
            await pipe.execute()
