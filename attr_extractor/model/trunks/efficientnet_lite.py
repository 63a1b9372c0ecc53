"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6 (Google, 2020).

Both changes improve quantisation. Otherwise it is EfficientNet (Tan and Le 2019): a stem, seven
stages of inverted bottlenecks, and a 1 x 1 convolution as the head. The stem, the head and the
number of blocks in the first and last stages are the same in all variants.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np

from attr_extractor.errors import InputError

STEM, HEAD = 32, 1280  # channels
DIVISOR = 8  # all other channel counts are multiples of it
BATCH_NORM = {"epsilon": 1e-3, "momentum": 0.99}
CLASSES = 1000


class Stage(NamedTuple):
    """Blocks of one width; only the first block uses the stride."""

    blocks: int
    kernel_size: int
    stride: int
    expansion: int  # ratio of the channels within a block to its input channels
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
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # width and depth by variant


def efficientnet_lite(
    variant: int,
    include_top: bool = True,
    weights: None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    drop_connect_rate: float = 0.2,
) -> Any:
    """Build a network like keras.applications does: [B, H, W, 3] -> [B, H / 32, W / 32, 1280].

    Args:
      variant: 0, 1 or 2.
      include_top: whether to add the mean over positions and the 1,000 logits of ImageNet.
      weights: ignored; weights are always random, `assign` sets trained ones.
      input_tensor: pixels as (x - 127) / 128; or
      input_shape: their (H, W, 3).
      drop_connect_rate: share of photos that skip the last block; lower in earlier blocks.
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
    """Set a network's weights from a state dict with the names of efficientnet-lite-pytorch.

    Args:
      network: a model that contains layers of `efficientnet_lite`; other layers are unchanged.
      state: arrays by name, in PyTorch's order of axes.
      origin: name of the file in the error.

    Raises:
      InputError: if an array is missing or has another shape; names the first one.
    """
    for layer in network.layers:
        prefix = _state_name(layer.name)
        if prefix is None:
            continue
        arrays = []
        for suffix, weight in zip(_SUFFIXES[len(layer.weights)], layer.get_weights()):
            name = f"{prefix}.{suffix}"
            if name not in state:
                raise InputError(f"{origin}: weights of another network: {name} is missing")
            array = _in_keras_order(state[name])
            if array.shape != weight.shape:
                raise InputError(
                    f"{origin}: weights of another network: {name} has shape {list(array.shape)} "
                    f"in Keras' axis order, expected {list(weight.shape)}"
                )
            arrays.append(array)
        layer.set_weights(arrays)


def _in_keras_order(array: np.ndarray) -> np.ndarray:
    """Transpose a PyTorch kernel to Keras' axis order; return a vector unchanged."""
    if array.ndim == 4 and array.shape[1] == 1:  # depthwise: [C, 1, h, w] -> [h, w, C, 1]
        return array.transpose(2, 3, 0, 1)
    if array.ndim == 4:  # [out, in, h, w] -> [h, w, in, out]
        return array.transpose(2, 3, 1, 0)
    return array.T


_SUFFIXES = {  # by number of weights in a layer
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
    """Return a layer's prefix in the state dict, or None if it has no weights in the state dict."""
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
    """Round to the nearest multiple of DIVISOR, but never down by more than a tenth."""
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
    """Apply batch normalisation, then ReLU6."""
    x = keras.layers.BatchNormalization(**BATCH_NORM, name=name)(x)
    return keras.layers.ReLU(6.0, name=name.replace("_bn", "_activation"))(x)
