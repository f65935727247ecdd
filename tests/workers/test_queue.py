"""The queues on a real Redis: woken at once, held while a worker lives, taken over soon after it died."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from arq import Retry
from arq.constants import in_progress_key_prefix
from arq.worker import func

from bot.bus import HEAD_START_MS, RUNS, RedisBus, bell, connect, encode_job
from bot.core.errors import Unavailable
from tests.journeys.faults.proxy import Proxy
from workers.queue import BellWorker


@asynccontextmanager
async def worker(url: str, job: Callable[..., Any], max_jobs: int = 10) -> AsyncIterator[BellWorker]:
    redis = connect(url)
    running = BellWorker(RUNS, redis, [func(job, name="run_conversation")], max_jobs)
    task = asyncio.create_task(running.main())
    try:
        yield running
    finally:
        task.cancel()
        await running.drain()
        await asyncio.gather(task, return_exceptions=True)
        await redis.aclose()


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[RedisBus]:
    opened = RedisBus(connect(redis_url))
    yield opened
    await opened.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_ring_starts_a_job_at_once(bus: RedisBus, redis_url: str) -> None:
    done: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        done.append(conversation)

    async with worker(redis_url, job):
        await asyncio.sleep(0.2)
        begin = time.perf_counter()
        await bus.run("c1", 1)
        await until(lambda: done)
        assert time.perf_counter() - begin < 0.5, "polling alone would take up to a second"
    assert done == ["c1"]


async def test_ringing_twice_is_one_job_and_ringing_after_it_is_another(bus: RedisBus, redis_url: str) -> None:
    done: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        done.append(conversation)

    await bus.run("c1", 1)
    await bus.run("c1", 1)
    async with worker(redis_url, job):
        await until(lambda: done)
        while await bus.redis.zcard(RUNS):  # a ring for a job that is just ending is one with it
            await asyncio.sleep(0.005)
        await bus.run("c1", 1)
        await until(lambda: len(done) == 2)
    assert await bus.redis.zcard(RUNS) == 0


async def test_running_jobs_do_not_hide_a_new_one(bus: RedisBus, redis_url: str) -> None:
    """arq reads the oldest hundred ids; with more than that running elsewhere an idle worker must still start a new one."""
    release, started = asyncio.Event(), []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)
        await release.wait()

    for index in range(130):
        await bus.run(f"old-{index}", 1)
    async with worker(redis_url, job, max_jobs=130):
        await until(lambda: len(started) == 130)
        async with worker(redis_url, job, max_jobs=10):
            await bus.run("new", 1)
            await until(lambda: "new" in started)
        release.set()


async def test_a_job_that_asks_for_later_comes_then(bus: RedisBus, redis_url: str) -> None:
    times: list[float] = []

    async def job(_ctx: Any, _conversation: str) -> None:
        times.append(time.perf_counter())
        if len(times) == 1:
            await asyncio.sleep(1.2)  # longer than a renewal, which moves the job's score
            raise Retry(defer=1.0)

    await bus.run("c1", 1)
    async with worker(redis_url, job):
        await until(lambda: len(times) == 2)
    assert 2.1 < times[1] - times[0] < 5.0


async def test_a_dead_workers_claim_that_outlives_its_jobs_time_by_a_moment_hides_nothing(
    bus: RedisBus, redis_url: str
) -> None:
    """The time of a held job is reckoned before its claim is renewed, so that it may come first."""
    started: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)

    await bus.run("held", 1)
    [held] = await bus.redis.zrange(RUNS, 0, -1)
    await bus.redis.psetex(in_progress_key_prefix + held.decode(), 500, b"1")
    await bus.run("behind", 1)
    await bus.redis.delete(bell(RUNS))
    async with worker(redis_url, job, max_jobs=1):
        await until(lambda: started == ["behind", "held"], 3.0)


async def test_a_job_whose_claim_runs_out_while_it_is_at_work_is_not_begun_again(bus: RedisBus, redis_url: str) -> None:
    begun, gate = list[str](), asyncio.Event()

    async def job(_ctx: Any, conversation: str) -> None:
        begun.append(conversation)
        await gate.wait()
        if len(begun) == 1:
            raise Retry(defer=0.01)

    async with worker(redis_url, job):
        await bus.run("c1", 1)
        await until(lambda: begun)
        [job_id] = await bus.redis.zrange(RUNS, 0, -1)
        await bus.redis.delete(in_progress_key_prefix + job_id.decode())
        await bus.redis.zadd(RUNS, {job_id: 1})
        await bus.redis.lpush(bell(RUNS), 1)
        while await bus.redis.zscore(RUNS, job_id) == 1:  # it was looked at
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)  # nothing is what should happen now
        assert begun == ["c1"]
        gate.set()
        await until(lambda: len(begun) == 2)
        while await bus.redis.zcard(RUNS):
            await asyncio.sleep(0.005)
    assert begun == ["c1", "c1"]


async def test_a_drained_job_is_taken_by_another_worker_at_once(bus: RedisBus, redis_url: str) -> None:
    started: list[str] = []

    async def first(_ctx: Any, _conversation: str) -> None:
        started.append("first")
        await asyncio.Event().wait()

    async def second(_ctx: Any, _conversation: str) -> None:
        started.append("second")

    await bus.run("c1", 1)
    async with worker(redis_url, first):
        await until(lambda: started)
    async with worker(redis_url, second):
        await until(lambda: len(started) == 2, 3.0)


async def test_a_drained_job_is_taken_at_once_by_a_worker_that_waits_for_it(bus: RedisBus, redis_url: str) -> None:
    taken_over = list[float]()

    async def first(_ctx: Any, _conversation: str) -> None:
        await asyncio.Event().wait()

    async def second(_ctx: Any, _conversation: str) -> None:
        taken_over.append(time.perf_counter())

    for number in range(5):
        async with worker(redis_url, first, max_jobs=1) as leaving:
            await bus.run(f"c{number}", 1)
            await until(lambda leaving=leaving: leaving.tasks)
            async with worker(redis_url, second):
                await asyncio.sleep(0.3)
                begin = time.perf_counter()
                await leaving.drain()
                await until(lambda number=number: len(taken_over) > number)
                assert taken_over[-1] - begin < 1.0, "it does not wait for the claim to run out"


@pytest.mark.parametrize("how", ["told to stop", "killed"])
async def test_who_was_cut_off_goes_on_before_those_that_wait_for_their_turn(
    bus: RedisBus, redis_url: str, how: str
) -> None:
    started, gate = list[str](), asyncio.Event()

    async def job(ctx: Any, conversation: str) -> None:
        started.append(conversation)
        if conversation == "other":
            await gate.wait()
        if conversation == "waits 0":
            await asyncio.sleep(0.4)
        if conversation == "cut off" and started.count(conversation) == 2:
            ctx["step_back"]()  # it meets the lease of the one that is gone
            raise Retry(defer=0.3)

    async def first(_ctx: Any, _conversation: str) -> None:
        await asyncio.Event().wait()

    async with worker(redis_url, first, max_jobs=1) as leaving:
        await bus.run("cut off", 1)
        await until(lambda: leaving.tasks)
        started.append("cut off")
        async with worker(redis_url, job, max_jobs=1):
            await bus.run("other", 1)
            await until(lambda: "other" in started)
            for number in range(3):
                await bus.run(f"waits {number}", 1)
            if how == "killed":
                leaving._due_at_start.clear()  # its claim is not renewed any more
                await asyncio.sleep(3.2)
            else:
                await leaving.drain()
            gate.set()
            await until(lambda: len(started) == 7)
    assert started == ["cut off", "other", "cut off", "waits 0", "cut off", "waits 1", "waits 2"]


async def test_what_ends_its_worker_each_time_stands_in_line_again_after_some_tries(
    bus: RedisBus, redis_url: str
) -> None:
    started: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)
        if conversation == "deadly":
            await asyncio.Event().wait()

    await bus.run("deadly", 1)
    for number in range(3):
        await bus.run(f"waits {number}", 1)
    for _ in range(6):  # each worker is gone as soon as it has begun it
        begun = started.count("deadly")
        async with worker(redis_url, job, max_jobs=1):
            await until(lambda begun=begun: started.count("deadly") > begun)
    assert started == ["deadly"] * 5 + ["waits 0", "waits 1", "waits 2", "deadly"]


async def test_a_claim_without_an_end_gets_one_and_is_not_looked_at_all_the_time(bus: RedisBus, redis_url: str) -> None:
    started: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)

    await bus.run("c1", 1)
    [job_id] = await bus.redis.zrange(RUNS, 0, -1)
    await bus.redis.set(in_progress_key_prefix + job_id.decode(), b"1")
    await bus.redis.config_resetstat()
    async with worker(redis_url, job):
        await until(lambda: started, 6.0)
    assert (await bus.redis.info("commandstats"))["cmdstat_eval"]["calls"] < 20


async def test_a_worker_that_starts_makes_due_what_was_cut_off_before_the_clock_was_set_back(
    bus: RedisBus, redis_url: str
) -> None:
    started: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)

    await bus.run("c1", 1)
    [job_id] = await bus.redis.zrange(RUNS, 0, -1)
    await bus.redis.zadd(RUNS, {job_id: (time.time() + 3600) * 1000 - HEAD_START_MS})
    await bus.run("c2", 1)
    await bus.hurry()
    async with worker(redis_url, job, max_jobs=1):
        await until(lambda: started == ["c1", "c2"], 3.0)


async def test_to_meet_another_at_work_is_none_of_a_jobs_tries(bus: RedisBus, redis_url: str) -> None:
    tries: list[int] = []

    async def job(ctx: Any, _conversation: str) -> None:
        tries.append(ctx["job_try"])
        if len(tries) < 6:
            ctx["step_back"]()
        if len(tries) < 8:
            raise Retry(defer=0.02)

    async with worker(redis_url, job):
        await bus.run("c1", 1)
        await until(lambda: len(tries) == 8)
    assert tries == [1, 1, 1, 1, 1, 1, 2, 3]


_HOLDER = """
import asyncio, sys
from arq.worker import func
from bot.bus import RUNS, connect
from workers.queue import BellWorker
async def job(ctx, conversation):
    print("started", flush=True)
    await asyncio.sleep(600)
async def main():
    await BellWorker(RUNS, connect(sys.argv[1]), [func(job, name="run_conversation")], 5).main()
asyncio.run(main())
"""


_RINGER = """
import asyncio, sys
from bot.bus import RedisBus, connect
asyncio.run(RedisBus(connect(sys.argv[1])).run("c1", 1))
"""


async def test_a_killed_workers_job_is_taken_over_within_seconds(bus: RedisBus, redis_url: str) -> None:
    started: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)

    await bus.run("c1", 1)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, redis_url, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await asyncio.wait_for(holder.stdout.readline(), 20) == b"started\n"
    async with worker(redis_url, job):
        await asyncio.sleep(4.0)
        assert not started, "it is held as long as its worker lives"
        os.kill(holder.pid, signal.SIGKILL)
        await holder.wait()
        await until(lambda: started, 8.0)


async def test_a_job_rung_for_by_a_clock_that_is_ahead_is_due_at_once(bus: RedisBus, redis_url: str, need: Any) -> None:
    """arq compares its own clock with that of whoever rang."""
    need(shutil.which("faketime"), "faketime (deploy/engine.sh)")
    started: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)

    ahead = ("faketime", "+2 minutes", sys.executable, "-c", _RINGER, redis_url)
    await (await asyncio.create_subprocess_exec(*ahead)).wait()
    async with worker(redis_url, job):
        await until(lambda: started)


async def test_a_redis_that_goes_and_comes_often_costs_no_place(bus: RedisBus, redis_url: str) -> None:
    started: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        started.append(conversation)

    async with worker(redis_url, job, max_jobs=2) as running:
        for index in range(6):
            await bus.run(f"c{index}", 1)
            await bus.redis.client_kill_filter(_type="normal", skipme=True)
            await until(lambda index=index: f"c{index}" in started)
        await until(lambda: running._free == 2)


async def test_a_worker_that_starts_does_not_wait_for_what_was_put_off(bus: RedisBus, redis_url: str) -> None:
    tries: list[str] = []

    async def put_off(_ctx: Any, _conversation: str) -> None:
        tries.append("put off")
        raise Retry(defer=600)

    async def job(_ctx: Any, _conversation: str) -> None:
        tries.append("done")

    await bus.run("c1", 1)
    async with worker(redis_url, put_off):
        await until(lambda: tries)
        while await bus.redis.exists("arq:in-progress:run:c1:1"):
            await asyncio.sleep(0.005)
    await bus.hurry()
    async with worker(redis_url, job):
        await until(lambda: "done" in tries)


async def test_an_idle_worker_asks_redis_seldom(bus: RedisBus, redis_url: str) -> None:
    async def job(_ctx: Any, _conversation: str) -> None: ...

    async with worker(redis_url, job):
        await asyncio.sleep(0.5)
        before = (await bus.redis.info("stats"))["total_commands_processed"]
        await asyncio.sleep(3.0)
        after = (await bus.redis.info("stats"))["total_commands_processed"]
    assert (after - before) / 3.0 <= 5.0


async def test_a_redis_out_of_reach_is_said_in_our_words() -> None:
    bus = RedisBus(connect("unix:///nowhere/redis.sock"))
    with pytest.raises(Unavailable):
        await bus.run("c1", 1)
    await bus.close()


async def test_a_follower_hears_of_growth_and_looks_for_itself_without(bus: RedisBus, redis_url: str) -> None:
    other = RedisBus(connect(redis_url))
    heard = bus.follow("c1")
    assert await anext(heard) == 0
    await asyncio.sleep(0.2)
    await other.grown({"c1": 7})
    assert await asyncio.wait_for(anext(heard), 1.5) == 7
    assert await asyncio.wait_for(anext(heard), 5.0) == 7, "it wakes up without being told"
    await heard.aclose()  # type: ignore[attr-defined]
    await other.close()


async def test_rings_and_whispers_of_one_moment_share_a_round_trip(bus: RedisBus) -> None:
    async with bus.redis.client() as eye:

        async def reads() -> int:
            return int((await eye.info("stats"))["total_reads_processed"])

        async def a_moment() -> int:
            by_the_look = -await reads() + await reads()
            before = await reads()
            await asyncio.gather(
                bus.acknowledge("c1", 1), bus.acknowledge("c2", 1), bus.run("c2", 1), bus.grown({"c1": 1})
            )
            return await reads() - before - by_the_look

        await bus.run("c0", 1)
        assert min([await a_moment() for _ in range(5)]) == 1  # somebody else may say goodbye in one of them
    assert await bus.lengths() == {"runs": 2, "actions": 2}


async def test_a_job_that_waits_is_due_at_once_when_it_is_hurried(bus: RedisBus, redis_url: str) -> None:
    tries: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        tries.append(conversation)
        if len(tries) == 1:
            raise Retry(defer=600.0)

    await bus.run("c1", 1)
    async with worker(redis_url, job) as running:
        await until(lambda: tries and not running.tasks)
        await bus.run("c1", 1)
        await bus.run("c1", 1, hurry=True)
        await until(lambda: len(tries) == 2)
    assert await bus.redis.zcard(RUNS) == 0


@pytest.mark.parametrize("lost", ["what the job is", "that it is done"])
async def test_a_job_whose_redis_lost_its_words_comes_again(redis_url: str, lost: str) -> None:
    """The connection stays open, and nothing ever comes back on it."""
    async with Proxy(redis_url.removeprefix("unix://")) as proxy:
        url, taken, begun = f"redis://127.0.0.1:{proxy.port}", 0, 0

        async def job(_ctx: Any, _conversation: str) -> None:
            nonlocal begun
            begun += 1
            if begun == 1 and lost == "that it is done":
                proxy.lose()

        class Worker(BellWorker):
            async def run_job(self, job_id: str, score: int) -> None:
                nonlocal taken
                taken += 1
                if taken == 1 and lost == "what the job is":
                    proxy.lose()
                await super().run_job(job_id, score)

        redis = connect(url)
        worker = Worker(RUNS, redis, [func(job, name="run_conversation")], 1)
        working = asyncio.create_task(worker.main())
        bus = RedisBus(connect(redis_url))
        await bus.run("c-1", 1)
        await until(lambda: taken > 1 and begun == (2 if lost == "that it is done" else 1), 40)
        working.cancel()
        await worker.drain()
        await asyncio.gather(working, return_exceptions=True)
        await bus.close()
        await redis.aclose()


GARBAGE: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "an id that is no text": lambda redis: redis.zadd(RUNS, {b"\xff\xfe\x00": 1}),
    "no body": lambda redis: redis.zadd(RUNS, {"g": 1}),
    "no time": lambda redis: queue(redis, {"t": None, "f": "run_conversation", "a": ["a"], "k": {}, "et": None}),
    "a function that is a list": lambda redis: queue(redis, {"t": None, "f": [], "a": [], "k": {}, "et": 1}),
    "a try that is a word": lambda redis: queue(redis, {"t": "x", "f": "run_conversation", "a": [], "k": {}, "et": 1}),
    "no JSON": lambda redis: queue(redis, None, b"\x00\xff"),
    "a count of tries that is a list": lambda redis: queue(redis, {}, retry="x"),
    "a body that is a list": lambda redis: queue(redis, None, as_list="x"),
}


async def queue(redis: Any, job: Any, body: bytes | None = None, retry: str = "", as_list: str = "") -> None:
    if as_list:
        await redis.lpush("arq:job:g", as_list)
    else:
        await redis.set("arq:job:g", encode_job(job) if body is None else body)
    if retry:
        await redis.lpush("arq:retry:g", retry)
    await redis.zadd(RUNS, {"g": 1})


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_in_the_queue_is_dropped_and_the_next_job_is_run(
    bus: RedisBus, redis_url: str, garbage: str, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        done.append(conversation)

    await GARBAGE[garbage](bus.redis)
    async with worker(redis_url, job):
        await bus.run("c1", 1)
        async with asyncio.timeout(10):
            while await bus.redis.zcard(RUNS):
                await asyncio.sleep(0.005)
    assert done == ["c1"]
    assert await bus.redis.keys("arq:*") == []
    assert caplog.records, "it is said"


async def test_a_job_of_which_redis_was_emptied_is_one_line_in_the_log(
    bus: RedisBus, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def job(_ctx: Any, conversation: str) -> None: ...

    await bus.run("c1", 1)
    await bus.redis.delete(*await bus.redis.keys("arq:job:*"))
    async with worker(redis_url, job):
        async with asyncio.timeout(10):
            while await bus.redis.zcard(RUNS):
                await asyncio.sleep(0.005)
    [said] = [row for row in caplog.records if row.levelname in ("WARNING", "ERROR", "CRITICAL")]
    assert "expired" in said.getMessage()
    assert said.exc_info is None


@pytest.mark.parametrize("key", [RUNS, bell(RUNS)])
async def test_a_key_that_is_something_else_is_named_and_waited_for(
    bus: RedisBus, redis_url: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    async def job(_ctx: Any, conversation: str) -> None:
        done.append(conversation)

    await bus.redis.set(key, "something else")
    async with worker(redis_url, job):
        await until(lambda: any(row.levelname == "ERROR" and f" {key} " in row.getMessage() for row in caplog.records))
        await bus.redis.delete(key)
        await bus.run("c1", 1)
        await until(lambda: done)
