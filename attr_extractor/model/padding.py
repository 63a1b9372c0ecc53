"""Zeros around photos: how many a convolution adds by itself, and layers that add as many."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from attr_extractor.model import keras_versions

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind one axis where padding is SAME: what is left over goes behind."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def readers(model: Any) -> dict[str, list[Any]]:
    """The layers that read a layer's output, by its name; of Keras 3 not every step is a layer."""
    found: dict[str, list[Any]] = {}
    for step in keras_versions.operations(model):
        for tensor in tf.nest.flatten(step.input):
            found.setdefault(tensor._keras_history[0].name, []).append(step)
    return found


def needless(model: Any) -> dict[str, str]:
    """Layers that pad a convolution's input as the convolution could itself.

    Returns:
      the name of the padding layer by the convolution's.
    """
    found: dict[str, str] = {}
    of_layer = readers(model)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.ZeroPadding2D):
            continue
        reader, *others = of_layer[layer.name]
        if others or not isinstance(reader, _CONVOLUTIONS) or set(reader.dilation_rate) != {1}:
            continue
        axes = zip(layer.input.shape[1:3], reader.kernel_size, reader.strides)
        by_itself = [same(*axis) for axis in axes]
        if reader.padding == "valid" and by_itself == [tuple(pair) for pair in layer.padding]:
            found[reader.name] = layer.name
    return found
