"""A depthwise convolution whose gradients keep to what oneDNN, TensorFlow's CPU library, does fast.

The gradient of a kernel of five columns takes five times as long as one of three in float32, thirty
times in bfloat16 (BUILD_NOTES has the command). No column's gradient depends on another's, so three
at a time are computed: of a narrow kernel, over the input without what only the other columns read.
In bfloat16 the gradient of the input is as slow wherever there are strides; there it is computed in
float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.model import padding

COLUMNS = 3  # of a kernel, whose gradient is computed at once


@keras.utils.register_keras_serializable("attr_extractor")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras' layer: [B, H, W, C] -> [B, H', W', C * depth_multiplier], H and W known.

    Raises:
      ValueError: dilation, or the channels first.
    """

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        if not _is_plain(self):
            raise ValueError(f"{self.name}: the channels are to be last, and dilation 1")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # by their order: the kernel's attribute has another name in each Keras
        kernel, *bias = (tf.convert_to_tensor(weight) for weight in self.weights)
        outputs = convolve(inputs, kernel, self.strides, self.padding.upper())
        return self.activation(tf.nn.bias_add(outputs, bias[0]) if bias else outputs)


def takes(layer: Any) -> bool:
    """Whether the layer here is to stand for another one, on the devices of this process."""
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and _is_plain(layer)
        and {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}
    )


def _is_plain(layer: Any) -> bool:
    return layer.data_format == "channels_last" and set(layer.dilation_rate) == {1}


def convolve(x: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int], pads: str) -> tf.Tensor:
    """[B, H, W, C], H and W known, and [h, w, C, M] -> [B, H', W', C * M].

    Args:
      strides: down and across.
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
    """[B, H, W, C], from the gradient of the result, [B, H', W', C * M]."""
    shape, steps, gradient = tf.shape(x), [1, *strides, 1], tf.nn.depthwise_conv2d_backprop_input
    if x.dtype != tf.bfloat16 or set(strides) == {1}:
        return gradient(shape, kernel, upstream, steps, pads)
    wide = (tf.cast(each, tf.float32) for each in (kernel, upstream))
    return tf.cast(gradient(shape, *wide, steps, pads), x.dtype)


def _kernel_gradient(
    x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor, strides: Sequence[int], pads: str
) -> tf.Tensor:
    """[h, w, C, M], from the gradient of the result, [B, H', W', C * M]."""
    height, width, *channels = kernel.shape
    if width > COLUMNS and pads == "SAME":
        zeros = [padding.same(*axis) for axis in zip(x.shape[1:3], kernel.shape, strides)]
        x, pads = tf.pad(x, [(0, 0), *zeros, (0, 0)]), "VALID"
    parts = []
    for start in range(0, width, COLUMNS):
        columns = min(COLUMNS, width - start)
        end = x.shape[2] - (width - start - columns)  # behind it only the columns after these read
        parts.append(
            tf.nn.depthwise_conv2d_backprop_filter(
                x[:, :, start:end],
                [height, columns, *channels],
                upstream,
                [1, *strides, 1],
                pads,
            )
        )
    return tf.concat(parts, axis=1)
