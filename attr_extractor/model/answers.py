"""Post-processing of scores to answers, with the same ops in the served graph and in Python.

Values with a score above the threshold are kept; for an exclusive attribute, only the best of them.
If no value is left, the attribute has no answer. Values that the given category does not allow are
never answered. With gating, the predicted category is used if no category is given; if the category
has no answer, no value is suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from attr_extractor.model.per_attribute import any_value, is_first_highest
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.schema import Schema

MAX_ANSWERS = 5  # per attribute that may have several values


@dataclass(frozen=True)
class Answers:
    """Rules that turn scores into answers."""

    schema: Schema
    thresholds: np.ndarray  # float32 [V]
    gate_by_category: bool = False

    def chosen(
        self,
        scores: tf.Tensor,
        threshold: tf.Tensor | None = None,
        category: tf.Tensor | None = None,
        always: bool = False,
    ) -> tf.Tensor:
        """Return the mask of answered values.

        Args:
          scores: float32 [B, V].
          threshold: float32 scalar or [B, 1] that replaces the model's thresholds.
          category: int32 [B], the given category of each product, or -1 if none is given.
          always: whether to answer the best allowed value if none is above the threshold.

        Returns:
          bool [B, V].
        """
        limits = tf.constant(self.thresholds) if threshold is None else threshold
        allowed = tf.ones_like(scores, tf.bool)
        if self.gate_by_category:
            answered = self._answered_category(scores, limits)  # [B]
            category = answered if category is None else tf.where(category < 0, answered, category)
        if category is not None:
            rows = tf.gather(tf.constant(self.schema.allowed), tf.maximum(category, 0))  # [B, V]
            allowed = rows | (category < 0)[:, tf.newaxis]
        eligible = allowed & (scores > limits)
        if always:
            none = tf.logical_not(any_value(eligible, self.schema))  # [B, T]
            none = tf.gather(none, self.schema.attribute_of_value, axis=1)  # [B, V]
            best = is_first_highest(tf.where(allowed, scores, -1.0), self.schema)
            eligible |= none & allowed & best
        return self._best_of_exclusive(scores, eligible)

    def _answered_category(self, scores: tf.Tensor, limits: tf.Tensor) -> tf.Tensor:
        """Return the index of the answered category, int32 [B], or -1 without an answer."""
        kept = self._best_of_exclusive(scores, scores > limits)
        kept = kept[:, self.schema.slices[self.schema.category]]  # [B, C]
        position = tf.argmax(tf.cast(kept, tf.int32), axis=1, output_type=tf.int32)
        return tf.where(tf.reduce_any(kept, axis=1), position, -1)

    def best(self, scores: tf.Tensor) -> tf.Tensor:
        """Return the mask of each attribute's best value, bool [B, V], regardless of thresholds."""
        return is_first_highest(scores, self.schema)

    def _best_of_exclusive(self, scores: tf.Tensor, eligible: tf.Tensor) -> tf.Tensor:
        """Return the eligible values, bool [B, V]; for exclusive attributes, only the best one."""
        best = is_first_highest(tf.where(eligible, scores, -1.0), self.schema)
        return eligible & (best | tf.constant(~self.schema.exclusive))

    def agree(self, scores: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return for which cells two scores float32 [N, V] have the same answer: bool [N, T]."""
        changed = self.chosen(tf.constant(scores)) != self.chosen(tf.constant(others))  # [N, V]
        starts = [columns.start for columns in self.schema.slices.values()]
        return ~np.logical_or.reduceat(changed.numpy(), starts, axis=1)

    def strings(self, scores: tf.Tensor, chosen: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the served answer: each attribute's values, best first, and their scores.

        Returns:
          `<name>` string [B, K] padded with "", `<name>_score` float32 [B, K] padded with 0;
          K = 1 for an exclusive attribute, else at most MAX_ANSWERS.
        """
        outputs: dict[str, tf.Tensor] = {}
        for attribute in self.schema.attributes:
            where = self.schema.slices[attribute.name]
            size = 1 if attribute.exclusive else min(MAX_ANSWERS, len(attribute.values))
            candidates = tf.where(chosen[:, where], scores[:, where], -1.0)  # [B, V_t]
            top, index = tf.math.top_k(candidates, size)  # [B, K]
            words = tf.gather(tf.constant(attribute.values), index)
            outputs[attribute.name] = tf.where(top >= 0, words, "")
            outputs[f"{attribute.name}_score"] = tf.maximum(top, 0.0)
        return outputs


def default_thresholds(schema: Schema) -> np.ndarray:
    """Return the schema's threshold of each value's attribute, float32 [V]."""
    return Thresholds.of_schema(schema).per_value(schema)
