"""Test the queues: requests share batches, excess ones are rejected, bad ones fail alone."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.serving.server.batching import Limits, Queue, Workers
from attr_extractor.serving.server.loaded import Signature
from attr_extractor.serving.server.metrics import Metrics
from attr_extractor.serving.server.status import Code, ServingError

X = tf.TensorSpec([None], tf.float32, "x")
Y = tf.TensorSpec([None], tf.float32, "y")
NEGATIVE = tf.errors.InvalidArgumentError(None, None, "negative")


class Doubles:
    """A graph of y = 2 x; a negative x fails the whole batch, as in tf.io.parse_example."""

    def __init__(self, error: Exception = NEGATIVE) -> None:
        self.error = error
        self.batches: list[list[float]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        self.batches.append(x.tolist())
        assert self.goes_on.wait(30)
        if (x < 0).any():
            raise self.error
        return [2 * x]


def serve(scenario, function=None, **limits):
    """Run `scenario(submit, function, workers)` in an event loop."""
    function = function or Doubles()

    async def main():
        workers = Workers(Limits(**{"parallel": 1, "delay": 0.05, **limits}), Metrics())
        queue = Queue(Signature("double", {"x": X}, {"y": Y}, function), workers)

        def submit(*values: float):
            return asyncio.ensure_future(
                queue.submit({"x": np.array(values, np.float32)}, len(values))
            )

        return await scenario(submit, function, workers)

    return asyncio.run(main())


def test_concurrent_requests_share_a_batch_and_get_their_own_rows():
    async def scenario(submit, function, _workers):
        found = await asyncio.gather(submit(1), submit(2, 3), submit(4))
        assert [answer["y"].tolist() for answer in found] == [[2], [4, 6], [8]]
        assert function.batches == [[1, 2, 3, 4]]

    serve(scenario)


def test_lists_of_texts_are_padded_to_share_a_batch_unless_one_is_much_longer():
    lists = tf.TensorSpec([None, None], tf.string, "known")
    runs: list[list[list[bytes]]] = []

    def joined(known: np.ndarray) -> list[np.ndarray]:
        runs.append(known.tolist())
        return [np.array([b"".join(row) for row in known], object)]

    async def main():
        workers = Workers(Limits(parallel=1, delay=0.05), Metrics())
        output = tf.TensorSpec([None], tf.string, "y")
        queue = Queue(Signature("joined", {"known": lists}, {"y": output}, joined), workers)
        sent = [[[b"a"]], [[b"b", b"c"], [b"d", b""]], [[]], [[b"e"] * 17]]
        arrays = [np.array(rows, object).reshape(len(rows), -1) for rows in sent]
        requests = (queue.submit({"known": array}, len(array)) for array in arrays)
        found = await asyncio.gather(*requests)
        assert [answer["y"].tolist() for answer in found] == [
            [b"a"], [b"bc", b"d"], [b""], [b"e" * 17],
        ]  # fmt: skip

    asyncio.run(main())
    assert runs == [[[b"a", b""], [b"b", b"c"], [b"d", b""], [b"", b""]], [[b"e"] * 17]]


def test_batches_respect_their_size_and_keep_the_order():
    async def scenario(submit, function, _workers):
        await asyncio.gather(*(submit(i, i) for i in range(5)))
        assert function.batches == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4]]

    serve(scenario, batch_size=3)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NEGATIVE, tf.errors.InvalidArgumentError),
        # TensorFlow quotes the input in a message that it cannot read itself
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), ServingError),
        (TypeError("a bug"), TypeError),
    ],
)
def test_a_request_that_the_graph_rejects_fails_alone(error, kind):
    async def scenario(submit, function, workers):
        asked = (submit(x) for x in (1, 2, -1, 3, 4, 5, 6, 7))
        found = await asyncio.gather(*asked, return_exceptions=True)
        failed = found.pop(2)
        assert isinstance(failed, kind)
        assert kind is not ServingError or failed.code is Code.INVALID_ARGUMENT
        assert [answer["y"].tolist() for answer in found] == [[2], [4], [6], [8], [10], [12], [14]]
        assert len(function.batches) == 7  # halved until the bad row is alone
        page = workers.metrics.page().decode()
        for figure in ("rows", "seconds"):  # of failed runs too
            assert f'batch_{figure}_count{{signature="double"}} 7.0' in page

    serve(scenario, function=Doubles(error), batch_size=8)


def test_a_full_queue_rejects_at_once_and_recovers():
    async def scenario(submit, function, workers):
        function.goes_on.clear()
        running = submit(1)
        await asyncio.sleep(0.3)  # it has left the queue
        waiting = [submit(2), submit(3)]
        with pytest.raises(ServingError) as refused:
            await submit(4)
        assert (refused.value.code, refused.value.http) == (Code.RESOURCE_EXHAUSTED, 429)
        function.goes_on.set()
        assert len(await asyncio.gather(running, *waiting)) == 3
        assert (await submit(5))["y"].tolist() == [10]
        assert workers.waiting_rows == 0

    serve(scenario, waiting_rows=2)


def test_a_cancelled_request_is_not_computed_and_shifts_no_rows():
    async def scenario(submit, function, _workers):
        function.goes_on.clear()
        first = submit(1)
        await asyncio.sleep(0.3)
        gone, stays = submit(2), submit(3)
        await asyncio.sleep(0)
        gone.cancel()
        function.goes_on.set()
        assert (await stays)["y"].tolist() == [6]
        await first
        assert function.batches == [[1], [3]]

    serve(scenario)


def test_a_request_cancelled_during_its_batch_shifts_no_rows():
    async def scenario(submit, function, _workers):
        function.goes_on.clear()
        gone, stays = submit(1), submit(2)
        while not function.batches:
            await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        function.goes_on.set()
        assert (await stays)["y"].tolist() == [4]

    serve(scenario)


def test_an_output_with_too_few_rows_is_an_error():
    async def scenario(submit, _function, _workers):
        with pytest.raises(ServingError, match="output y has the shape"):
            await submit(1, 2)

    serve(scenario, function=lambda x: [x[:1]])
