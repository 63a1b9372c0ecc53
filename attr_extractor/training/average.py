"""Moving average of a network's weights (Polyak and Juditsky 1992), including normalisation.

    a <- a + (1 - m) (w - a),  m = min(momentum, (1 + step) / (10 + step))

The smaller m at the start quickly discards the first steps, in which the weights change most.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


class MovingAverage(tf.Module):
    """Averages of a network's weights, saved with the network; integers, which are fixed, aside."""

    def __init__(self, weights: list[Any], momentum: float):
        super().__init__(name="moving_average")
        self.momentum = momentum
        self._weights = [w for w in weights if tf.as_dtype(w.dtype).is_floating]
        self.averages = [
            tf.Variable(
                weight,
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for weight in self._weights
        ]

    def update(self, step: tf.Tensor) -> None:
        """Move the averages towards the weights after a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        share = 1.0 - tf.minimum(self.momentum, (1.0 + step) / (10.0 + step))
        for average, weight in zip(self.averages, self._weights):
            average.assign_sub(share * (average - weight))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this context, use the averages as the network's weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for average, weight in zip(self.averages, self._weights):
            value = tf.identity(weight)
            weight.assign(average)
            average.assign(value)


class ValidateAverage(keras.callbacks.Callback):
    """Callback that validates with the averages as weights, if the model has averages."""

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._stack = contextlib.ExitStack()
        if self.model.average is not None:
            self._stack.enter_context(self.model.average.in_place())

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._stack.close()
