"""The server's Prometheus metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server, in a separate registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, CPU seconds, open files
        self.requests = Counter(
            "attr_extractor_requests",
            "Requests by API (rest, grpc) and gRPC status.",
            ["api", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "attr_extractor_request_seconds",
            "Seconds from a request's head to its response.",
            ["api"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_rows = Histogram(
            "attr_extractor_batch_rows",
            "Rows in one run of the graph.",
            ["signature"],
            buckets=_ROWS,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "attr_extractor_batch_seconds",
            "Seconds of one run of the graph.",
            ["signature"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting_rows = Gauge(
            "attr_extractor_waiting_rows", "Rows waiting for a batch.", registry=registry
        )
        self.pending_bytes = Gauge(
            "attr_extractor_pending_bytes", "Bytes of unanswered requests.", registry=registry
        )
        self.version = Gauge(
            "attr_extractor_model_version", "The version being served.", registry=registry
        )
        self.loads = Counter(
            "attr_extractor_model_loads", "Version loads by result.", ["result"], registry=registry
        )

    def request(self, api: str, code: str, seconds: float) -> None:
        """Count an answered request."""
        self.requests.labels(api, code).inc()
        self.request_seconds.labels(api).observe(seconds)

    @contextmanager
    def batch(self, signature: str, rows: int) -> Iterator[None]:
        """Count and time a run of the graph."""
        self.batch_rows.labels(signature).observe(rows)
        start = time.perf_counter()
        try:
            yield
        finally:  # a failed run is timed too
            self.batch_seconds.labels(signature).observe(time.perf_counter() - start)

    def page(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
