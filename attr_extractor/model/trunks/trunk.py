"""The trunk: named networks, some of whose layers are replaced by our own, or a KerasHub preset.

keras.applications puts Rescaling and Normalization inside some networks. EfficientNet has a further
Rescaling only if weights == "imagenet"; the same file given by path then silently yields other
activations. Here each trunk's normalisation is defined in TRUNKS and the network's own is removed,
so a file gives the same activations by name and by path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.config import ModelConfig
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.model import noise
from attr_extractor.model.functional import Identity, needless_padding
from attr_extractor.model.trunks import fast_layers, hub, pretrained, resnet
from attr_extractor.model.trunks.efficientnet_lite import SCALES, efficientnet_lite
from attr_extractor.model.trunks.small_cnn import small_cnn


@dataclass(frozen=True)
class Pixels:
    """Pixel format of a network: (pixels / 255 - mean) / std of each channel, RGB or BGR."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION = Pixels((0.5,) * 3, (0.5,) * 3)  # -1 .. 1
LITE = Pixels((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128
V2_LARGE = Pixels((128 / 255,) * 3, (128 / 255,) * 3)  # -1 .. 0.992
PIXELS = {"imagenet": IMAGENET, "inception": INCEPTION}  # values of `model.pixels`
CAFFE = Pixels((103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255,) * 3, bgr=True)
PYTORCH_EPSILON = 1e-5  # of batch normalisation


@keras.utils.register_keras_serializable("attr_extractor")
class PixelNormalization(keras.layers.Layer):
    """Conversion of RGB [B, H, W, 3] in 0 .. 255 to a network's pixel format, in compute dtype."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], bgr: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.bgr = bgr

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(inputs, tf.float32)
        if self.bgr:
            pixels = tf.reverse(pixels, [-1])
        gain = [1 / (255 * std) for std in self.std]
        offset = [-mean / std for mean, std in zip(self.mean, self.std)]
        # two passes over whole rows of pixels: a CPU is slow on an axis of three channels
        height, width, _ = inputs.shape[1:]
        rows = tf.reshape(pixels, [-1, height, width * 3])
        rows = tf.cast(rows * (gain * width) + offset * width, self.compute_dtype)
        return tf.reshape(rows, [-1, height, width, 3])

    def get_config(self) -> dict[str, Any]:
        config = {"mean": self.mean, "std": self.std, "bgr": self.bgr}
        return {**super().get_config(), **config}


@dataclass(frozen=True)
class Trunk:
    """Constructor and input requirements of a trunk."""

    make: pretrained.Make
    pixels: Pixels = IMAGENET
    min_size: int = 32  # pixels; smaller photos leave no feature map
    pytorch: pretrained.Make | None = None  # constructor for that `model.style`, if not `make`


_apps = keras.applications
TRUNKS: dict[str, Trunk] = {
    **{f"efficientnetb{i}": Trunk(getattr(_apps, f"EfficientNetB{i}")) for i in range(8)},
    **{f"efficientnetv2b{i}": Trunk(getattr(_apps, f"EfficientNetV2B{i}")) for i in range(4)},
    **{
        f"efficientnetv2{s.lower()}": Trunk(getattr(_apps, f"EfficientNetV2{s}"), V2_LARGE)
        for s in "SML"
    },
    "resnet50": Trunk(_apps.ResNet50, CAFFE, pytorch=resnet.resnet50),
    "vgg16": Trunk(_apps.VGG16, CAFFE),
    "vgg19": Trunk(_apps.VGG19, CAFFE),
    "inceptionv3": Trunk(_apps.InceptionV3, INCEPTION, min_size=75),
    "mobilenetv3small": Trunk(_apps.MobileNetV3Small, INCEPTION),
    "mobilenetv3large": Trunk(_apps.MobileNetV3Large, INCEPTION),
    **{
        f"convnext{s.lower()}": Trunk(getattr(_apps, f"ConvNeXt{s}"))
        for s in ("Tiny", "Small", "Base", "Large", "XLarge")
    },
    **{f"efficientnetlite{i}": Trunk(partial(efficientnet_lite, i), LITE) for i in SCALES},
    "small_cnn": Trunk(small_cnn, min_size=16),
}


def find(name: str, size: int) -> Trunk:
    """Return the trunk with a name.

    Args:
      size: H and W.

    Raises:
      InputError: if there is no such trunk, or the photos are too small for it.
    """
    if name not in TRUNKS:
        raise InputError(
            f"model.trunk: {name!r} is not a trunk{did_you_mean(name, TRUNKS)}; "
            f"use one of {', '.join(TRUNKS)}"
        )
    trunk = TRUNKS[name]
    if size < trunk.min_size:
        raise InputError(
            f"data.image_size: {size} is too small for {name}: at least {trunk.min_size}"
        )
    return trunk


def settled(config: ModelConfig) -> tuple[ModelConfig, pretrained.WeightsSource | None]:
    """Return the config with the style and pixels of its weights, and the source of the weights.

    The network of such a config does not depend on the weights file. Downloads the file if Keras
    has it. Raises InputError as `pretrained.find` does, or if the download fails.
    """
    if hub.is_preset(config.trunk):
        return config, hub.source(config)
    found = pretrained.find(config, TRUNKS[config.trunk].make)
    if found is None:
        return config, None
    settings = {"style": found.style, "pixels": found.pixels}
    return config.model_copy(update=settings), found.source()


def require_sizes(config: ModelConfig, sizes: list[int]) -> None:
    """Check that one run can train a trunk with photos of all these sizes.

    Raises:
      InputError: see `find`; or if the trunk's weights depend on the size.
    """
    if hub.is_preset(config.trunk):
        hub.require_sizes(config, sizes)
        return
    for size in sizes:
        find(config.trunk, size)


def keep_architecture(config: ModelConfig, size: int, folder: Path) -> None:
    """Write what a trained run needs to build its trunk, unless written; only a preset needs it."""
    if hub.is_preset(config.trunk) and not (folder / hub.CONFIG).is_file():
        hub.write_architecture(config.trunk, size, folder)


def build(config: ModelConfig, size: int, fused: bool = False) -> Any:
    """Build a trunk as a flat functional model: uint8 [B, H, W, 3] -> feature map [B, h, w, D].

    A preset of KerasHub keeps its layers, see `hub.load`. In the other trunks dropout is
    `noise.Dropout`. Convolutions do their own padding if possible, and on a CPU
    depthwise ones have our own gradients. Batch normalisation has the config's momentum and is
    synchronised if the current strategy has several replicas.

    Args:
      size: H and W.
      fused: whether XLA computes the activations for which it is faster.

    Raises:
      InputError: if there is no such trunk, the photos are too small for it, or the weights are of
        another network.
    """
    name = config.trunk
    # uint8 input: a quarter of float32's traffic to the accelerator
    pixels = keras.Input([size, size, 3], dtype="uint8", name="pixels")
    if hub.is_preset(name):
        preset = hub.load(config, size)
        # float32: the backbone's input has it, and its first layer casts anyway
        normalize = PixelNormalization(
            preset.mean, preset.std, name="pixel-normalization", dtype="float32"
        )
        return keras.Model(pixels, preset.apply(normalize(pixels)), name=preset.name)
    trunk = find(name, size)
    weights = pretrained.find(config, trunk.make)
    style, pixel_format = (weights or config).style, (weights or config).pixels
    make = (style == "pytorch" and trunk.pytorch) or trunk.make
    expected = PIXELS.get(pixel_format, trunk.pixels)
    normalize = PixelNormalization(
        expected.mean, expected.std, expected.bgr, name="pixel-normalization"
    )
    network = make(include_top=False, weights=None, input_tensor=normalize(pixels))
    # Keras' ConvNeXt skips to the source of input_tensor: our layer then replaces its own
    is_skipped = normalize not in network.layers
    synchronized = tf.distribute.get_strategy().num_replicas_in_sync > 1
    needless = needless_padding(network)  # padding layer by convolution
    if style == "pytorch":
        needless = {
            name: padding
            for name, padding in needless.items()
            if not _is_uneven(network.get_layer(padding))
        }

    def replace(layer: Any) -> Any:
        settings = layer.get_config()
        if is_skipped and isinstance(layer, keras.layers.Normalization):
            return PixelNormalization.from_config({**normalize.get_config(), "name": layer.name})
        is_scaling = isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization))
        if is_scaling or layer.name in needless.values():
            return Identity(name=layer.name)
        if layer.name in needless:
            settings["padding"] = "same"
        if isinstance(layer, keras.layers.Dropout):
            return noise.Dropout(
                settings["rate"], settings["noise_shape"], name=layer.name, dtype=settings["dtype"]
            )
        if isinstance(layer, keras.layers.BatchNormalization):
            settings["momentum"] = config.batch_norm_momentum
            settings["synchronized"] = synchronized
            settings["epsilon"] = PYTORCH_EPSILON if style == "pytorch" else settings["epsilon"]
        if style == "pytorch" and isinstance(layer, keras.layers.ZeroPadding2D):
            settings["padding"] = [[max(sides)] * 2 for sides in layer.padding]
        if fast_layers.is_replaceable(layer):
            return fast_layers.DepthwiseConv2D.from_config(settings)
        is_silu = settings.get("activation") in ("swish", "silu")
        if fused and is_silu and isinstance(layer, keras.layers.Activation):
            settings["activation"] = fast_layers.fused_silu
        if fused and isinstance(layer, keras.layers.ReLU) and settings["max_value"] == 6:
            return keras.layers.Activation(
                fast_layers.fused_relu6, name=layer.name, dtype=settings["dtype"]
            )
        return layer.__class__.from_config(settings)

    network = keras.models.clone_model(network, clone_function=replace)
    if weights:
        weights.load(network)
    # one input and one output: Keras 3's clone has lists of them
    return keras.Model(network.inputs[0], network.outputs[0], name=network.name)


def _is_uneven(padding: Any) -> bool:
    """Return whether a layer adds more zeros on one side, as for an even size and strides.

    PyTorch's networks then add the larger number on both sides.
    """
    return any(before != after for before, after in padding.padding)
