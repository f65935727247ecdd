"""What the web process counts, for Prometheus."""

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Metrics(Collector):
    """The counters of a process; a collector as prometheus_client calls it.

    That library's own counter costs more than all else that a refusal does.
    """

    def __init__(self) -> None:
        self._deliveries: Counter[tuple[str, str, str]] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def delivery(self, service: str, event: str, result: str) -> None:
        """Count a delivery."""
        self._deliveries[service, event, result] += 1

    def collect(self) -> Iterable[Metric]:
        """Yield what was counted."""
        what = "Webhook deliveries by service, event and what became of them"
        family = CounterMetricFamily("onhand_deliveries", what, labels=["service", "event", "result"])
        for labels, count in self._deliveries.items():
            family.add_metric(labels, count)
        yield family

    def text(self) -> bytes:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self._registry)
