"""A small residual network, for tests and for training from random weights within minutes."""

from __future__ import annotations

from typing import Any

import keras

WIDTHS = (16, 32, 64, 160)  # channels of the stem and of the stages


def small_cnn(
    include_top: bool = False,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
) -> Any:
    """Build a network like keras.applications does: stride 8, 160 channels.

    The first convolution keeps the photo's full size: at 80 px a neckline is two pixels wide.

    Args:
      include_top: ignored; the network has no classifier.
      weights: path of a weights file; random weights if not given.
      input_tensor: normalised pixels [B, H, W, 3]; or
      input_shape: their (H, W, 3).
    """
    inputs = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = _convolution(inputs, WIDTHS[0], 1, "stem")
    for stage, width in enumerate(WIDTHS[1:], start=1):
        x = _convolution(x, width, 2, f"stage{stage}_down")
        y = _convolution(x, width, 1, f"stage{stage}_res")
        x = keras.layers.Add(name=f"stage{stage}_add")([x, y])
    (source,) = keras.utils.get_source_inputs(inputs)
    model = keras.Model(source, x, name="small_cnn")
    if weights:
        model.load_weights(weights)
    return model


def _convolution(x: Any, channels: int, stride: int, name: str) -> Any:
    """Apply a 3 x 3 convolution, batch normalisation and ReLU."""
    x = keras.layers.Conv2D(
        channels,
        3,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)
