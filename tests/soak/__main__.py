"""`make soak DELIVERIES=50000 RUNS=1000`: a long, quiet load; exit 1 when something that should stay flat has grown."""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import click

from bot.testing.models import ModelServer
from tests.benchmarks.table import row
from tests.chaos.ground import ground
from tests.journeys.steps import bash, finish
from tests.soak.load import Load
from tests.soak.sizes import BOUNDED, Sizes, growth, measure, too_large

WARM_UP = 0.1
"""Share of the load after which the sizes count: caches are full, libraries have loaded what they load late."""


@click.command()
@click.option("--deliveries", default=50_000, show_default=True)
@click.option("--runs", default=1_000, show_default=True)
@click.option("--samples", default=50, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(deliveries: int, runs: int, samples: int, seed: int) -> None:
    """Send deliveries, let runs run, and watch the sizes of web process, worker, Redis, database and folders."""
    with tempfile.TemporaryDirectory(prefix="onhand-soak-") as folder:
        sys.exit(0 if asyncio.run(soak(deliveries, runs, samples, seed, Path(folder))) else 1)


async def soak(deliveries: int, runs: int, samples: int, seed: int, folder: Path) -> bool:
    """Soak, and print the table. Whether everything that should has stayed flat and was answered as it should."""
    limit = 120 + deliveries / 50 + runs * 5
    _tell(f"soak: {deliveries} deliveries, {runs} runs, {samples} samples, seed {seed}; ends within {limit:.0f} s")
    script = folder / "script.json"
    script.write_text(json.dumps([bash("echo line >> work.txt"), finish("A line.", "Write a line")]))
    settings = {"ONHAND_LLM__MODEL": f"script:{script}", "ONHAND_LIMITS__CONCURRENT_RUNS": "8"}
    seen: list[Sizes] = []
    with ModelServer([]) as unused:
        async with ground("sqlite-process", unused, 1, folder, settings, warm=False) as laid:
            load = Load(laid, seed)
            async with asyncio.timeout(limit):
                for number in range(samples):
                    await load.batch(_share(deliveries, samples, number), _share(runs, samples, number))
                    seen.append(await measure(laid))
                    if (number + 1) % max(1, samples // 10) == 0:
                        _progress(load, seen[-1])
    _tell(f"answered: {dict(load.answered)}; otherwise than expected: {dict(load.wrong)}; sent again: {load.again}")
    flat = _print(seen[int(len(seen) * WARM_UP) :])
    return flat and not load.wrong


def _share(whole: int, parts: int, number: int) -> int:
    return whole * (number + 1) // parts - whole * number // parts


def _print(seen: list[Sizes]) -> bool:
    flat = True
    for what in seen[0]:
        first, last, grown, slope = growth(seen, what)
        verdict = "" if what not in BOUNDED else f"<= {BOUNDED[what]:.0%}"
        if too_large(seen, what):
            verdict, flat = f"{verdict}  TOO LARGE", False
        row(
            what,
            f"{first:.1f} -> {last:.1f} ({grown:+.1%})",
            f"slope of the last half {slope:+.1%}",
            1 + grown,
            verdict,
        )
    return flat


def _progress(load: Load, sizes: Sizes) -> None:
    done = sum(load.answered.values())
    shown = ", ".join(f"{what} {value:.1f}" for what, value in sizes.items())
    _tell(f"{done} deliveries, {load.runs} runs: {shown}")


_BEGAN = time.monotonic()


def _tell(what: str) -> None:
    click.echo(f"{time.monotonic() - _BEGAN:6.1f} s  {what}")


if __name__ == "__main__":
    main()
