"""SiLU and ReLU6 as XLA loops where TensorFlow's own operations are slow on a CPU.

TensorFlow computes the gradient of SiLU, x * sigmoid(x), in six operations, each a pass over a map
as large as the trunk's largest; XLA compiles them to one loop. ReLU6 in bfloat16 is computed number
by number there, two to four times as slowly as by the loop; in float32 TensorFlow's own is as fast.
What is exported is float32 and takes SiLU's value from TensorFlow, so it holds no XLA.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("attr_extractor")
def fused_silu(features: tf.Tensor) -> tf.Tensor:
    """x * sigmoid(x) of any shape and float type."""
    return _silu(features)  # what custom_gradient makes has no name to be saved by


@keras.utils.register_keras_serializable("attr_extractor")
def fused_relu6(features: tf.Tensor) -> tf.Tensor:
    """min(max(x, 0), 6) of any shape and float type."""
    return _relu6(features) if features.dtype == tf.bfloat16 else tf.nn.relu6(features)


@tf.custom_gradient
def _silu(features: tf.Tensor) -> tuple[tf.Tensor, Any]:
    return tf.nn.silu(features), lambda upstream: _silu_gradient(features, upstream)


@tf.function(jit_compile=True)
def _silu_gradient(features: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """upstream * (s + x * s * (1 - s)) with s = sigmoid(x), inside in float32."""
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
    """The upstream gradient where the result lies between 0 and 6, 0 elsewhere."""
    return tf.where((outputs > 0) & (outputs < 6), upstream, tf.zeros_like(upstream))
