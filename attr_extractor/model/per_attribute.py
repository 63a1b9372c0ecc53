"""Reductions from values to their attributes: [B, V] -> [B, T].

They are segment reductions and not products with a 0/1 matrix: a GPU may compute float32 products
in TF32, which would round the loss. They are unsorted because XLA supports no other kind.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.schema import Schema


def sum_values(quantity: tf.Tensor, schema: Schema) -> tf.Tensor:
    """Sum a quantity (bool or number) over the values of each attribute: float32 [B, T]."""
    wide = tf.transpose(tf.cast(quantity, tf.float32))  # [V, B]
    size = len(schema.attributes)
    return tf.transpose(tf.math.unsorted_segment_sum(wide, schema.attribute_of_value, size))


def any_value(where: tf.Tensor, schema: Schema) -> tf.Tensor:
    """Return whether any value of each attribute is marked: bool [B, V] -> bool [B, T]."""
    return sum_values(where, schema) > 0


def is_first_highest(scores: tf.Tensor, schema: Schema) -> tf.Tensor:
    """Mark the highest score of each attribute, the first one if tied: bool [B, V]."""
    owner, size = schema.attribute_of_value, len(schema.attributes)
    transposed = tf.transpose(scores)  # [V, B]
    highest = tf.gather(tf.math.unsorted_segment_max(transposed, owner, size), owner)  # [V, B]
    # a maximum of floats: tf2onnx and OpenVINO convert no minimum over integer segments
    before_end = schema.num_values - tf.range(schema.num_values, dtype=tf.float32)  # V, ..., 1
    candidates = tf.where(transposed == highest, before_end[:, tf.newaxis], 0.0)  # [V, B]
    first = tf.gather(tf.math.unsorted_segment_max(candidates, owner, size), owner)
    return tf.transpose(before_end[:, tf.newaxis] == first)


def log_softmax(logits: tf.Tensor, schema: Schema) -> tf.Tensor:
    """Compute log-softmax over each attribute's values: float32 [B, V] -> float32 [B, V]."""
    owner, size = schema.attribute_of_value, len(schema.attributes)
    wide = tf.transpose(logits)  # [V, B]
    highest = tf.stop_gradient(tf.math.unsorted_segment_max(wide, owner, size))  # [T, B]
    shifted = wide - tf.gather(highest, owner)
    total = tf.math.unsorted_segment_sum(tf.exp(shifted), owner, size)  # [T, B]
    return tf.transpose(shifted - tf.gather(tf.math.log(total), owner))
