"""ResNet-50 version 1.5: the network of PyTorch's weights (He et al. 2015; Goyal et al. 2017).

keras.applications has version 1, in which a stage's first 1 x 1 convolution has the stride; here
its 3 x 3 convolution has it. No convolution has a bias. Layers have the names of Keras' ResNet-50.
"""

from __future__ import annotations

from typing import Any

import keras

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, and channels within a block
EXPANSION = 4  # ratio of a block's output channels to those within it


def resnet50(
    include_top: bool = False,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
) -> Any:
    """Build a network like keras.applications does: [B, H, W, 3] -> [B, H / 32, W / 32, 2048].

    Args:
      include_top: ignored; the network has no classifier.
      weights: path of a weights file that Keras wrote; random weights if not given.
      input_tensor: normalised pixels; or
      input_shape: their (H, W, 3).
    """
    x = pixels = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = _normalized(_convolution(x, 64, 7, 2, "conv1"), "conv1")
    x = keras.layers.ReLU(name="conv1_relu")(x)
    # the maps are not negative, so zeros do not change a maximum
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, (blocks, channels) in enumerate(STAGES, start=2):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 2 and block == 1 else 1
            x = _bottleneck(x, channels, stride, f"conv{stage}_block{block}")
    (source,) = keras.utils.get_source_inputs(pixels)
    network = keras.Model(source, x, name="resnet50")
    if weights:
        network.load_weights(weights)
    return network


def _bottleneck(x: Any, channels: int, stride: int, name: str) -> Any:
    entering = x
    if x.shape[-1] != channels * EXPANSION:
        entering = _convolution(x, channels * EXPANSION, 1, stride, f"{name}_0")
        entering = _normalized(entering, f"{name}_0")
    x = _normalized(_convolution(x, channels, 1, 1, f"{name}_1"), f"{name}_1")
    x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
    x = _normalized(_convolution(x, channels, 3, stride, f"{name}_2"), f"{name}_2")
    x = keras.layers.ReLU(name=f"{name}_2_relu")(x)
    x = _normalized(_convolution(x, channels * EXPANSION, 1, 1, f"{name}_3"), f"{name}_3")
    x = keras.layers.Add(name=f"{name}_add")([entering, x])
    return keras.layers.ReLU(name=f"{name}_out")(x)


def _convolution(x: Any, channels: int, kernel_size: int, stride: int, name: str) -> Any:
    """Convolve with equal padding on both sides, as PyTorch does."""
    if kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return keras.layers.Conv2D(
        channels,
        kernel_size,
        stride,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
        name=f"{name}_conv",
    )(x)


def _normalized(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
