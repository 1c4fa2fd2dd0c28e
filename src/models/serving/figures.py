"""What the service counts, in the format that Prometheus reads."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Figures:
    """Counters of one service."""

    def __init__(self) -> None:
        """All at zero."""
        self._registry = CollectorRegistry()
        own = self._registry
        self.answered = Counter("serve_answered", "Images answered, by class", ["pred"], registry=own)
        self.refused = Counter("serve_refused", "Requests refused, by reason", ["reason"], registry=own)
        self.seconds = Histogram("serve_seconds", "From whole request to answer", buckets=SECONDS, registry=own)
        self.waiting = Gauge("serve_waiting", "Images taken in and not answered yet", registry=own)
        self.log_failures = Gauge("serve_log_failures", "Answers that the request log could not keep", registry=own)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
