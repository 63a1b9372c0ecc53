"""Fold the network for serving: fewer and larger operations, same scores within float error.

A convolution followed by batch normalisation is one convolution once the statistics are fixed
(Jacob et al. 2018, equation 14): with g = gamma / sqrt(variance + epsilon), its kernel is w * g
and its bias (b - mean) * g + beta, computed here in float64. The other changes let TensorFlow's
graph optimiser fuse operations on a CPU: kernels of convolutions are constants, SiLU is
sigmoid(x) * x, and a convolution of a map of one position is a matrix product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.model.functional import CONVOLUTIONS, Identity, readers
from attr_extractor.model.network import POOLED, Network, computing_in
from attr_extractor.model.trunks import hub


def fold(network: Network) -> Any:
    """Return a copy of the network for inference only.

    Returns:
      keras.Model: uint8 [B, H, W, 3] -> logits float32 [B, V], pooled features float32 [B, D].
    """
    model = network.logits
    normalized = _normalized_convolutions(model)  # batch normalisation by convolution name
    followed = {norm.name for norm in normalized.values()}
    copied: list[Any] = []

    def to_served(layer: Any) -> Any:
        if hub.is_layer(layer):
            return layer  # shared with the network
        settings = layer.get_config()
        if layer.name in followed:
            return Identity(name=layer.name)
        if layer.name in normalized or (isinstance(layer, CONVOLUTIONS) and _is_plain(layer)):
            return ConvolutionLayer(layer, normalized.get(layer.name))
        if isinstance(layer, keras.layers.Activation) and settings["activation"] in _SILU:
            return keras.layers.Activation(_silu, name=layer.name)
        if isinstance(layer, keras.layers.Layer):  # in Keras 3 some steps are not layers
            copied.append(layer)
        return layer.__class__.from_config(settings)

    features = model.get_layer(POOLED).output
    both = keras.Model(model.inputs, [model.outputs[0], features])
    with computing_in("float32"):
        served = keras.models.clone_model(both, clone_function=to_served)
    for layer in copied:
        served.get_layer(layer.name).set_weights(layer.get_weights())
    return served


_SILU = ("silu", "swish")


def _silu(x: tf.Tensor) -> tf.Tensor:
    return tf.sigmoid(x) * x  # TensorFlow's optimiser fuses this into one operation


_ACTIVATIONS = {"linear": tf.identity, "relu": tf.nn.relu, "sigmoid": tf.sigmoid}
_ACTIVATIONS.update(dict.fromkeys(_SILU, _silu))


def _normalized_convolutions(model: Any) -> dict[str, Any]:
    """Return, by convolution name, the batch normalisation that is its only reader."""
    of_layer = readers(model)
    return {
        layer.name: of_layer[layer.name][0]
        for layer in model.layers
        if isinstance(layer, CONVOLUTIONS)
        and _is_plain(layer)
        and layer.get_config()["activation"] == "linear"
        and [type(reader) for reader in of_layer[layer.name]] == [keras.layers.BatchNormalization]
    }


def _is_plain(layer: Any) -> bool:
    """Return whether `Convolution` can replace the layer."""
    groups = layer.get_config().get("groups", 1)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) or _is_depthwise(layer)
    return (
        (groups == 1 or depthwise)
        and layer.data_format == "channels_last"
        and layer.get_config()["activation"] in _ACTIVATIONS
    )


def _is_depthwise(layer: Any) -> bool:
    """Return whether a grouped convolution has one kernel per channel, as in ConvNeXt."""
    settings = layer.get_config()
    channels = int(layer.input.shape[-1])
    return settings.get("groups", 1) == channels == settings.get("filters")


class ConvolutionLayer(keras.layers.Layer):
    """A convolution with the batch normalisation that follows it, if any, folded in."""

    def __init__(self, layer: Any, norm: Any | None):
        super().__init__(name=layer.name)
        settings = layer.get_config()
        kernel, *bias = (array.astype(np.float64) for array in layer.get_weights())
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if _is_depthwise(layer):
            depthwise, kernel = True, kernel.transpose(0, 1, 3, 2)  # [h, w, 1, C]
        shape = kernel.shape[2:]
        channels = shape[0] * shape[1] if depthwise else shape[1]
        offset = bias[0] if bias else np.zeros(channels)  # [C]
        if norm is not None:
            gain, mean, beta = _affine(norm, channels)
            # a depthwise kernel's channels are its last two axes
            kernel = kernel * (gain.reshape(shape) if depthwise else gain)
            offset = (offset - mean) * gain + beta
        self.folded = Convolution(
            kernel=kernel.astype(np.float32),
            offset=offset.astype(np.float32),
            depthwise=depthwise,
            strides=[1, *settings["strides"], 1],
            padding=layer.padding.upper(),
            dilations=settings["dilation_rate"],
            activation=_ACTIVATIONS[settings["activation"]],
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.folded(inputs)


@dataclass(eq=False)
class Convolution:
    """A convolution with constant kernel, offset and activation; returns [B, H, W, C']."""

    kernel: np.ndarray  # [h, w, C, C'], or [h, w, C, 1] if depthwise
    offset: np.ndarray  # [C']
    depthwise: bool
    strides: Sequence[int]  # 4
    padding: str
    dilations: Sequence[int]  # 2
    activation: Callable[[tf.Tensor], tf.Tensor]

    def __post_init__(self) -> None:
        # a row [1, C'], reshaped to a vector in the graph: a vector, constant or not, is slower,
        # since the optimiser then fuses it differently (measure with bench.py --what=export)
        self._offset = tf.Variable(self.offset[np.newaxis], trainable=False)

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        offset = tf.reshape(self._offset, [-1])
        if self._is_product(inputs):
            rows = tf.reshape(inputs, [-1, inputs.shape[-1]])  # [B, C]
            outputs = self.activation(tf.nn.bias_add(tf.matmul(rows, self.kernel[0, 0]), offset))
            return outputs[:, tf.newaxis, tf.newaxis]  # [B, 1, 1, C']
        convolve = tf.nn.depthwise_conv2d if self.depthwise else tf.nn.conv2d
        outputs = convolve(
            inputs, self.kernel, self.strides, self.padding, dilations=self.dilations
        )
        return self.activation(tf.nn.bias_add(outputs, offset))

    def columns(self, channels: slice) -> Convolution:
        """Return a convolution that computes only these channels of the results."""
        kernel = self.kernel[:, :, channels] if self.depthwise else self.kernel[..., channels]
        return dataclasses.replace(self, kernel=kernel, offset=self.offset[channels])

    def rows(self, channels: slice, offset: np.ndarray) -> Convolution:
        """Return a convolution of these input channels only, plus `offset`, without activation."""
        kernel = self.kernel[:, :, channels]
        return dataclasses.replace(self, kernel=kernel, offset=offset, activation=tf.identity)

    def _is_product(self, inputs: tf.Tensor) -> bool:
        """Return whether this is a product of one row per photo, as in squeeze and excitation."""
        sides = (*inputs.shape[1:3], *self.kernel.shape[:2])
        return not self.depthwise and all(side == 1 for side in sides)


def _affine(norm: Any, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gain, mean and offset [C] of a batch normalisation, float64."""
    arrays = iter(array.astype(np.float64) for array in norm.get_weights())
    gamma = next(arrays) if norm.scale else np.ones(channels)
    beta = next(arrays) if norm.center else np.zeros(channels)
    mean, variance = arrays
    return gamma / np.sqrt(variance + norm.epsilon), mean, beta
