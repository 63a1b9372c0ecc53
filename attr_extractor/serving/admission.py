"""How many bytes of unanswered requests a server holds: beyond that it refuses, and stays alive.

The limit on waiting rows comes too late for this: a body is in memory before its rows are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attr_extractor.serving.metrics import Metrics
from attr_extractor.serving.status import Code, ServingError


class PendingBytes:
    """Counts bytes from the moment a request is admitted until it has its answer."""

    def __init__(self, limit: int, metrics: Metrics):
        self._limit = limit
        self._held = 0
        self._metrics = metrics

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Raises ServingError where the requests held already leave no room for this one."""
        if self._held and self._held + size > self._limit:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"{self._held:,} bytes of requests wait for their answers; try again later",
            )
        self._change(size)
        try:
            yield
        finally:
            self._change(-size)

    def _change(self, size: int) -> None:
        self._held += size
        self._metrics.pending_bytes.set(self._held)
