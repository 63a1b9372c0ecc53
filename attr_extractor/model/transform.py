"""Affine resampling of a batch of photos."""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.model import keras_versions


def resample(photos: tf.Tensor, matrices: tf.Tensor, fill_mode: str) -> tf.Tensor:
    """Each output pixel read, bilinearly, from where its photo's matrix puts it.

    Args:
      photos: [B, H, W, C] of any float type.
      matrices: float32 [B, 3, 3], from output (x, y, 1) to input, last row (0, 0, 1).
      fill_mode: what lies outside: `nearest`, `reflect`, or `constant` (black).

    Returns:
      The same shape and dtype.
    """
    eight = tf.reshape(matrices, [-1, 9])[:, :8]  # [B, 8]: the ninth entry is 1
    # the op knows no bfloat16
    moved = keras_versions.affine_transform(tf.cast(photos, tf.float32), eight, fill_mode)
    return tf.cast(tf.ensure_shape(moved, photos.shape), photos.dtype)
