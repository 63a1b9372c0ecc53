"""From logits to scores: temperatures, then a sigmoid, or a softmax over an exclusive attribute."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from attr_extractor.config import ModelConfig
from attr_extractor.model.per_attribute import log_softmax
from attr_extractor.schema import Schema


@dataclass(frozen=True)
class Scoring:
    """The rule from logits to scores."""

    schema: Schema
    softmax: np.ndarray  # bool [V]: whether a score is a softmax over its attribute's values
    temperatures: np.ndarray  # float32 [V], equal within an attribute: divisors of the logits

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
