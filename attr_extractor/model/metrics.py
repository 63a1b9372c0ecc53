"""Equation 2 of the paper: |Y and P| / |Y or P| per sample, over samples with a known label.

Y is the set of a sample's values, P the set of answered values; if both are empty, the score is 1.
The main metric is the mean over samples to which the attribute applies. The paper's metric is the
mean over all samples with a known label, which pairs of empty sets inflate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model.per_attribute import any_value, sum_values
from attr_extractor.schema import Schema


class Agreement(NamedTuple):
    """Equation 2 for every sample and attribute of a batch."""

    score: tf.Tensor  # float32 [B, T]
    known: tf.Tensor  # bool [B, T]: whether a label of the attribute is known
    applies: tf.Tensor  # bool [B, T]: whether it has a value; else it is known to have none


def agreement(labels: tf.Tensor, answers: tf.Tensor, schema: Schema) -> Agreement:
    """Compute equation 2 for every sample and attribute.

    Args:
      labels: int8 [B, V] of 1, 0, -1.
      answers: bool [B, V], the answered values.
    """
    present, known = labels == PRESENT, labels != MISSING  # [B, V]
    answers = answers & known  # a value whose label is missing can be neither right nor wrong

    union = sum_values(present | answers, schema)  # [B, T]
    common = sum_values(present & answers, schema)  # [B, T]
    return Agreement(
        score=tf.where(union > 0, common / tf.maximum(union, 1.0), 1.0),
        known=any_value(known, schema),
        applies=any_value(present, schema),
    )


@keras.utils.register_keras_serializable("attr_extractor")
class MeanPerAttribute(keras.metrics.Metric):
    """Means of T quantities, from sums and counts that are also summed over replicas.

    The result is the mean of the quantities' means over attributes with a count above 0. With
    `weights` [T] it is their weighted sum: equation 1 over all samples, for any split into batches.
    """

    def __init__(self, size: int, name: str, weights: Sequence[float] | None = None, **kwargs: Any):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.size = size
        self.attribute_weights = None if weights is None else list(weights)
        self.sums = self.add_weight(name="sums", shape=[size], initializer="zeros")
        self.counts = self.add_weight(name="counts", shape=[size], initializer="zeros")

    def update_state(self, sums: tf.Tensor, counts: tf.Tensor) -> None:
        """Add float [T] sums and counts."""
        self.sums.assign_add(sums)
        self.counts.assign_add(counts)

    def reset_state(self) -> None:
        """Start a new mean; Keras' own version supports only scalars."""
        for variable in (self.sums, self.counts):
            variable.assign(tf.zeros([self.size]))

    def per_attribute(self) -> tf.Tensor:
        """Return each mean, float32 [T], or NaN if its count is 0."""
        counts = tf.convert_to_tensor(self.counts)
        return tf.where(counts > 0, tf.convert_to_tensor(self.sums) / counts, float("nan"))

    def result(self) -> tf.Tensor:
        seen = tf.cast(tf.convert_to_tensor(self.counts) > 0, tf.float32)
        means = tf.math.divide_no_nan(tf.convert_to_tensor(self.sums), self.counts)
        if self.attribute_weights is not None:
            return tf.reduce_sum(means * self.attribute_weights)
        return tf.math.divide_no_nan(tf.reduce_sum(means * seen), tf.reduce_sum(seen))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "weights": self.attribute_weights}
