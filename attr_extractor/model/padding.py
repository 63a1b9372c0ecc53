"""Zero padding: the zeros a convolution adds itself, and padding layers that it can replace."""

from __future__ import annotations

from typing import Any

import keras

from attr_extractor.model.functional import CONVOLUTIONS, readers


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis with SAME padding; an odd one goes after."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def needless(model: Any) -> dict[str, str]:
    """Find layers that pad a convolution's input as the convolution could do itself.

    Args:
      model: a functional model whose layers are called once each, on maps [B, H, W, C] of known
        H and W.

    Returns:
      the names of the padding layers, keyed by the convolution's name.
    """
    found: dict[str, str] = {}
    of_layer, given = readers(model), {x._keras_history[0].name for x in model.outputs}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.ZeroPadding2D) or layer.name in given:
            continue
        reading = of_layer[layer.name]
        if len(reading) == 1 and _could_pad(reading[0], layer):
            found[reading[0].name] = layer.name
    return found


def _could_pad(reader: Any, layer: Any) -> bool:
    """Return whether SAME padding in `reader` would add the same zeros as `layer`."""
    if type(reader) not in CONVOLUTIONS or reader.padding != "valid":
        return False
    if {reader.data_format, layer.data_format} != {"channels_last"}:
        return False
    axes = zip(layer.input.shape[1:3], reader.kernel_size, reader.strides)
    by_itself = [same(*axis) for axis in axes]
    return set(reader.dilation_rate) == {1} and by_itself == [tuple(p) for p in layer.padding]
