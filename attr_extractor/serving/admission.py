"""How many bytes of unanswered requests a server holds: beyond that it refuses, and stays alive.

The limit on waiting rows comes too late for this: a body is in memory before its rows are known.
Bytes count as they arrive, not as they are announced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attr_extractor.serving.metrics import Metrics
from attr_extractor.serving.status import Code, ServingError

_PAUSE = 0.01  # seconds until a dropped request has given its bytes back


class PendingBytes:
    """Counts bytes until their request has its answer."""

    def __init__(self, limit: int, metrics: Metrics, make_room: Callable[[], bool]):
        """
        Args:
          make_room: drops a request that keeps the server waiting; false where there is none.
        """
        self._limit = limit
        self._make_room = make_room
        self._held = 0
        self._metrics = metrics

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """What one request holds, given back at the end."""
        held = Held(self)
        try:
            yield held
        finally:
            self._change(-held.size)

    async def add(self, size: int, own: int) -> None:
        """Counts bytes of a request that holds `own` already.

        Raises:
          ServingError: the others leave no room for them.
        """
        while self._held > own and self._held + size > self._limit:
            if not self._make_room():
                raise ServingError(
                    Code.RESOURCE_EXHAUSTED,
                    f"{self._held:,} bytes of requests wait for their answers; try again later",
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
        """Holds more bytes; raises ServingError where there is no room for them."""
        await self._pending.add(size, self.size)
        self.size += size
