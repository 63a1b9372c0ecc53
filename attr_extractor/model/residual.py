"""Small residual networks, for training from random weights on limited hardware.

They use plain 3 x 3 convolutions, which a CPU runs near its peak; EfficientNet's depthwise
convolutions are limited by memory bandwidth.
"""

from __future__ import annotations

from typing import Any

import keras


def small_cnn(
    include_top: bool = False,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    widths: tuple[int, ...] = (16, 32, 64, 160),
) -> Any:
    """Build a network for demos: stride 8, 160 channels.

    The first convolution keeps the photo's full size: at 80 px a neckline is two pixels wide.
    """
    del include_top
    inputs = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = _convolve(inputs, widths[0], 3, 1, "stem")
    for stage, width in enumerate(widths[1:], start=1):
        x = _convolve(x, width, 3, 2, f"stage{stage}_down")
        y = _convolve(x, width, 3, 1, f"stage{stage}_res")
        x = keras.layers.Add(name=f"stage{stage}_add")([x, y])
    return _model(inputs, x, weights, "small_cnn")


def small_resnet(
    include_top: bool = False,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    widths: tuple[int, ...] = (64, 128, 256, 512),
) -> Any:
    """Build ResNet-10 with the stem and the shortcuts of ResNet-D: stride 32, 512 channels.

    Source: He et al. 2016, figure 2 (left); He et al. 2019, "Bag of Tricks", figure 2.
    """
    del include_top
    inputs = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = _convolve(inputs, widths[0] // 2, 3, 2, "stem1")
    x = _convolve(x, widths[0], 3, 1, "stem2")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, width in enumerate(widths, start=1):
        stride, name, shortcut = 1 if stage == 1 else 2, f"stage{stage}", x
        if stride > 1:
            shortcut = keras.layers.AveragePooling2D(
                stride, stride, padding="same", name=f"{name}_pool"
            )(x)
        if shortcut.shape[-1] != width:
            shortcut = _convolve(shortcut, width, 1, 1, f"{name}_shortcut", activation=None)
        y = _convolve(x, width, 3, stride, f"{name}_1")
        # each block starts as its shortcut
        y = _convolve(y, width, 3, 1, f"{name}_2", activation=None, gamma="zeros")
        x = keras.layers.Add(name=f"{name}_add")([shortcut, y])
        x = keras.layers.Activation("relu", name=f"{name}_out")(x)
    return _model(inputs, x, weights, "small_resnet")


def _convolve(
    x: Any,
    width: int,
    kernel: int,
    stride: int,
    name: str,
    activation: str | None = "relu",
    gamma: str = "ones",
) -> Any:
    x = keras.layers.Conv2D(
        width,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(gamma_initializer=gamma, name=f"{name}_bn")(x)
    return keras.layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def _model(inputs: Any, outputs: Any, weights: str | None, name: str) -> Any:
    (source,) = keras.utils.get_source_inputs(inputs)
    model = keras.Model(source, outputs, name=name)
    if weights:
        model.load_weights(weights)
    return model
