"""The functional model: pixels -> trunk -> attention -> pooling -> branches -> logits and scores.

One set of layers, two models: `logits` [B, V] for training, and `scores`, one sigmoid output per
attribute under its own name, for everyone else. The trunk is not nested, so Grad-CAM can reach
its last feature map.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import trunk
from attr_extractor.model.attention import TransformerBlock
from attr_extractor.model.branches import Branches, SplitAttributes
from attr_extractor.schema import Schema

# Names of our layers hold a hyphen, so that no attribute can have the same one.
FEATURE_MAP = "feature-map"
POOLED = "pooled-features"
BRANCHES = "branches-fused"


@dataclass(frozen=True)
class Network:
    """Two Keras models over the same layers and weights."""

    logits: Any  # keras.Model: uint8 [B, H, W, 3] -> float32 [B, V]
    scores: Any  # keras.Model: the same -> dict of T outputs, float32 [B, V_t] in 0 .. 1


def build(schema: Schema, config: Config, priors: np.ndarray | None = None) -> Network:
    """The network of a schema and a config, with fresh or pretrained weights.

    Args:
      priors: float [V], each value's frequency in the training labels; used by `prior_bias`.

    Raises:
      InputError: a trunk, its weights or an image size that cannot be; an attribute named like a
        layer of the trunk.
    """
    size = config.data.image_size
    # uint8 on the wire: a quarter of float32's traffic to the accelerator
    pixels = keras.Input([size, size, 3], dtype="uint8", name="pixels")
    features = trunk.build(
        config.model.trunk, pixels, config.model.weights, config.model.batch_norm_momentum
    )  # [B, h, w, D]
    channels = int(features.shape[-1])
    positions = keras.layers.Reshape([-1, channels], name=FEATURE_MAP)(features)  # [B, N, D]
    attention = config.model.attention
    if attention.enabled:
        positions = TransformerBlock(
            attention.num_heads,
            attention.key_dim,
            attention.feed_forward_dim,
            attention.initial_scale,
            name="transformer-block",
        )(positions)  # [B, N, D]
    pooled = keras.layers.GlobalAveragePooling1D(name=POOLED)(positions)  # [B, D]
    branches = Branches(schema.sizes, config.model.hidden, name=BRANCHES)
    logits = branches(pooled)  # [B, V] float32
    if config.model.prior_bias and priors is not None:
        branches.bias3.assign(prior_logits(priors))

    split = SplitAttributes(schema.sizes, name="split-attributes", dtype="float32")(logits)
    taken = {layer.name for layer in keras.Model(pixels, logits).layers}
    for name in schema.names:
        if name in taken:
            raise InputError(
                f"the attribute {name!r} has the name of a layer of the trunk; rename it"
            )
    outputs = {
        name: keras.layers.Activation("sigmoid", name=name, dtype="float32")(part)
        for name, part in zip(schema.names, split)
    }
    return Network(
        logits=keras.Model(pixels, logits, name="logits"),
        scores=keras.Model(pixels, outputs, name="scores"),
    )


def prior_logits(priors: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of each value's frequency, so that training starts at the base rates."""
    p = np.clip(np.asarray(priors, np.float64), 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p)).astype(np.float32)


def layer_arrays(model: Any) -> dict[str, np.ndarray]:
    """All weights as arrays, keyed `<layer>/<position>`: a form that every TensorFlow reads."""
    return {
        f"{name}/{i}": array
        for name, layer in _stable_names(model)
        for i, array in enumerate(layer.get_weights())
    }


def set_layer_arrays(model: Any, arrays: dict[str, np.ndarray], origin: str) -> None:
    """Sets all weights from `layer_arrays`; raises InputError where they are another network's."""
    expected = layer_arrays(model)
    for key in [*expected, *arrays]:
        ours, theirs = expected.get(key), arrays.get(key)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            shapes = [None if a is None else list(a.shape) for a in (theirs, ours)]
            raise InputError(
                f"{origin}: weights of another network: {key} is {shapes[0]} there, "
                f"{shapes[1]} in this config"
            )
    for name, layer in _stable_names(model):
        count = len(layer.get_weights())
        layer.set_weights([arrays[f"{name}/{i}"] for i in range(count)])


def _stable_names(model: Any) -> Iterator[tuple[str, Any]]:
    """Every layer under a name that does not depend on what else the process has built.

    Layers that keras.applications leaves unnamed are numbered through the process
    (normalization, normalization_1, ...); here the numbers start anew in each model.
    """
    seen: Counter[str] = Counter()
    for layer in model.layers:
        base = re.sub(r"(_\d+)+$", "", layer.name)
        yield (f"{base}_{seen[base]}" if seen[base] else base), layer
        seen[base] += 1
