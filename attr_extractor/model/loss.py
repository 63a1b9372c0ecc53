"""Equation 1 of the paper: binary cross-entropy over every value, missing labels masked.

L = sum over attributes t of  w_t * (1 / N_t) * sum over the batch of  mask * sum over values c of
    -[ y log p + (1 - y) log(1 - p) ]

The mask stands per value: an attribute missing as a whole is -1 in all its values, so it equals the
paper's mask per sample and attribute, and covers `unlisted: missing` as well.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.config import Loss
from attr_extractor.labels import MISSING
from attr_extractor.model.per_attribute import sum_values
from attr_extractor.schema import Schema


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of every value, 0 where its label is missing.

    Computed from logits in float32 as max(z, 0) - z*y + log(1 + exp(-|z|)). The missing ones are
    replaced before the logarithm is taken: masking by a product would keep a NaN.

    Args:
      logits: [B, V].
      labels: int8 [B, V] of 1, 0, -1.

    Returns:
      float32 [B, V].
    """
    known = labels != MISSING  # [B, V]
    logits = tf.where(known, tf.cast(logits, tf.float32), 0.0)
    targets = tf.where(known, tf.cast(labels, tf.float32), 0.0)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)  # [B, V]
    return tf.where(known, entropy, 0.0)


def sum_and_count(
    logits: tf.Tensor, labels: tf.Tensor, schema: Schema, config: Loss
) -> tuple[tf.Tensor, tf.Tensor]:
    """The two halves of each attribute's mean loss, which add up exactly over replicas.

    Returns:
      sums float32 [T]: loss summed over samples with a known label.
      counts float32 [T]: N_t, the samples it is divided by.
    """
    per_attribute = sum_values(cross_entropy(logits, labels), schema)  # [B, T]
    known_values = sum_values(labels != MISSING, schema)  # [B, T]
    if config.reduce_values == "mean":
        per_attribute = tf.math.divide_no_nan(per_attribute, known_values)
    sums = tf.reduce_sum(per_attribute, axis=0)  # [T]
    if config.normalize_by == "batch":
        counts = tf.ones_like(sums) * tf.cast(tf.shape(labels)[0], tf.float32)
    else:
        counts = tf.reduce_sum(tf.cast(known_values > 0, tf.float32), axis=0)
    return sums, counts


def total(sums: tf.Tensor, counts: tf.Tensor, schema: Schema) -> tf.Tensor:
    """The weighted sum over attributes of sums / counts; an attribute never seen adds 0."""
    weights = tf.constant([attribute.weight for attribute in schema.attributes], tf.float32)
    return tf.reduce_sum(weights * tf.math.divide_no_nan(sums, counts))
