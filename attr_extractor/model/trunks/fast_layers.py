"""Layers that compute faster on a CPU than those of Keras, with equal results.

Depthwise convolution: in oneDNN, TensorFlow's CPU library, the gradient of a five-column kernel
takes five times as long as that of a three-column kernel in float32, and thirty times as long in
bfloat16 (docs/figures.csv has the command). The gradients of the columns are independent, so three
at a time are computed as the gradient of a narrow kernel, over the input without the positions that
only the other columns read. In bfloat16 the gradient of the input is just as slow if there are
strides; it is then computed in float32.

SiLU: TensorFlow computes the gradient of x * sigmoid(x) in six ops, each of which is a pass over a
map as large as the trunk's largest. XLA compiles them to one loop. ReLU6: TensorFlow computes it
element by element in bfloat16, two to four times slower than the loop; in float32 it is as fast.
The exported model is float32 and computes SiLU with TensorFlow's op, so it contains no XLA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.model import functional

COLUMNS = 3  # kernel columns whose gradient is computed at once


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


@keras.utils.register_keras_serializable("attr_extractor")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras' DepthwiseConv2D with faster gradients.

    [B, H, W, C] -> [B, H', W', C * depth_multiplier]; H and W must be known.

    Raises:
      ValueError: if the layer has dilation or the data format is channels_first.
    """

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        if not _is_plain(self):
            raise ValueError(f"{self.name}: requires channels_last and a dilation rate of 1")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # by order, because the name of the kernel's attribute depends on the Keras version
        kernel, *bias = (tf.convert_to_tensor(weight) for weight in self.weights)
        outputs = convolve(inputs, kernel, self.strides, self.padding.upper())
        return self.activation(tf.nn.bias_add(outputs, bias[0]) if bias else outputs)


def is_replaceable(layer: Any) -> bool:
    """Return whether our DepthwiseConv2D should replace `layer` on this process's devices."""
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and _is_plain(layer)
        and {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}
    )


def _is_plain(layer: Any) -> bool:
    return layer.data_format == "channels_last" and set(layer.dilation_rate) == {1}


def convolve(x: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int], pads: str) -> tf.Tensor:
    """Convolve [B, H, W, C], H and W known, with [h, w, C, M] to [B, H', W', C * M].

    Args:
      strides: vertical and horizontal.
      pads: SAME or VALID.
    """

    @tf.custom_gradient
    def convolution(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return (
                _input_gradient(x, kernel, upstream, strides, pads),
                _kernel_gradient(x, kernel, upstream, strides, pads),
            )

        return tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], pads), gradients

    return convolution(x, kernel)


def _input_gradient(
    x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor, strides: Sequence[int], pads: str
) -> tf.Tensor:
    """Return the input gradient [B, H, W, C] for the output gradient [B, H', W', C * M]."""
    shape, steps, gradient = tf.shape(x), [1, *strides, 1], tf.nn.depthwise_conv2d_backprop_input
    if x.dtype != tf.bfloat16 or set(strides) == {1}:
        return gradient(shape, kernel, upstream, steps, pads)
    wide = (tf.cast(each, tf.float32) for each in (kernel, upstream))
    return tf.cast(gradient(shape, *wide, steps, pads), x.dtype)


def _kernel_gradient(
    x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor, strides: Sequence[int], pads: str
) -> tf.Tensor:
    """Return the kernel gradient [h, w, C, M] for the output gradient [B, H', W', C * M]."""
    height, width, *channels = kernel.shape
    if width > COLUMNS and pads == "SAME":
        zeros = [
            functional.same_padding(*axis) for axis in zip(x.shape[1:3], kernel.shape, strides)
        ]
        x, pads = tf.pad(x, [(0, 0), *zeros, (0, 0)]), "VALID"
    gradients = []
    for start in range(0, width, COLUMNS):
        columns = min(COLUMNS, width - start)
        end = x.shape[2] - (width - start - columns)  # beyond it, only later columns read
        gradients.append(
            tf.nn.depthwise_conv2d_backprop_filter(
                x[:, :, start:end],
                [height, columns, *channels],
                upstream,
                [1, *strides, 1],
                pads,
            )
        )
    return tf.concat(gradients, axis=1)
