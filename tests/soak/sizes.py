"""How large everything is at a moment, and whether it has grown: a first against a last quarter."""

import asyncio
from pathlib import Path
from statistics import fmean, linear_regression
from urllib.parse import urlsplit

import psutil
from redis.asyncio import Redis

from tests.chaos.ground import Ground

Sizes = dict[str, float]

BOUNDED = {
    "web memory, MB": 0.10,
    "web descriptors": 0.10,
    "web database files": 0.10,
    "web connections": 0.10,
    "web threads": 0.10,
    "worker memory, MB": 0.10,
    "worker descriptors": 0.10,
    "worker database files": 0.10,
    "worker connections": 0.10,
    "worker threads": 0.10,
    "Redis memory, MB": 0.25,
    "Redis keys": 0.25,
    "boxes": 0.0,
}
"""By how much each may grow from the first to the last quarter after the warm-up. What is not here grows with the work."""

SLACK = {
    "web descriptors": 4,
    "worker descriptors": 4,
    "web database files": 10,
    "worker database files": 10,
    "web connections": 4,
    "worker connections": 24,
    "web threads": 4,
    "worker threads": 24,
    "Redis keys": 20,
}
"""So few more are no growth, whatever their share: what is kept for the next time is made as more overlap than ever before. Those
are a process' five connections to SQLite besides the first, two files each, and a worker's threads to GitHub, a connection each."""

_MEGABYTE = 1 << 20


async def measure(ground: Ground) -> Sizes:
    """Return every size now."""
    found: Sizes = {}
    port = urlsplit(ground.github.api_url).port
    for name, process in (("web", ground.processes["web"]), ("worker", ground.processes["worker-0"])):
        found |= {f"{name} {what}": value for what, value in _of_process(process, port).items()}
    redis = Redis.from_url(ground.environment["ONHAND_REDIS_URL"])
    found["Redis memory, MB"] = (await redis.info("memory"))["used_memory"] / _MEGABYTE
    found["Redis keys"] = float(await redis.dbsize())
    await redis.aclose()
    home = Path(ground.environment["ONHAND_HOME"])
    return found | await asyncio.to_thread(_of_home, home)


def _of_home(home: Path) -> Sizes:
    return {
        "database, MB": sum(path.stat().st_size for path in home.glob("onhand.sqlite*")) / _MEGABYTE,
        "mirrors, MB": _of_folder(home / "mirrors"),
        "boxes": float(sum(len(path.name) == 16 for path in (home / "boxes").glob("*"))),
    }


def _of_process(process: psutil.Process, github_port: int | None) -> Sizes:
    """Return a process' sizes; its connections to GitHub and files of the database are counted apart from other descriptors."""
    memory = process.memory_full_info().pss / _MEGABYTE
    connections = sum(bool(c.raddr) and c.raddr.port == github_port for c in process.net_connections("tcp"))
    files = sum("onhand.sqlite" in file.path for file in process.open_files())
    return {
        "memory, MB": memory,
        "descriptors": float(process.num_fds() - connections - files),
        "database files": float(files),
        "connections": float(connections),
        "threads": float(process.num_threads()),
    }


def _of_folder(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # a pack that is being tidied away
            continue
    return total / _MEGABYTE


def growth(samples: list[Sizes], what: str) -> tuple[float, float, float, float]:
    """Return the means of the first and of the last quarter, the growth between them, and the slope over the last half.

    The slope is the growth over the whole soak that it would come to, as a share of the first quarter.
    """
    values = [sample[what] for sample in samples]
    quarter, half = max(1, len(values) // 4), len(values) // 2
    first, last = fmean(values[:quarter]), fmean(values[-quarter:])
    late = values[half:]
    slope = linear_regression(range(len(late)), late).slope * len(values) if len(late) > 1 else 0.0
    base = max(first, 1e-9)
    return first, last, (last - first) / base if first else float(last > 0), slope / base


def too_large(samples: list[Sizes], what: str) -> bool:
    """Whether it has grown over its bound."""
    first, last, grown, _ = growth(samples, what)
    return what in BOUNDED and grown > BOUNDED[what] and last - first > SLACK.get(what, 0)
