"""From logits to scores: temperatures, then a sigmoid, or a softmax over an exclusive attribute.

What is known besides the photo changes a score by its evidence, see model/evidence.py.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from attr_extractor.config import ModelConfig
from attr_extractor.model.per_attribute import any_value, log_softmax
from attr_extractor.schema import Schema

TINY = 1e-30


@dataclass(frozen=True)
class Scoring:
    """The rule from logits to scores."""

    schema: Schema
    softmax: np.ndarray  # bool [V]: whether a score is a softmax over its attribute's values
    temperatures: np.ndarray  # float32 [V], equal within an attribute: divisors of the logits
    trust: np.ndarray  # float32 [V], equal within an attribute: factors of the evidence

    def in_context(self, scores: tf.Tensor, evidence: tf.Tensor) -> tf.Tensor:
        """Add evidence to scores, float32 [B, V]; without any, a score does not change.

        Args:
          scores: float32 [B, V] in 0 .. 1.
          evidence: float32 [B, V], in log-odds, before `trust`.
        """
        added = evidence * self.trust
        inside = tf.clip_by_value(scores, TINY, 1.0 - 2.0**-24)  # log-odds of 1 are infinite
        log_odds = tf.math.log(inside) - tf.math.log1p(-inside)
        result = tf.sigmoid(log_odds + added)
        if self.softmax.any():
            of_softmax = tf.exp(log_softmax(tf.math.log(inside) + added, self.schema))
            result = tf.where(self.softmax, of_softmax, result)
            # its scores depend on the evidence for all values of the attribute
            silent = tf.gather(
                ~any_value(added != 0.0, self.schema), self.schema.attribute_of_value, axis=1
            )
            return tf.where(silent, scores, result)
        return tf.where(added == 0.0, scores, result)

    def with_temperatures(self, temperatures: np.ndarray) -> Scoring:
        """Return the same rule with other temperatures, float32 [V]."""
        return dataclasses.replace(self, temperatures=temperatures)

    def scores_of(self, logits: tf.Tensor) -> tf.Tensor:
        """Compute scores from logits, float32 [B, V]."""
        logits = logits / self.temperatures
        scores = tf.sigmoid(logits)
        if not self.softmax.any():
            return scores
        return tf.where(self.softmax, tf.exp(log_softmax(logits, self.schema)), scores)


def softmax_values(schema: Schema, config: ModelConfig) -> np.ndarray:
    """Return which scores are a softmax over their attribute instead of a sigmoid, bool [V]."""
    return schema.exclusive & (config.exclusive_output == "softmax")
