"""SiLU, x * sigmoid(x), with a gradient that XLA fuses into one pass over memory.

TensorFlow computes the gradient in six operations, each a pass over a map as large as the trunk's
largest; XLA compiles them to one loop. The forward direction is
TensorFlow's own, so nothing that is exported holds XLA.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("attr_extractor")
def fused_silu(features: tf.Tensor) -> tf.Tensor:
    """x * sigmoid(x) of any shape and float type."""
    return _with_gradient(features)  # what custom_gradient makes has no name to be saved by


@tf.custom_gradient
def _with_gradient(features: tf.Tensor) -> tuple[tf.Tensor, Any]:
    return tf.nn.silu(features), lambda upstream: _gradient(features, upstream)


@tf.function(jit_compile=True)
def _gradient(features: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """upstream * (s + x * s * (1 - s)) with s = sigmoid(x), inside in float32."""
    x, dy = tf.cast(features, tf.float32), tf.cast(upstream, tf.float32)
    s = tf.sigmoid(x)
    return tf.cast(dy * s * (1.0 + x * (1.0 - s)), features.dtype)
