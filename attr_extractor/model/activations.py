"""SiLU and ReLU6 as XLA loops, for the cases in which TensorFlow's own ops are slow on a CPU.

TensorFlow computes the gradient of SiLU, x * sigmoid(x), in six ops, each of which is a pass over a
map as large as the trunk's largest. XLA compiles them to one loop. TensorFlow computes ReLU6 in
bfloat16 element by element, two to four times slower than the loop; in float32 it is as fast. The
exported model is float32 and computes SiLU with TensorFlow's op, so it contains no XLA.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("attr_extractor")
def fused_silu(features: tf.Tensor) -> tf.Tensor:
    """Compute x * sigmoid(x) for any shape and float type."""
    return _silu(features)  # Keras cannot save the result of custom_gradient: it has no name


@keras.utils.register_keras_serializable("attr_extractor")
def fused_relu6(features: tf.Tensor) -> tf.Tensor:
    """Compute min(max(x, 0), 6) for any shape and float type."""
    return _relu6(features) if features.dtype == tf.bfloat16 else tf.nn.relu6(features)


@tf.custom_gradient
def _silu(features: tf.Tensor) -> tuple[tf.Tensor, Any]:
    return tf.nn.silu(features), lambda upstream: _silu_gradient(features, upstream)


@tf.function(jit_compile=True)
def _silu_gradient(features: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Compute upstream * (s + x * s * (1 - s)) in float32, with s = sigmoid(x)."""
    x, dy = tf.cast(features, tf.float32), tf.cast(upstream, tf.float32)
    s = tf.sigmoid(x)
    return tf.cast(dy * s * (1.0 + x * (1.0 - s)), features.dtype)


@tf.custom_gradient
def _relu6(features: tf.Tensor) -> tuple[tf.Tensor, Any]:
    outputs = _clipped(features)
    return outputs, lambda upstream: _relu6_gradient(outputs, upstream)


@tf.function(jit_compile=True)
def _clipped(features: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.cast(features, tf.float32), 0.0, 6.0), features.dtype)


@tf.function(jit_compile=True)
def _relu6_gradient(outputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Return the upstream gradient where the output is between 0 and 6, and 0 elsewhere."""
    return tf.where((outputs > 0) & (outputs < 6), upstream, tf.zeros_like(upstream))
