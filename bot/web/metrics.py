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

        self._counted: dict[tuple[str, str, str], Counter] = {}

    def delivery(self, service: str, event: str, result: str) -> None:
        """Count a delivery."""
        name = service, event, result
        if name not in self._counted:  # the library's own way to a counter costs more than all else that a refusal does
            self._counted[name] = self.deliveries.labels(*name)
        self._counted[name].inc()

    def text(self) -> bytes:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self.registry)
