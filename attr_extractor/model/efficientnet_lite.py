"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6 (Google, 2020).

Both make it quantise well. Otherwise it is EfficientNet (Tan and Le 2019): a stem, seven stages of
inverted bottlenecks, a convolution of one position as the head. Stem, head and the numbers of
blocks of the first and last stage do not grow with the network.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np

from attr_extractor.errors import InputError

STEM, HEAD = 32, 1280  # channels
DIVISOR = 8  # of every other number of channels
BATCH_NORM = {"epsilon": 1e-3, "momentum": 0.99}
CLASSES = 1000


class Stage(NamedTuple):
    """Blocks of one width; the first of them has the stride."""

    blocks: int
    kernel_size: int
    stride: int
    expansion: int  # channels within a block, of those that enter it
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # width and depth, by the variant


def efficientnet_lite(
    variant: int,
    include_top: bool = True,
    weights: None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    drop_connect_rate: float = 0.2,
) -> Any:
    """A network in the manner of keras.applications: [B, H, W, 3] -> [B, H / 32, W / 32, 1280].

    Args:
      variant: 0, 1 or 2.
      include_top: whether the mean over positions and the 1,000 logits of ImageNet follow.
      weights: fresh ones always; `assign` sets trained ones.
      input_tensor: pixels as (x - 127) / 128; or
      input_shape: their (H, W, 3).
      drop_connect_rate: share of photos that skip the last block; less in those before it.
    """
    x = pixels = keras.Input(input_shape) if input_tensor is None else input_tensor
    width, depth = SCALES[variant]
    x = _normalized(_convolution(STEM, 3, 2, "stem_conv")(x), "stem_bn")
    blocks = [
        stage._replace(stride=1 if i else stage.stride)
        for stage, repeats in zip(STAGES, _repeats(depth))
        for i in range(repeats)
    ]
    for i, block in enumerate(blocks):
        channels = _rounded(block.channels * width)
        x = _bottleneck(x, block, channels, drop_connect_rate * i / len(blocks), f"block{i}_")
    x = _normalized(_convolution(HEAD, 1, 1, "top_conv")(x), "top_bn")
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dense(CLASSES, name="predictions")(x)
    (source,) = keras.utils.get_source_inputs(pixels)
    return keras.Model(source, x, name=f"efficientnetlite{variant}")


def assign(network: Any, state: dict[str, np.ndarray], origin: str) -> None:
    """Set a network's weights from a state dict in the naming of efficientnet-lite-pytorch.

    Args:
      network: a model that holds layers of `efficientnet_lite`; others are left as they are.
      state: arrays by name, in PyTorch's order of axes.
      origin: names the file in the error.

    Raises:
      InputError: naming the first array that is missing or of another shape.
    """
    for layer in network.layers:
        prefix = _state_name(layer.name)
        if prefix is None:
            continue
        arrays = []
        for suffix, weight in zip(_SUFFIXES[len(layer.weights)], layer.get_weights()):
            name = f"{prefix}.{suffix}"
            if name not in state:
                raise InputError(f"{origin}: weights of another network: it has no {name}")
            array = _in_keras_order(state[name])
            if array.shape != weight.shape:
                raise InputError(
                    f"{origin}: weights of another network: {name}, axes in Keras' order, is "
                    f"{list(array.shape)}, {list(weight.shape)} is needed"
                )
            arrays.append(array)
        layer.set_weights(arrays)


def _in_keras_order(array: np.ndarray) -> np.ndarray:
    """A kernel of PyTorch's with its axes where Keras has them; a vector as it is."""
    if array.ndim == 4 and array.shape[1] == 1:  # depthwise: [C, 1, h, w] -> [h, w, C, 1]
        return array.transpose(2, 3, 0, 1)
    if array.ndim == 4:  # [out, in, h, w] -> [h, w, in, out]
        return array.transpose(2, 3, 1, 0)
    return array.T


_SUFFIXES = {  # by the number of a layer's weights
    1: ["weight"],
    2: ["weight", "bias"],
    4: ["weight", "bias", "running_mean", "running_var"],
}
_STATE_NAMES = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "dwconv_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
    "top_conv": "_conv_head",
    "top_bn": "_bn1",
    "predictions": "_fc",
}


def _state_name(layer: str) -> str | None:
    """A layer's prefix in the state dict, or None where it has no weights there."""
    block, underscore, rest = layer.partition("_")
    if block.startswith("block") and rest in _STATE_NAMES:
        return f"_blocks.{block.removeprefix('block')}.{_STATE_NAMES[rest]}"
    return _STATE_NAMES.get(layer)


def _repeats(depth: float) -> list[int]:
    last = len(STAGES) - 1
    return [
        stage.blocks if i in (0, last) else math.ceil(stage.blocks * depth)
        for i, stage in enumerate(STAGES)
    ]


def _rounded(channels: float) -> int:
    """The nearest multiple of DIVISOR, or the next one where that takes off over a tenth."""
    rounded = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded if rounded >= 0.9 * channels else rounded + DIVISOR


def _bottleneck(x: Any, block: Stage, channels: int, drop_rate: float, name: str) -> Any:
    entering, entered = x, int(x.shape[-1])
    if block.expansion > 1:
        x = _convolution(entered * block.expansion, 1, 1, f"{name}expand_conv")(x)
        x = _normalized(x, f"{name}expand_bn")
    x = keras.layers.DepthwiseConv2D(
        block.kernel_size, block.stride, "same", use_bias=False, name=f"{name}dwconv"
    )(x)
    x = _normalized(x, f"{name}dwconv_bn")
    x = _convolution(channels, 1, 1, f"{name}project_conv")(x)
    x = keras.layers.BatchNormalization(**BATCH_NORM, name=f"{name}project_bn")(x)
    if block.stride > 1 or entered != channels:
        return x
    if drop_rate:
        x = keras.layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
    return keras.layers.Add(name=f"{name}add")([x, entering])


def _convolution(channels: int, kernel_size: int, stride: int, name: str) -> Any:
    return keras.layers.Conv2D(
        channels,
        kernel_size,
        stride,
        "same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
        name=name,
    )


def _normalized(x: Any, name: str) -> Any:
    """Batch normalisation, then ReLU6."""
    x = keras.layers.BatchNormalization(**BATCH_NORM, name=name)(x)
    return keras.layers.ReLU(6.0, name=name.replace("_bn", "_activation"))(x)
