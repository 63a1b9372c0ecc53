"""Fold the network for serving: fewer and larger operations, same scores within float error.

A convolution followed by batch normalisation is one convolution once the statistics are fixed
(Jacob et al. 2018, equation 14): with g = gamma / sqrt(variance + epsilon), its kernel is w * g
and its bias (b - mean) * g + beta, computed here in float64. The other changes let TensorFlow's
graph optimiser fuse operations on a CPU: kernels of convolutions are constants, the activation
after a convolution directly follows its bias, SiLU is sigmoid(x) * x, a mean over a map is a
pooling, and a convolution of a map of one position is a matrix product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.model import keras_versions
from attr_extractor.model.branches import Branches
from attr_extractor.model.functional import CONVOLUTIONS, Identity, readers
from attr_extractor.model.network import POOLED, Network, computing_in
from attr_extractor.model.trunks import fast_layers, hub


def fold(network: Network, bfloat16_side: int = 0) -> Any:
    """Return a copy of the network for inference only.

    Args:
      bfloat16_side: steps that read a map of at most this height compute in bfloat16, and so do all
        that follow them except the branches; see `precision.py`. Their weights are bfloat16.

    Returns:
      keras.Model: uint8 [B, H, W, 3] -> logits float32 [B, V], pooled features [B, D].
    """
    model = network.logits
    followers = _followers(model)
    narrow = _narrow(model, bfloat16_side)
    followed = {layer.name for layers in followers.values() for layer in layers if layer}
    copied: list[Any] = []

    def to_served(layer: Any) -> Any:
        if hub.is_layer(layer):
            return layer  # shared with the network
        dtype = "bfloat16" if layer.name in narrow else "float32"
        settings = layer.get_config()
        if "dtype" in settings:
            settings["dtype"] = dtype
        if layer.name in followed:
            return Identity(name=layer.name, dtype=dtype)
        if layer.name in followers:
            return ConvolutionLayer(layer, *followers[layer.name], dtype)
        if isinstance(layer, keras.layers.GlobalAveragePooling2D) and _is_channels_last(layer):
            return GlobalAverage(settings["keepdims"], name=layer.name, dtype=dtype)
        if activation := _activation(layer):
            return keras.layers.Activation(_ACTIVATIONS[activation], name=layer.name, dtype=dtype)
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


def sides(network: Network) -> list[int]:
    """Return the sides of the maps that the trunk's steps read, largest first."""
    steps = keras_versions.operations(network.logits)
    return sorted({side for step in steps for side in _sides(step)}, reverse=True)


def _narrow(model: Any, side: int) -> set[str]:
    """Return the names of the steps that compute in bfloat16, see `fold`."""
    narrow: set[str] = set()
    for step in keras_versions.operations(model):
        if isinstance(step, (keras.layers.InputLayer, Branches)):
            continue  # in bfloat16 different logits would often be equal
        sources = (tensor._keras_history[0].name for tensor in tf.nest.flatten(step.input))
        if any(one <= side for one in _sides(step)) or not narrow.isdisjoint(sources):
            narrow.add(step.name)
    return narrow


def _sides(step: Any) -> list[int]:
    """Return the heights of the maps that a step reads; a gate of one position is not a map."""
    shapes = [tensor.shape for tensor in tf.nest.flatten(step.input)]
    return [int(shape[1]) for shape in shapes if len(shape) == 4 and shape[1] > 1]


_SILU = ("silu", "swish")


def _silu(x: tf.Tensor) -> tf.Tensor:
    return tf.sigmoid(x) * x  # TensorFlow's optimiser fuses this into one operation


_ACTIVATIONS = {
    "linear": tf.identity,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.sigmoid,
    **dict.fromkeys(_SILU, _silu),
}


def _followers(model: Any) -> dict[str, tuple[Any | None, Any | None]]:
    """Return, by name of each plain convolution, the layers to fold into it.

    They are a batch normalisation and an activation, each the only reader of the layer before it.
    """
    of_layer = readers(model)

    def only_reader(layer: Any) -> Any | None:
        reading = of_layer.get(layer.name, [])
        return reading[0] if len(reading) == 1 else None

    followers: dict[str, tuple[Any | None, Any | None]] = {}
    for layer in model.layers:
        if not (isinstance(layer, CONVOLUTIONS) and _is_plain(layer)):
            continue
        norm = activation = None
        if layer.get_config()["activation"] == "linear":
            following = only_reader(layer)
            if type(following) is keras.layers.BatchNormalization:
                norm, following = following, only_reader(following)
            if following is not None and _activation(following):
                activation = following
        followers[layer.name] = norm, activation
    return followers


def _activation(layer: Any) -> str:
    """Return the key in `_ACTIVATIONS` of a layer that only applies an activation, or ""."""
    settings = layer.get_config() if isinstance(layer, keras.layers.Layer) else {}
    if isinstance(layer, keras.layers.Activation):
        loops = {fast_layers.fused_relu6: "relu6", fast_layers.fused_silu: "silu"}
        name = loops.get(layer.activation, settings["activation"])  # the served graph has no XLA
        return name if isinstance(name, str) and name in _ACTIVATIONS else ""
    if isinstance(layer, keras.layers.ReLU):
        limit = settings["max_value"]
        if settings["negative_slope"] == 0 and settings["threshold"] == 0:
            return "relu" if limit is None else "relu6" if limit == 6 else ""
    return ""


def _is_plain(layer: Any) -> bool:
    """Return whether `Convolution` can replace the layer."""
    groups = layer.get_config().get("groups", 1)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) or _is_depthwise(layer)
    return (
        (groups == 1 or depthwise)
        and _is_channels_last(layer)
        and layer.get_config()["activation"] in _ACTIVATIONS
    )


def _is_channels_last(layer: Any) -> bool:
    return layer.data_format == "channels_last"


def _is_depthwise(layer: Any) -> bool:
    """Return whether a grouped convolution has one kernel per channel, as in ConvNeXt."""
    settings = layer.get_config()
    channels = int(layer.input.shape[-1])
    return settings.get("groups", 1) == channels == settings.get("filters")


class GlobalAverage(keras.layers.Layer):
    """Mean over the positions of a map: [B, H, W, C] -> [B, C], or [B, 1, 1, C] with `keepdims`.

    A pooling operation sums in float32. TensorFlow 2.15's mean sums bfloat16 in bfloat16.
    """

    def __init__(self, keepdims: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.keepdims = keepdims

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        sides = inputs.shape[1:3]
        means = tf.nn.avg_pool2d(inputs, sides, 1, "VALID")
        return means if self.keepdims else means[:, 0, 0]


class ConvolutionLayer(keras.layers.Layer):
    """A convolution with the normalisation and activation that follow it, if any, folded in."""

    def __init__(self, layer: Any, norm: Any | None, activation: Any | None, dtype: str):
        super().__init__(name=layer.name, dtype=dtype)
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
        array_type = tf.as_dtype(dtype).as_numpy_dtype
        name = settings["activation"] if activation is None else _activation(activation)
        self.folded = Convolution(
            kernel=kernel.astype(array_type),
            offset=offset.astype(array_type),
            depthwise=depthwise,
            strides=[1, *settings["strides"], 1],
            padding=layer.padding.upper(),
            dilations=settings["dilation_rate"],
            activation=_ACTIVATIONS[name],
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
        inputs = tf.cast(inputs, self._offset.dtype)
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
