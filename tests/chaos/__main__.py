"""`make chaos SEED=7 KILLS=200 CONVERSATIONS=20 PAIR=sqlite-local`: kills by seed, then one table; exit 1 for any harm."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from bot.testing.models import ModelServer
from tests.benchmarks.table import row
from tests.chaos import mind
from tests.chaos.ground import ground
from tests.chaos.storm import Storm
from tests.chaos.verdict import Verdict, judge
from tests.journeys.steps import CANARIES

WORKERS = 3


@click.command()
@click.option("--seed", default=7, show_default=True)
@click.option("--kills", default=200, show_default=True)
@click.option("--conversations", default=20, show_default=True)
@click.option("--pair", default="sqlite-local", show_default=True, help="sqlite-local or postgresql-docker.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the service's files; else they are deleted.")
def main(seed: int, kills: int, conversations: int, pair: str, keep: Path | None) -> None:
    """Kill processes of a busy service at random moments and look whether anybody could tell."""
    with tempfile.TemporaryDirectory(prefix="onhand-chaos-") as folder:
        place = keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        sys.exit(0 if asyncio.run(chaos(seed, kills, conversations, pair, place)) else 1)


async def chaos(seed: int, kills: int, conversations: int, pair: str, folder: Path) -> bool:
    """Run one storm and print what came of it. Whether nothing was lost, doubled or without an ending."""
    limit = 240 + 4 * kills
    tell(
        f"chaos: seed {seed}, {kills} kills, {conversations} conversations, {WORKERS} workers, {pair}; ends within {limit} s"
    )
    with ModelServer(mind.answer, key=CANARIES["model"]) as model:
        async with ground(pair, model, WORKERS, folder) as laid:
            storm = Storm(laid, seed, kills, conversations, tell)
            try:
                async with asyncio.timeout(limit):
                    await storm.blow()
            except TimeoutError:
                tell(f"not calm after {limit} s; what is open now counts as without an ending")
            tell("the storm is over, looking at what it left")
            verdict = await judge(laid, storm.happened)
            _print(verdict, storm, len(model.requests))
            if laid.died:
                tell(f"ended by themselves: {laid.died}")
            return verdict.good and not laid.died


def _print(verdict: Verdict, storm: Storm, calls: int) -> None:
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(verdict.endings.items()))
    row("requests without a trace", str(len(verdict.lost)), f"of {verdict.requests}", aim="0")
    row("things done twice", str(len(verdict.doubled)), f"{verdict.runs} runs, {verdict.replies} steps", aim="0")
    row("requests without an ending", str(len(verdict.endless)), kinds, aim="0")
    row("boxes, jobs left over", str(len(verdict.left_over)), "after the sweep", aim="0")
    row("deliveries sent again", str(storm.redelivered), f"{len(storm.ground.github.deliveries)} deliveries")
    extra = calls - verdict.replies
    row("model calls that no log has", str(extra), f"{verdict.resumed} interruptions", aim="<= interruptions")
    _takeovers("killed worker -> run goes on", verdict.takeovers)
    undisturbed = list(verdict.takeovers)
    for seconds in verdict.disturbed:
        undisturbed.remove(seconds)
    _takeovers("  of these, no other kill meanwhile", undisturbed)
    for word in ("lost", "doubled", "endless", "left_over"):
        for what in getattr(verdict, word)[:20]:
            tell(f"{word}: {what}")


def _takeovers(what: str, seconds: list[float]) -> None:
    if seconds:
        spread = f"p95 {sorted(seconds)[len(seconds) * 95 // 100]:.1f} s, worst {max(seconds):.1f} s"
        row(what, f"typically {median(seconds):.1f} s", f"{spread} ({len(seconds)} runs)", aim="<= 15 s, typically 5")


_BEGAN = time.monotonic()


def tell(what: str) -> None:
    """Print one line of progress."""
    click.echo(f"{time.monotonic() - _BEGAN:6.1f} s  {what}")


if __name__ == "__main__":
    main()
