"""What is read at the moment of a scrape, out of the database and Redis: the same from every web process."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bot.bus import RedisBus
from bot.core.ports import Services

log = logging.getLogger(__name__)


async def gauges(services: Services, bus: RedisBus) -> bytes:
    """Return what is there now in Prometheus' text format; what cannot be read is left out, and logged."""
    found: list[Metric] = []
    for metrics in await asyncio.gather(_sweeps(services), _load(services), _jobs(bus), return_exceptions=True):
        if isinstance(metrics, Exception):  # a database without tables, too: operators need the rest all the more then
            log.warning("/metrics is not complete: %s: %s", type(metrics).__name__, metrics)
        elif isinstance(metrics, BaseException):
            raise metrics
        else:
            found += metrics
    registry = CollectorRegistry()
    registry.register(_Found(found))
    return generate_latest(registry)


class _Found:
    """What prometheus_client calls a collector."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


async def _sweeps(services: Services) -> list[Metric]:
    sweeps = await services.sweeps.list()
    total = CounterMetricFamily("onhand_sweep_found_total", "How much all turns of a sweep found", labels=["sweep"])
    for sweep in sweeps:
        total.add_metric([sweep.name], sweep.total)
    return [
        _by(
            "onhand_sweep_last_run_timestamp_seconds",
            "When a sweep was last done",
            "sweep",
            {s.name: s.at for s in sweeps},
        ),
        _by("onhand_sweep_found", "How much a sweep found the last time", "sweep", {s.name: s.found for s in sweeps}),
        _by(
            "onhand_sweep_trouble",
            "1 for a sweep that could not finish the last time",
            "sweep",
            {s.name: bool(s.trouble) for s in sweeps},
        ),
        total,
    ]


async def _load(services: Services) -> list[Metric]:
    load = await services.queue.load()
    age = 0.0 if load.oldest is None else max(services.clock() - load.oldest, 0.0)
    return [
        _by("onhand_requests", "Requests that are open, by phase", "phase", load.requests),
        _by("onhand_conversations", "Conversations by status", "status", load.conversations),
        GaugeMetricFamily(
            "onhand_oldest_request_seconds", "For how long the oldest request that waits for us has been open", age
        ),
    ]


async def _jobs(bus: RedisBus) -> list[Metric]:
    lengths = await bus.lengths()
    return [_by("onhand_jobs", "Jobs in a queue, those being worked on among them", "queue", lengths)]


def _by(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, meaning, labels=[label])
    for value, number in values.items():
        metric.add_metric([value], number)
    return metric
