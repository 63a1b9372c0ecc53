"""The graph of a functional Keras model: readers of a layer, padding, a layer that does nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.model import keras_versions

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def readers(model: Any) -> dict[str, list[Any]]:
    """Return the steps that read each layer's output, keyed by the layer's name.

    Args:
      model: a functional model whose layers are called once each. In Keras 3 not every step is a
        layer. A nested model is not known as a reader, nor are the readers of its output: its
        `input` and `output` are tensors of its own.
    """
    steps = keras_versions.operations(model)
    # a symbolic tensor is one object, as the output of one step and as the input of others
    origins = {id(tensor): step.name for step in steps for tensor in tf.nest.flatten(step.output)}
    readers_by_name: dict[str, list[Any]] = {}
    for step in steps:
        if isinstance(step, (keras.layers.InputLayer, keras.Model)):
            continue  # Keras 2 gives an InputLayer its own output as its input
        for tensor in tf.nest.flatten(step.input):
            if id(tensor) in origins:
                readers_by_name.setdefault(origins[id(tensor)], []).append(step)
    return readers_by_name


def blocks(layer: Any) -> list[Any]:
    """Return the parts of a layer in order if it is a stack of equal blocks, else the layer alone.

    An encoder of KerasHub is one layer of a model: its parts are the transformer blocks and the
    normalisation after them. Blocks are equal if they have a class and layers of their own.
    """
    parts = list(layer._flatten_layers(recursive=False, include_self=False))
    kinds = Counter(type(part) for part in parts if _has_layers(part))
    if not kinds or max(kinds.values()) < 2:
        return [layer]
    return [block for part in parts for block in blocks(part)]


def _has_layers(layer: Any) -> bool:
    return any(True for _ in layer._flatten_layers(recursive=False, include_self=False))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis with SAME padding; an odd one goes after."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def needless_padding(model: Any) -> dict[str, str]:
    """Find layers that pad a convolution's input as the convolution could do itself.

    Args:
      model: a functional model whose layers are called once each, on maps [B, H, W, C] of known
        H and W.

    Returns:
      the names of the padding layers, keyed by the convolution's name.
    """
    padding_layers: dict[str, str] = {}
    readers_by_name = readers(model)
    outputs = {id(tensor) for tensor in model.outputs}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.ZeroPadding2D) or id(layer.output) in outputs:
            continue
        reading = readers_by_name[layer.name]
        if len(reading) == 1 and _could_pad(reading[0], layer):
            padding_layers[reading[0].name] = layer.name
    return padding_layers


def _could_pad(reader: Any, layer: Any) -> bool:
    """Return whether SAME padding in `reader` would add the same zeros as `layer`."""
    if type(reader) not in CONVOLUTIONS or reader.padding != "valid":
        return False
    if {reader.data_format, layer.data_format} != {"channels_last"}:
        return False
    axes = zip(layer.input.shape[1:3], reader.kernel_size, reader.strides)
    by_itself = [same_padding(*axis) for axis in axes]
    return set(reader.dilation_rate) == {1} and by_itself == [tuple(p) for p in layer.padding]


@keras.utils.register_keras_serializable("attr_extractor")
class Identity(keras.layers.Layer):
    """Replacement for a layer whose computation has moved to another layer."""

    def call(self, inputs: tf.Tensor, **_arguments: Any) -> tf.Tensor:
        return inputs  # Keras 3 also passes the arguments of the replaced layer, such as a mask
