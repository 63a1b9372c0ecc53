"""Image backbones of KerasHub as trunks: `model.trunk: hub:PRESET_OR_FOLDER` (Keras 3 only).

A preset contains an architecture, weights, and an ImageConverter, whose scale and offset define the
pixels that the weights expect. A transformer returns tokens [B, P + N, D]: P class and register
tokens, then N = h * w positions. The trunk's map [B, h, w, D] contains the positions alone.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from attr_extractor import files
from attr_extractor.config import ModelConfig
from attr_extractor.errors import InputError, make_folder, parsing
from attr_extractor.model import keras_versions, noise
from attr_extractor.model.trunks.pretrained import WeightsSource

PREFIX = "hub:"
# classes with a text encoder beside the vision encoder, which alone is the trunk
PAIRS = ("SigLIPBackbone", "CLIPBackbone", "MetaCLIP2Backbone")
ENCODERS = ("SigLIPVisionEncoder", "CLIPVisionEncoder", "MetaCLIP2VisionEncoder")
# a learned vector for each position, hence weights for one size of photos
POSITIONS = ("ViTBackbone", "DeiTBackbone", *ENCODERS, *PAIRS)
TRANSFORMERS = (*POSITIONS, "DINOV2Backbone", "DINOV3Backbone", "SwinTransformerBackbone")
CONVOLUTIONAL = tuple(
    f"{family}Backbone"
    for family in (
        *("ResNet", "EfficientNet", "MobileNet", "CSPNet", "DenseNet", "HGNetV2", "VGG"),
        *("Xception", "MiT"),
    )
)
CONFIG, CONVERTER = "config.json", "image_converter.json"  # KerasHub's names


class Preset(NamedTuple):
    """A backbone with its pixel format: (pixels / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    apply: Callable[[Any], Any]  # symbolic pixels [B, H, W, 3] -> map [B, h, w, D]; call it once
    name: str


def is_preset(trunk: str) -> bool:
    """Return whether `model.trunk` names a preset of KerasHub."""
    return trunk.startswith(PREFIX)


def load(config: ModelConfig, size: int) -> Preset:
    """Load a preset for square photos, with its weights unless `model.weights` is `none`.

    Batch normalisation has the config's momentum and is synchronised if the current strategy has
    several replicas. Random layers draw from the step's seed.

    Args:
      size: H and W.

    Raises:
      InputError: if KerasHub is missing, there is no such preset, it is not an image backbone, or
        it does not fit the size or the config.
    """
    source = _find(config.trunk)
    _require_fit(source, config, size)
    with parsing(f"model.trunk: {config.trunk}: cannot be loaded for {size} px"):
        backbone = _backbone(source, size, config.weights != "none")
    features = _features(backbone)
    is_map = len(features.shape) == 4
    if not is_map and config.fuse_stages > 1:
        raise InputError(
            f"model.fuse_stages: {config.fuse_stages}, but {config.trunk} is a transformer with "
            "one resolution: use 1"
        )
    _adapt(backbone, config)
    mean, std = _pixels(source.converter)

    def apply(pixels: Any) -> Any:
        outputs = keras_versions.on_other_input(backbone, features, pixels)
        if is_map:
            return outputs
        prefix, side = _layout(source.kind, backbone, int(outputs.shape[1]), size)
        return PositionsMap(prefix, side, name="positions-map")(outputs)

    return Preset(mean, std, apply, backbone.name)


def source(config: ModelConfig) -> WeightsSource | None:
    """Return the origin of a preset's weights; None if `model.weights` is `none`."""
    if config.weights == "none":
        return None
    return WeightsSource(config.trunk[len(PREFIX) :], "", "keras_hub")


def require_sizes(config: ModelConfig, sizes: list[int]) -> None:
    """Check that one run can train a preset with photos of all these sizes.

    Raises:
      InputError: if the preset's weights depend on the size; see also `load`.
    """
    source, shapes = _find(config.trunk), []
    for size in sizes:
        _require_fit(source, config, size)
        if len(set(sizes)) > 1:
            with parsing(f"model.trunk: {config.trunk}: cannot be built for {size} px"):
                weights = _backbone(source, size, load_weights=False).weights
            shapes.append([tuple(weight.shape) for weight in weights])
    if any(each != shapes[0] for each in shapes):
        raise InputError(
            f"train.image_sizes: the weights of {config.trunk} depend on the size of the photos: "
            f"use one size, not {sorted(set(sizes))}"
        )


def write_architecture(trunk: str, size: int, folder: str | Path) -> None:
    """Write a preset's architecture and pixel format as a preset without weights.

    With it a trained run does not need the preset.

    Raises:
      InputError: if there is no such preset, or the disk is full.
    """
    source = _find(trunk)
    with parsing(f"model.trunk: {trunk}: cannot be built for {size} px"):
        backbone = _backbone(source, size, load_weights=False)
    folder = make_folder(folder, "the folder of the trunk's architecture")
    for name, part in ((CONVERTER, source.converter), (CONFIG, backbone)):
        files.write_json(folder / name, keras.saving.serialize_keras_object(part))


def is_layer(layer: Any) -> bool:
    """Return whether a layer's class is KerasHub's; most of those cannot be cloned."""
    return type(layer).__module__.startswith("keras_hub.")


@keras.utils.register_keras_serializable("attr_extractor")
class PositionsMap(keras.layers.Layer):
    """Positions of a square photo as a map: tokens [B, P + h * w, D] -> [B, h, w, D].

    Args:
      prefix: P, the number of class and register tokens, which are left out.
      side: h and w.
    """

    def __init__(self, prefix: int, side: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.prefix = prefix
        self.side = side

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        positions = inputs[:, self.prefix :]
        return tf.reshape(positions, [-1, self.side, self.side, int(inputs.shape[2])])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "prefix": self.prefix, "side": self.side}


class _Source(NamedTuple):
    """A preset before its backbone is built."""

    hub: ModuleType
    trunk: str  # model.trunk
    preset: str
    kind: str  # class of the backbone
    settings: dict[str, Any]  # of the image backbone; empty if it is not in Keras' format
    converter: Any  # keras_hub.layers.ImageConverter


def _find(trunk: str) -> _Source:
    hub = keras_versions.keras_hub()
    # its loader alone tells the class of a preset before anything is built
    utils = importlib.import_module("keras_hub.src.utils.preset_utils")
    preset = trunk[len(PREFIX) :]
    if Path(preset).is_dir() and not (Path(preset) / CONFIG).is_file():
        raise InputError(f"model.trunk: {preset} is not a preset: it has no {CONFIG}")
    with parsing(
        f"model.trunk: {trunk}: no such preset here. Without a network, save it elsewhere: "
        f"keras_hub.models.Backbone.from_preset(NAME).save_to_preset(FOLDER) and "
        f"keras_hub.layers.ImageConverter.from_preset(NAME).save_to_preset(FOLDER), "
        "copy the folder and set model.trunk=hub:FOLDER"
    ):
        loader = utils.get_preset_loader(preset)
    with parsing(f"model.trunk: {trunk}: its {CONFIG} is not that of a backbone"):
        kind = loader.check_backbone_class().__name__
    if kind not in TRANSFORMERS + CONVOLUTIONAL:
        names = ", ".join(sorted(TRANSFORMERS + CONVOLUTIONAL))
        raise InputError(f"model.trunk: {trunk}: {kind} is not an image backbone; use {names}")
    with parsing(
        f"model.trunk: {trunk}: its pixel format is unknown; add {CONVERTER}: "
        "keras_hub.layers.ImageConverter.from_preset(NAME).save_to_preset(FOLDER)"
    ):
        converter = loader.load_image_converter(hub.layers.ImageConverter)
    settings = loader.config.get("config", {})
    settings = settings.get("vision_encoder", {}).get("config", settings)
    return _Source(hub, trunk, preset, kind, settings, converter)


def _require_fit(source: _Source, config: ModelConfig, size: int) -> None:
    if config.weights not in ("none", "imagenet"):
        raise InputError(
            f"model.weights: {config.weights}: {source.trunk} has its own weights; "
            "use imagenet for them, or none"
        )
    patch = int(np.max(source.settings.get("patch_size", 1)))
    trained = (source.settings.get("image_shape") or [size])[0]
    # a SigLIP of patches of 14 px was trained at 384 px, without the last 6
    if size % patch and size != trained:
        raise InputError(
            f"data.image_size: {size} is not a multiple of {patch}, the patch size of "
            f"{source.trunk}"
        )
    if source.kind in POSITIONS and config.weights != "none" and trained != size:
        raise InputError(
            f"data.image_size: {size}, but {source.trunk} has learned positions for photos of "
            f"{trained} px: use {trained}"
        )


def _backbone(source: _Source, size: int, load_weights: bool) -> Any:
    """Return the image backbone for a size, in the process's precision."""
    policy, shape = keras.mixed_precision.global_policy(), (size, size, 3)
    load_preset = source.hub.models.Backbone.from_preset
    if source.kind in PAIRS:
        trained = load_preset(source.preset, load_weights).vision_encoder
        settings = {**trained.get_config(), "dtype": policy, "image_shape": shape}
        encoder = type(trained).from_config(settings)
        if load_weights:
            encoder.set_weights(trained.get_weights())
        return encoder
    key = "input_shape" if source.kind == "EfficientNetBackbone" else "image_shape"
    return load_preset(source.preset, load_weights, dtype=policy, **{key: shape})


def _features(backbone: Any) -> Any:
    """Return a backbone's last features, before any pooling, as a symbolic tensor."""
    if isinstance(backbone.output, dict):  # HGNetV2: maps by stage
        return list(backbone.output.values())[-1]
    if len(backbone.output.shape) == 2:  # SigLIP: its head pools the positions
        return backbone.head.input
    return backbone.output


def _layout(kind: str, backbone: Any, count: int, size: int) -> tuple[int, int]:
    """Return how many of `count` tokens are not positions, and the positions of a side."""
    if kind == "SwinTransformerBackbone":  # merges patches, and has positions only
        return 0, math.isqrt(count)
    side = size // int(np.max(backbone.patch_size))
    # SigLIP has positions only, although its symbolic shape counts a class token
    return (0 if kind.startswith("SigLIP") else count - side * side), side


def _pixels(converter: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of pixels / 255 for pixels * scale + offset."""
    scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, [3])
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, [3])
    std = 1 / (255 * scale)
    return tuple((-offset * std).tolist()), tuple(std.tolist())


def _adapt(backbone: Any, config: ModelConfig) -> None:
    synchronized = tf.distribute.get_strategy().num_replicas_in_sync > 1
    for i, layer in enumerate(backbone._flatten_layers(include_self=False)):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum
            layer.synchronized = synchronized
        for value in list(vars(layer).values()):
            if isinstance(value, keras.random.SeedGenerator):
                _draw_from_step(value, f"{type(layer).__name__} {i}")
        if hasattr(layer, "mask_token"):  # DINO: only its pretraining uses it
            layer.mask_token.trainable = False


def _draw_from_step(generator: Any, name: str) -> None:
    """Replace a random layer's own state, which a resumed run does not have, by the step's seed."""
    from_state = generator.next

    def seed(ordered: bool = True) -> tf.Tensor:
        of_step = noise.step_seed(name)
        return from_state(ordered) if of_step is None else of_step

    generator.next = seed
