"""What the web process counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, generate_latest


class Metrics:
    """One set of counters a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.deliveries = Counter(
            "onhand_deliveries",
            "Webhook deliveries by service, event and what became of them",
            ["service", "event", "result"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self.registry)
