"""Dynamic batching: rows of several requests, over REST and gRPC, share one run of the graph.

Each signature of each version has a queue. All queues share the threads that run graphs and one
limit on waiting rows; beyond it a request is rejected at once instead of waiting ever longer. While
all threads are busy the queues fill, so batches grow with the load.

The limit on waiting rows applies too late to save memory: a body is in memory before its rows are
known. Hence a second limit, on the bytes of all unanswered requests, which are counted as they
arrive, not as declared in the head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from attr_extractor.serving.server.loaded import Signature
from attr_extractor.serving.server.metrics import Metrics
from attr_extractor.serving.server.status import Code, ServingError
from attr_extractor.serving.server.tensors import Arrays

Outputs = dict[str, np.ndarray]
SMALL = 2**20  # bytes; requests up to this size are parsed concurrently
_FEW = 16  # texts of a row that a shorter row may be padded to
_PAUSE = 0.01  # seconds for a dropped request to release its bytes
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Limits on batches and requests."""

    batch_size: int = 32  # maximum rows of one run of the graph, and of one request
    delay: float = 0.002  # seconds that the first row of a batch waits for more
    waiting_rows: int = 1024  # maximum over all queues
    megapixels: float = 25.0  # maximum of one photo
    parallel: int = 2  # concurrent runs: one decodes photos while another runs the network


class Workers:
    """The state shared by all queues; create it within the event loop."""

    def __init__(self, limits: Limits, metrics: Metrics):
        self.limits = limits
        self.metrics = metrics
        self.slots = asyncio.Semaphore(limits.parallel)
        self.threads = ThreadPoolExecutor(limits.parallel, "graph")
        # requests are parsed off the event loop; large ones do not delay small ones
        self._small = ThreadPoolExecutor(2, "small")
        self._large = ThreadPoolExecutor(1, "large")
        self.waiting_rows = 0

    async def parse(self, small: bool, step: Callable[..., T], *arguments: Any) -> T:
        """Run a step of parsing a request; all large requests share one thread."""
        pool = self._small if small else self._large
        return await asyncio.get_running_loop().run_in_executor(pool, step, *arguments)

    def admit(self, rows: int) -> None:
        """Count rows as waiting; raise ServingError if there are too many."""
        if self.waiting_rows + rows > self.limits.waiting_rows:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"the queue is full: {self.waiting_rows} rows are waiting; try again later",
            )
        self.count(rows)

    def count(self, rows: int) -> None:
        """Add to the number of waiting rows."""
        self.waiting_rows += rows
        self.metrics.waiting_rows.set(self.waiting_rows)


@dataclass(frozen=True)
class _Request:
    inputs: Arrays
    rows: int
    arrived: float  # seconds, event loop time
    outputs: asyncio.Future[Outputs]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The inputs' shapes without the rows; only requests of equal shapes share a run.

        A list of photos or known cells counts as one of _FEW or of the next power of two: `_joined`
        pads it, to at most twice its length, or to a few.
        """
        return {
            name: (max(_FEW, 1 << (array.shape[1] - 1).bit_length()),)
            if _is_lists(array)
            else array.shape[1:]
            for name, array in self.inputs.items()
        }


class Queue:
    """The queue of one signature."""

    def __init__(self, signature: Signature, workers: Workers):
        self._signature = signature
        self._workers = workers
        self._waiting: deque[_Request] = deque()
        self._rows = 0
        self._arrived = asyncio.Event()
        self._collecting: asyncio.Task | None = None
        self._running: set[asyncio.Task] = set()

    async def submit(self, inputs: Arrays, rows: int) -> Outputs:
        """Return the outputs of these rows, at most `batch_size` of them.

        Raises:
          ServingError: if the queue is full, or as in `Signature.run`.
          tf.errors.OpError: if the graph rejects the inputs.
        """
        self._workers.admit(rows)
        loop = asyncio.get_running_loop()
        request = _Request(inputs, rows, loop.time(), loop.create_future())
        self._waiting.append(request)
        self._rows += rows
        self._arrived.set()
        if self._collecting is None or self._collecting.done():
            self._collecting = loop.create_task(self._collect())
        return await request.outputs

    async def _collect(self) -> None:
        while self._waiting:
            await self._fill()
            await self._workers.slots.acquire()
            task = asyncio.get_running_loop().create_task(self._run_slot(self._take()))
            self._running.add(task)  # the loop itself keeps weak references only
            task.add_done_callback(self._running.discard)

    async def _fill(self) -> None:
        """Wait until a batch is full or its first row has waited for `delay` seconds."""
        limits, loop = self._workers.limits, asyncio.get_running_loop()
        until = self._waiting[0].arrived + limits.delay
        while self._rows < limits.batch_size and loop.time() < until:
            self._arrived.clear()
            waiting = asyncio.ensure_future(self._arrived.wait())
            await asyncio.wait([waiting], timeout=until - loop.time())
            waiting.cancel()

    async def _run_slot(self, batch: Sequence[_Request]) -> None:
        try:
            if batch:
                await self._answer(batch)
        finally:
            self._workers.slots.release()

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        rows = 0
        while self._waiting and rows + self._waiting[0].rows <= self._workers.limits.batch_size:
            if batch and self._waiting[0].shapes != batch[0].shapes:
                break  # products of many more photos or known cells
            request = self._waiting.popleft()
            self._rows -= request.rows
            self._workers.count(-request.rows)
            if not request.outputs.done():  # the client may have disconnected
                batch.append(request)
                rows += request.rows
        return batch

    async def _answer(self, batch: Sequence[_Request]) -> None:
        result = (await asyncio.gather(self._run(batch), return_exceptions=True))[0]
        if isinstance(result, Exception) and len(batch) > 1:
            half = len(batch) // 2  # so that a bad request fails alone
            await self._answer(batch[:half])
            await self._answer(batch[half:])
            return
        start = 0
        for request in batch:
            rows = slice(start, start + request.rows)
            start += request.rows
            if request.outputs.done():
                continue
            if isinstance(result, BaseException):
                request.outputs.set_exception(result)
            else:
                request.outputs.set_result({name: a[rows] for name, a in result.items()})

    async def _run(self, batch: Sequence[_Request]) -> Outputs:
        rows = sum(request.rows for request in batch)
        inputs = batch[0].inputs
        if len(batch) > 1:
            inputs = {
                name: _joined([request.inputs[name] for request in batch])  # [B, ...]
                for name in self._signature.inputs
            }
        with self._workers.metrics.batch(self._signature.name, rows):
            outputs = await asyncio.get_running_loop().run_in_executor(
                self._workers.threads, self._signature.run, inputs
            )
        for name, array in outputs.items():
            if array.shape[:1] != (rows,):
                raise ServingError(
                    Code.INTERNAL, f"output {name} has the shape {array.shape} for {rows} rows"
                )
        return outputs


def _is_lists(array: np.ndarray) -> bool:
    """Return whether an input is string [B, N], whose rows are padded with ""."""
    return array.dtype == object and array.ndim == 2


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows of all arrays; lists of texts are padded to equal length."""
    if not _is_lists(arrays[0]):
        return np.concatenate(arrays)
    longest = max(array.shape[1] for array in arrays)
    missing = [np.full([len(a), longest - a.shape[1]], b"", object) for a in arrays]
    return np.concatenate([np.hstack(pair) for pair in zip(arrays, missing)])


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
    def hold(self) -> Iterator[HeldBytes]:
        """Hold the bytes of one request; release them at the end."""
        held = HeldBytes(self)
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


class HeldBytes:
    """The bytes of one request."""

    def __init__(self, pending: PendingBytes):
        self.size = 0
        self._pending = pending

    async def grow(self, size: int) -> None:
        """Hold more bytes; raise ServingError if there is no room for them."""
        await self._pending.add(size, self.size)
        self.size += size
