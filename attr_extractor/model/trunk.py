"""The convolutional trunk: named networks, their weights, and one pixel normalisation of our own.

keras.applications puts Rescaling and Normalization inside some networks, and for EfficientNet a
further Rescaling only where weights == "imagenet"; the same file given by path then yields other
activations, silently. Here each trunk's normalisation stands in TRUNKS, the network's own is
neutralised, and a file gives the same activations by name and by path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.errors import InputError, did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0 .. 1
IMAGENET_STD = (0.229, 0.224, 0.225)


@keras.utils.register_keras_serializable("attr_extractor")
class PixelNormalization(keras.layers.Layer):
    """[B, H, W, 3] in 0 .. 255 -> (pixels / 255 - mean) / std, in the layer's compute dtype."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], **kwargs: Any):
        super().__init__(**kwargs)
        self.mean = tuple(mean)
        self.std = tuple(std)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        scaled = tf.cast(inputs, tf.float32) / 255.0
        return tf.cast((scaled - self.mean) / self.std, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}


@dataclass(frozen=True)
class Trunk:
    """How a trunk is made and what pixels it expects."""

    make: Callable[..., Any]  # (include_top, weights, input_tensor or input_shape) -> keras.Model
    min_size: int  # pixels; below it no feature map is left
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    pretrained: bool = True  # whether keras.applications has ImageNet weights


def small_cnn(
    include_top: bool = False,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int, int, int] | None = None,
    widths: tuple[int, ...] = (16, 32, 64, 160),
) -> Any:
    """A plain residual network for demos on a CPU: stride 8, 160 channels.

    The first convolution keeps the photo's full size: at 80 px a neckline is two pixels wide.
    """
    del include_top
    inputs = keras.Input(input_shape) if input_tensor is None else input_tensor

    def convolve(x: Any, width: int, stride: int, name: str) -> Any:
        x = keras.layers.Conv2D(
            width,
            3,
            stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
        )(x)
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
        return keras.layers.Activation("relu", name=f"{name}_relu")(x)

    x = convolve(inputs, widths[0], 1, "stem")
    for stage, width in enumerate(widths[1:], start=1):
        x = convolve(x, width, 2, f"stage{stage}_down")
        y = convolve(x, width, 1, f"stage{stage}_res")
        x = keras.layers.Add(name=f"stage{stage}_add")([x, y])
    model = keras.Model(keras.utils.get_source_inputs(inputs), x, name="small_cnn")
    if weights:
        model.load_weights(weights)
    return model


TRUNKS: dict[str, Trunk] = {
    "efficientnetb0": Trunk(keras.applications.EfficientNetB0, min_size=32),
    "small_cnn": Trunk(small_cnn, min_size=16, pretrained=False),
}


def build(name: str, pixels: Any, weights: str, batch_norm_momentum: float) -> Any:
    """The feature map of a trunk on top of an input tensor, un-nested.

    Args:
      name: a key of TRUNKS.
      pixels: symbolic [B, H, W, 3] in 0 .. 255.
      weights: `none`, `imagenet`, or the path of a file that Keras' own network of this name loads.

    Returns:
      Symbolic [B, h, w, D].

    Raises:
      InputError: no such trunk, a photo too small for it, or weights that are not its own.
    """
    if name not in TRUNKS:
        raise InputError(
            f"model.trunk: {name!r} is not a trunk{did_you_mean(name, TRUNKS)}; "
            f"there are {', '.join(TRUNKS)}"
        )
    trunk = TRUNKS[name]
    size = int(pixels.shape[1])
    if size < trunk.min_size:
        raise InputError(
            f"data.image_size: {size} is too small for {name}: at least {trunk.min_size}"
        )
    normalize = PixelNormalization(trunk.mean, trunk.std, name="pixel-normalization")
    network = trunk.make(include_top=False, weights=None, input_tensor=normalize(pixels))
    neutralize(network)
    if weights != "none":
        _copy_weights(_source(trunk, name, weights, size), network)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    return network.output


def neutralize(network: Any) -> None:
    """Makes the pixel preprocessing inside a network of keras.applications do nothing.

    A Normalization layer without weights is the identity already; `_copy_weights` leaves it so.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Rescaling):
            layer.scale, layer.offset = 1.0, 0.0


def _source(trunk: Trunk, name: str, weights: str, size: int) -> Any:
    """A second copy of the network, loaded the way Keras loads it."""
    if weights == "imagenet" and not trunk.pretrained:
        raise InputError(f"model.weights: there are no ImageNet weights for {name}; use none")
    if weights != "imagenet" and not tf.io.gfile.exists(weights):
        raise InputError(f"model.weights: {weights}: no such file (none, imagenet or a path)")
    try:
        return trunk.make(include_top=False, weights=weights, input_shape=(size, size, 3))
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"model.weights: {weights}: not weights of {name} without its top: {detail}"
        ) from error
    except Exception as error:  # get_file raises a bare Exception where it cannot download
        if type(error) is not Exception:
            raise
        raise InputError(f"model.weights: {weights}: {error}") from error


def _copy_weights(source: Any, target: Any) -> None:
    def weighted(network: Any) -> list[Any]:
        return [
            layer
            for layer in network.layers
            if layer.weights and not isinstance(layer, keras.layers.Normalization)
        ]

    for theirs, ours in zip(weighted(source), weighted(target)):
        ours.set_weights(theirs.get_weights())
