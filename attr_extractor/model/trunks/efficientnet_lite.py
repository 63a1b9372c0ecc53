"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6 (Google, 2020).

Both changes improve quantisation. Otherwise it is EfficientNet (Tan and Le 2019): a stem, seven
stages of inverted bottlenecks, and a 1 x 1 convolution as the head. The stem, the head and the
number of blocks in the first and last stages are the same in all variants.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras

from attr_extractor.model.functional import same_padding

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
# width and depth by variant
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2), 3: (1.2, 1.4), 4: (1.4, 1.8)}


def efficientnet_lite(
    variant: int,
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    drop_connect_rate: float = 0.2,
) -> Any:
    """Build a network like keras.applications does: [B, H, W, 3] -> [B, H / 32, W / 32, 1280].

    Like there, a layer of its own pads for a convolution with strides.

    Args:
      variant: 0 to 4.
      include_top: whether to add the mean over positions and the 1,000 logits of ImageNet.
      weights: path of a weights file that Keras wrote; random weights if not given.
      input_tensor: pixels as (x - 127) / 128; or
      input_shape: their (H, W, 3).
      drop_connect_rate: share of photos that skip the last block; lower in earlier blocks.
    """
    x = pixels = keras.Input(input_shape) if input_tensor is None else input_tensor
    width, depth = SCALES[variant]
    x = _padded(x, 3, 2, "stem_conv_pad")
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
    network = keras.Model(source, x, name=f"efficientnetlite{variant}")
    if weights:
        network.load_weights(weights)
    return network


def places(variant: int) -> list[tuple[int, int]]:
    """Return, for each block in order, its stage and its position in it, both from 0."""
    repeats = _repeats(SCALES[variant][1])
    return [(stage, i) for stage, blocks in enumerate(repeats) for i in range(blocks)]


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
    x = _padded(x, block.kernel_size, block.stride, f"{name}dwconv_pad")
    x = keras.layers.DepthwiseConv2D(
        block.kernel_size,
        block.stride,
        _padding(block.stride),
        use_bias=False,
        name=f"{name}dwconv",
    )(x)
    x = _normalized(x, f"{name}dwconv_bn")
    x = _convolution(channels, 1, 1, f"{name}project_conv")(x)
    x = keras.layers.BatchNormalization(**BATCH_NORM, name=f"{name}project_bn")(x)
    if block.stride > 1 or entered != channels:
        return x
    if drop_rate:
        x = keras.layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
    return keras.layers.Add(name=f"{name}add")([x, entering])


def _padded(x: Any, kernel_size: int, stride: int, name: str) -> Any:
    """Pad for a convolution with strides, as SAME padding would."""
    if stride == 1:
        return x
    zeros = tuple(same_padding(side, kernel_size, stride) for side in x.shape[1:3])
    return keras.layers.ZeroPadding2D(zeros, name=name)(x)


def _padding(stride: int) -> str:
    return "same" if stride == 1 else "valid"


def _convolution(channels: int, kernel_size: int, stride: int, name: str) -> Any:
    return keras.layers.Conv2D(
        channels,
        kernel_size,
        stride,
        _padding(stride),
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
        name=name,
    )


def _normalized(x: Any, name: str) -> Any:
    """Apply batch normalisation, then ReLU6."""
    x = keras.layers.BatchNormalization(**BATCH_NORM, name=name)(x)
    return keras.layers.ReLU(6.0, name=name.replace("_bn", "_activation"))(x)
