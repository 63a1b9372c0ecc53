"""Benchmark of branches and loss by number of attributes and of values, without the trunk."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from attr_extractor.config import Config
from attr_extractor.model.branches import Branches
from attr_extractor.model.loss import MaskedLoss
from attr_extractor.schema import Attribute, Schema

CHANNELS = 1280  # of EfficientNet-B0
# (attributes, total number of values): the paper has 49 and about 1,900
MORE_ATTRIBUTES = [(attributes, 39 * attributes) for attributes in (10, 49, 200, 500)]
MORE_VALUES = [(49, values) for values in (500, 2_000, 20_000)]


@dataclass(frozen=True)
class Row:
    """Line of the table."""

    attributes: int
    values: int
    ops: int  # nodes in the forward graph of the branches layer
    parameters: int
    step_s: float  # median; forward, loss and backward for one batch of pooled features


def measure(config: Config, steps: int = 5) -> list[Row]:
    """Measure branches of `model.hidden` with batches of `data.batch_size` for each size above."""
    cases = tqdm([*MORE_ATTRIBUTES, *MORE_VALUES], desc="measuring", unit="size")
    return [measure_size(config, *case, steps) for case in cases]


def measure_size(config: Config, attributes: int, values: int, steps: int) -> Row:
    """Measure one line of the table; values are spread evenly over the attributes."""
    schema = even_schema(attributes, values)
    layer = Branches(schema.sizes, config.model.hidden)
    equation_1 = MaskedLoss(schema, config.loss)
    generator = np.random.default_rng(0)
    batch = config.data.batch_size
    pooled = tf.constant(generator.normal(size=[batch, CHANNELS]), tf.float32)
    labels = tf.constant(generator.integers(-1, 2, [batch, values]), tf.int8)
    graph = tf.function(layer).get_concrete_function(pooled).graph

    @tf.function
    def step(pooled: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            sums = equation_1.sums(layer(pooled), labels)
            value = equation_1.total(sums, equation_1.counts(labels))
        return tape.gradient(value, layer.trainable_variables)

    traced = step.get_concrete_function(pooled, labels)
    seconds = []
    for _ in range(1 + steps):  # the first one allocates memory
        start = time.perf_counter()
        traced(pooled, labels)[-1].numpy()  # waits for the device
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds[1:]))
    ops = len(graph.get_operations())
    return Row(attributes, values, ops, int(layer.count_params()), median)


def even_schema(attributes: int, values: int) -> Schema:
    """Return a schema whose attributes have the same number of values, or one more."""
    few, left = divmod(values, attributes)
    sizes = [few + (t < left) for t in range(attributes)]
    made = [
        Attribute(name=f"attribute_{t}", values=[f"value {v}" for v in range(size)])
        for t, size in enumerate(sizes)
    ]
    return Schema(name="even", category="attribute_0", attributes=made)


def table(rows: list[Row]) -> str:
    """Return the rows as text."""
    lines = [f"{'attributes':>10}{'values':>10}{'graph ops':>11}{'parameters':>14}{'step':>12}"]
    for row in rows:
        lines.append(
            f"{row.attributes:10,}{row.values:10,}{row.ops:11,}{row.parameters:14,}"
            f"{1000 * row.step_s:9.1f} ms"
        )
    return "\n".join(lines)
