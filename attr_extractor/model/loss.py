"""Equation 1 of the paper: binary cross-entropy over every value, with missing labels masked.

L = sum over attributes t of  w_t * (1 / N_t) * sum over the batch of  mask * sum over values c of
    -[ y log p + (1 - y) log(1 - p) ]

The mask is per value. An attribute that is missing as a whole is -1 in all its values, so this
equals the paper's mask per sample and attribute, and also covers `unlisted: missing`. The config
can replace the inner bracket by focal loss (Lin et al. 2017), asymmetric loss (Ridnik et al. 2021)
or a softmax over exclusive attributes, and can weight it by effective numbers (Cui et al. 2019).
A label y may be soft, a probability: its bracket is y times that of a present value plus 1 - y
times that of an absent one, the expected loss. `loss.missing` selects another use of missing labels
than the mask, see partial_labels.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from attr_extractor.config import LossConfig
from attr_extractor.labels import MISSING
from attr_extractor.model.per_attribute import any_value, log_softmax, sum_values
from attr_extractor.schema import Schema

TINY = 1e-30  # float32 can represent the gradients of its powers


@dataclass(frozen=True)
class MaskedLoss:
    """Equation 1 for a schema and a config.

    Sums and counts are separate because each adds up exactly over replicas; their ratios do not.
    """

    schema: Schema
    config: LossConfig
    softmax: np.ndarray | None = None  # bool [V]: True for softmax scores, False for sigmoid
    weights: np.ndarray | None = None  # float32 [V], applied to present values

    def of_values(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Return the inner bracket of every value, 0 for missing labels.

        It is computed from logits in float32. Missing labels are replaced before the logarithm:
        masking by a product would keep a NaN. For a softmax the bracket is -log p of the present
        value; an attribute that does not apply has no present value and adds 0.

        Args:
          logits: [B, V].
          labels: int8 [B, V] of 1, 0, -1; or float32 [B, V] of 0 .. 1 and -1.

        Returns:
          float32 [B, V].
        """
        known = labels != MISSING  # [B, V]
        z = tf.where(known, tf.cast(logits, tf.float32), 0.0)
        y = tf.where(known, tf.cast(labels, tf.float32), 0.0)
        present, absent = _BRACKETS[self.config.kind](z, self.config)
        if self.softmax is not None and self.softmax.any():
            surprise = -log_softmax(z, self.schema)  # an exclusive attribute is missing as a whole
            present = tf.where(self.softmax, surprise, present)
            absent = tf.where(self.softmax, 0.0, absent)
        if self.weights is not None:
            present *= tf.constant(self.weights, tf.float32)
        return tf.where(known, y * present + (1.0 - y) * absent, 0.0)

    def sums(
        self, logits: tf.Tensor, labels: tf.Tensor, shares: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the loss of each attribute, float32 [T], summed over samples with a known label.

        Args:
          shares: float32 [B], weight of each sample; 1 if not given.
        """
        per_attribute = sum_values(self.of_values(logits, labels), self.schema)  # [B, T]
        if self.config.reduce_values == "mean":
            known_values = sum_values(labels != MISSING, self.schema)  # [B, T]
            per_attribute = tf.math.divide_no_nan(per_attribute, known_values)
        if shares is not None:
            per_attribute *= shares[:, tf.newaxis]
        return tf.reduce_sum(per_attribute, axis=0)  # [T]

    def counts(self, labels: tf.Tensor) -> tf.Tensor:
        """Return N_t, float32 [T]: the number of samples that divides each attribute's loss."""
        if self.config.normalize_by == "batch" or self.config.missing != "mask":
            size = tf.cast(tf.shape(labels)[0], tf.float32)
            return tf.fill([len(self.schema.attributes)], size)
        known = any_value(labels != MISSING, self.schema)  # [B, T]
        return tf.reduce_sum(tf.cast(known, tf.float32), axis=0)

    def total(self, sums: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum over attributes of sums / counts; a count of 0 adds 0."""
        weights = tf.constant([a.weight for a in self.schema.attributes], tf.float32)
        return tf.reduce_sum(weights * tf.math.divide_no_nan(sums, counts))


def effective_number_weights(counts: np.ndarray, schema: Schema, beta: float) -> np.ndarray:
    """Return (1 - beta) / (1 - beta^n) for each value, float32 [V].

    The weights are scaled to a mean of 1 over the values of an attribute with a count above 0.

    Args:
      counts: int [V], how often each value is present in the training labels. A value with count
        0, which only soft labels can have, gets the largest weight of its attribute.
    """
    weights = (1 - beta) / (1 - np.power(beta, np.maximum(counts, 1)))
    for values in schema.slices.values():
        is_seen = counts[values] > 0
        seen = weights[values][is_seen] if is_seen.any() else np.ones(1)
        weights[values] = np.where(is_seen, weights[values], seen.max()) / seen.mean()
    return weights.astype(np.float32)


def _cross_entropy(z: tf.Tensor, config: LossConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute -log p and -log(1 - p)."""
    return tf.nn.softplus(-z), tf.nn.softplus(z)


def _focal(z: tf.Tensor, config: LossConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute (1 - p of the right answer)^gamma times the cross-entropy."""
    present, absent = _cross_entropy(z, config)
    return _power(tf.sigmoid(-z), config.gamma) * present, _power(
        tf.sigmoid(z), config.gamma
    ) * absent


def _asymmetric(z: tf.Tensor, config: LossConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute (1-p)^g+ -log p if present, q^g -log(1-q) with q = max(p - margin, 0) if absent."""
    q = tf.maximum(tf.sigmoid(z) - config.margin, 0.0)
    present = _power(tf.sigmoid(-z), config.gamma_present) * tf.nn.softplus(-z)
    if config.margin:  # 1 - q, from 1 - p: at least the margin for any score
        absent = -tf.math.log(tf.minimum(tf.sigmoid(-z) + config.margin, 1.0))
    else:
        absent = tf.nn.softplus(z)
    return present, _power(q, config.gamma) * absent


def _power(base: tf.Tensor, exponent: float) -> tf.Tensor:
    """Compute base^exponent for 0 <= base <= 1, with gradient 0 at 0.

    TensorFlow's gradient at 0 is exponent * 0^(exponent - 1): infinite for exponents below 1, and
    NaN if multiplied by 0.
    """
    if exponent == 0:
        return tf.ones_like(base)
    positive = base > TINY
    return tf.where(positive, tf.where(positive, base, 1.0) ** exponent, 0.0)


# logits [B, V] -> the brackets of a present and of an absent value
_BRACKETS = {"cross_entropy": _cross_entropy, "focal": _focal, "asymmetric": _asymmetric}
