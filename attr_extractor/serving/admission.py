"""A limit on the bytes of unanswered requests, so that the server does not run out of memory.

The limit on waiting rows applies too late: a body is in memory before its rows are known. Bytes
are counted as they arrive, not as declared in the head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attr_extractor.serving.metrics import Metrics
from attr_extractor.serving.status import Code, ServingError

_PAUSE = 0.01  # seconds for a dropped request to release its bytes


class PendingBytes:
    """The bytes of all requests that are not answered yet."""

    def __init__(self, limit: int, metrics: Metrics, make_room: Callable[[], bool]):
        """
        Args:
          make_room: drops a slow request; returns false if there is none.
        """
        self._limit = limit
        self._make_room = make_room
        self._held = 0
        self._metrics = metrics

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Hold the bytes of one request; release them at the end."""
        held = Held(self)
        try:
            yield held
        finally:
            self._change(-held.size)

    async def add(self, size: int, own: int) -> None:
        """Count more bytes of a request that holds `own` already.

        Raises:
          ServingError: if the other requests leave no room for them.
        """
        while self._held > own and self._held + size > self._limit:
            if not self._make_room():
                raise ServingError(
                    Code.RESOURCE_EXHAUSTED,
                    f"{self._held:,} bytes of requests are waiting for answers; try again later",
                )
            await asyncio.sleep(_PAUSE)
        self._change(size)

    def _change(self, size: int) -> None:
        self._held += size
        self._metrics.pending_bytes.set(self._held)


class Held:
    """The bytes of one request."""

    def __init__(self, pending: PendingBytes):
        self.size = 0
        self._pending = pending

    async def grow(self, size: int) -> None:
        """Hold more bytes; raise ServingError if there is no room for them."""
        await self._pending.add(size, self.size)
        self.size += size
