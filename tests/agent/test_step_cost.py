"""What a step costs beside model and command: little, and as much after 300 steps as at the start."""

import itertools
import statistics
import time


async def test_a_step_stays_cheap_over_a_long_run(kit):
    script = [{"text": f"Step {n}.", "calls": [{"name": "bash", "arguments": {"command": "ls"}}]} for n in range(300)]
    script.append({"calls": [{"name": "finish", "arguments": {"summary": "Done."}}]})
    log, box, times = kit.Log(), kit.Box(), []
    box.on_run = lambda _command: times.append(time.perf_counter())
    await log.asked(kit.trigger())
    await log.began()
    bench = kit.Bench(log, box, kit.tools)
    bench.limits = type(bench.limits)(steps=1_000)
    assert (await bench.work(script)).ending == "finished"
    steps = [1000 * (b - a) for a, b in itertools.pairwise(times)]
    first, last = statistics.median(steps[:10]), statistics.median(steps[-10:])
    print(f"\na step: {first:.3f} ms at first, {last:.3f} ms at last")  # noqa: T201
    assert last < 8
