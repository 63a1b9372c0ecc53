"""The functional model: pixels -> trunk -> attention -> pooling -> branches -> logits and scores.

Two models share one set of layers: `logits` [B, V] and `scores_model`, with one output of scores
per attribute under its name. The trunk is not nested, so Grad-CAM can reach its last feature map.
With `model.context`, `evidence` is a third model beside them, and `trained` has all layers.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.config import Config, ModelConfig
from attr_extractor.errors import InputError
from attr_extractor.model import evidence, noise
from attr_extractor.model.attention import PooledTransformerBlock
from attr_extractor.model.branches import Branches, SplitAttributes
from attr_extractor.model.functional import Identity
from attr_extractor.model.scoring import Scoring, softmax_values
from attr_extractor.model.trunks import trunk
from attr_extractor.schema import Schema

# Layer names contain a hyphen, so that no attribute can have the same name.
FEATURE_MAP = "feature-map"
ATTENTION = "transformer-block"
POOLED = "pooled-features"
BRANCHES = "branches-fused"
EVIDENCE, BASE = "evidence-of-context", "base-rates"
PIXELS, FEATURES = "pixels", "features"


@dataclass(frozen=True)
class Network(Scoring):
    """A functional Keras model with its layers and the rule from its logits to scores."""

    logits: Any  # keras.Model: uint8 [B, H, W, 3], or features [B, F] -> float32 [B, V]
    trunk: list[Any]  # the layers before the attention block; none if features are the input
    maps: list[Any]  # symbolic [B, h, w, D]: the last map of each resolution, finest first
    features: list[Any]  # symbolic: the positions [B, N, D], then earlier stages, pooled [B, D_i]
    inputs: str = PIXELS  # the input's name: PIXELS uint8 [B, H, W, 3] or FEATURES [B, F]
    # keras.Model: a dict of `known` int8 [B, V] and `text` int32 [B, W, P], those of
    # `model.context` -> float32 [B, V]; None without context
    evidence: Any = None
    # keras.Model: the inputs of `logits` and `evidence` in a dict -> a list of `logits` and of the
    # logits from the context alone, [B, V] each; without context `logits` itself
    trained: Any = None

    @property
    def context(self) -> list[str]:
        """Names of the inputs of `evidence`."""
        return [] if self.evidence is None else self.evidence.get_layer(EVIDENCE).names

    def flat_scores(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return the outputs of `scores_model` concatenated: uint8 [B, H, W, 3] -> [B, V]."""
        return self.scores_of(self.logits(pixels, training=False))

    def scores_model(self) -> Any:
        """Return a Keras model over the same layers that applies the network's temperatures.

        uint8 [B, H, W, 3] -> a dict of T outputs, float32 [B, V_t] in 0 .. 1, by attribute.
        """
        scale = (1 / self.temperatures).tolist()
        scaled = keras.layers.Rescaling(scale, name="temperature-scaling", dtype="float32")
        split = SplitAttributes(self.schema.sizes, name="split-attributes", dtype="float32")
        outputs = {}
        for name, logits in zip(self.schema.names, split(scaled(self.logits.output))):
            kind = "softmax" if self.softmax[self.schema.slices[name]].all() else "sigmoid"
            outputs[name] = keras.layers.Activation(kind, name=name, dtype="float32")(logits)
        return keras.Model(self.logits.input, outputs, name="scores")


def build(
    schema: Schema,
    config: Config,
    priors: np.ndarray | None = None,
    image_size: int | None = None,
    temperatures: np.ndarray | None = None,
    trust: np.ndarray | None = None,
    precision: str = "float32",
) -> Network:
    """Build the network of a schema and a config, with random or pretrained weights.

    Args:
      priors: float [V], each value's frequency in the training labels; used by `prior_bias`.
      image_size: pixels, replaces the config's; the weights have the same shapes.
      temperatures: float32 [V], equal within an attribute; 1 if not given.
      trust: float32 [V], factors of the evidence; 1 if not given.
      precision: Keras policy of the layers, instead of the process's global one.

    Raises:
      InputError: if the trunk, its weights or the image size are invalid, or an attribute has the
        name of a layer of the trunk.
    """
    model = config.model
    with computing_in(precision):
        base = trunk.build(model, image_size or config.data.image_size, config.train.xla_loops)
        maps = _resolutions(base, model.fuse_stages)
        features = _features(maps[-model.fuse_stages :])
        logits = _answer(features, schema, model, priors)
    built = keras.Model(base.inputs[0], logits, name="logits")
    layer_names = {layer.name for layer in built.layers}
    if taken := layer_names.intersection(schema.names):
        name = min(taken)
        raise InputError(f"the attribute {name!r} has the name of a layer of the trunk; rename it")
    ones = np.ones(schema.num_values, np.float32)
    return Network(
        logits=built,
        **_with_context(built, schema, model, priors),
        trunk=list(base.layers),
        maps=maps,
        features=features,
        schema=schema,
        softmax=softmax_values(schema, config.model),
        temperatures=ones if temperatures is None else temperatures,
        trust=ones if trust is None else trust,
    )


def build_head(
    schema: Schema,
    config: Config,
    shapes: Sequence[Sequence[int]],
    precision: str = "float32",
) -> Network:
    """Build the layers after the trunk as a network of their own, with the same names.

    Args:
      shapes: of one photo's `Network.features`; the input is their concatenation, float16 [B, F].
      precision: see `build`.
    """
    with computing_in(precision):
        sizes = [math.prod(shape) for shape in shapes]
        vector = keras.Input([sum(sizes)], dtype="float16", name=FEATURES)
        features = SplitFeatures(shapes, name="split-features")(vector)
        built = keras.Model(vector, _answer(features, schema, config.model), name="logits")
    return Network(
        logits=built,
        **_with_context(built, schema, config.model),
        trunk=[],
        maps=[],
        features=features,
        inputs=FEATURES,
        schema=schema,
        softmax=softmax_values(schema, config.model),
        temperatures=np.ones(schema.num_values, np.float32),
        trust=np.ones(schema.num_values, np.float32),
    )


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Build layers with a Keras policy, such as "float32"; then restore the process's policy."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _features(stages: list[Any]) -> list[Any]:
    """Return the positions [B, N, D] of the last map, and earlier maps pooled, [B, D_i] each."""
    channels = int(stages[-1].shape[-1])
    positions = keras.layers.Reshape([-1, channels], name=FEATURE_MAP)(stages[-1])  # [B, N, D]
    return [positions] + [
        keras.layers.GlobalAveragePooling2D(name=f"pooled-stage-{i}")(stage)
        for i, stage in enumerate(stages[:-1])
    ]


def _answer(
    features: list[Any], schema: Schema, model: ModelConfig, priors: np.ndarray | None = None
) -> Any:
    """Return the logits [B, V] of the attention block, pooling and branches."""
    positions, *earlier = features
    if model.attention.enabled:
        pooled = PooledTransformerBlock(
            model.attention.num_heads,
            model.attention.key_dim,
            model.attention.feed_forward_dim,
            model.attention.initial_scale,
            name=ATTENTION,
        )(positions)  # [B, D]
    else:
        pooled = keras.layers.GlobalAveragePooling1D(name="pooled-positions")(positions)  # [B, D]
    if earlier:
        pooled = keras.layers.Concatenate(name="pooled-stages")([pooled, *earlier])  # [B, D']
    pooled = noise.Dropout(model.dropout, name=POOLED)(pooled)  # [B, D']
    branches = Branches(schema.sizes, model.hidden, name=BRANCHES)
    logits = branches(pooled)  # [B, V] float32
    if model.prior_bias and priors is not None:
        branches.bias3.assign(prior_logits(priors, softmax_values(schema, model)))
    return logits


def _with_context(
    logits: Any, schema: Schema, model: ModelConfig, priors: np.ndarray | None = None
) -> dict[str, Any]:
    """Return `Network.evidence` and `Network.trained`."""
    if not model.context.names:
        return {"evidence": None, "trained": logits}
    with computing_in("float32"):  # a few products, whose sum is added to logits
        given = evidence.inputs(schema.num_values, model.context.names)
        weights = evidence.Evidence(
            schema.sizes, model.context.width, model.context.names, name=EVIDENCE
        )
        base = evidence.BaseRates(name=BASE)
        found = weights(list(given.values()))  # [B, V]
        alone = base(found)
    if priors is not None:
        base.log_odds.assign(prior_logits(priors, softmax_values(schema, model)))
    photo = logits.inputs[0]
    every = {photo.name: photo, **given}
    return {
        "evidence": keras.Model(given, found, name="evidence"),
        "trained": keras.Model(every, [logits.outputs[0], alone], name="trained"),
    }


@keras.utils.register_keras_serializable("attr_extractor")
class SplitFeatures(keras.layers.Layer):
    """Split of a photo's vector [B, F] into tensors of the given shapes, in compute dtype."""

    def __init__(self, shapes: Sequence[Sequence[int]], **kwargs: Any):
        super().__init__(**kwargs)
        self.shapes = [list(shape) for shape in shapes]

    def call(self, inputs: tf.Tensor) -> list[tf.Tensor]:
        parts = tf.split(
            tf.cast(inputs, self.compute_dtype), [math.prod(s) for s in self.shapes], axis=-1
        )
        return [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, self.shapes)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shapes": self.shapes}


def _resolutions(base: Any, count: int) -> list[Any]:
    """Return a trunk's last output at each resolution, highest first; at least `count`."""
    lowest = int(base.output.shape[1])
    last: dict[int, Any] = {}  # by height
    for layer in base.layers:
        if _adds_nothing(layer):
            continue
        for output in tf.nest.flatten(layer.output):
            if len(output.shape) == 4 and output.shape[1] >= lowest:
                last[int(output.shape[1])] = output
    if count > len(last):
        raise InputError(f"model.fuse_stages: {count}, but the trunk has {len(last)} resolutions")
    return [last[height] for height in sorted(last, reverse=True)[:-1]] + [base.output]


def _adds_nothing(layer: Any) -> bool:
    """Return whether a layer pads, or replaces one that trunk.build removed."""
    return isinstance(layer, (keras.layers.ZeroPadding2D, Identity))


def prior_logits(priors: np.ndarray, softmax: np.ndarray | bool = False) -> np.ndarray:
    """Return initial output biases, with which training starts at the base rates.

    Args:
      priors: float [V], the values' frequencies.
      softmax: bool [V], whether the score is a softmax: the bias is log p if so, else
        log(p / (1 - p)).
    """
    p = np.clip(np.asarray(priors, np.float64), 1e-4, 1 - 1e-4)
    return np.where(softmax, np.log(p), np.log(p / (1 - p))).astype(np.float32)


def layer_arrays(model: Any) -> dict[str, np.ndarray]:
    """Return all weights as arrays keyed `<layer>/<position>`, readable by every TensorFlow."""
    return {
        f"{name}/{i}": array
        for name, layer in _stable_names(model)
        for i, array in enumerate(layer.get_weights())
    }


def set_layer_arrays(model: Any, arrays: dict[str, np.ndarray], origin: str) -> None:
    """Set all weights from `layer_arrays`; raise InputError if they are from another network."""
    expected = layer_arrays(model)
    for key in [*expected, *arrays]:
        given, wanted = arrays.get(key), expected.get(key)
        if given is None or wanted is None or given.shape != wanted.shape:
            shapes = [None if a is None else list(a.shape) for a in (given, wanted)]
            raise InputError(
                f"{origin}: weights of another network: {key} has shape {shapes[0]} in the file, "
                f"{shapes[1]} in this config"
            )
    for name, layer in _stable_names(model):
        count = len(layer.get_weights())
        layer.set_weights([arrays[f"{name}/{i}"] for i in range(count)])


def _stable_names(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield each layer with a name that does not depend on other models of the process.

    Keras numbers the unnamed layers of keras.applications across the whole process (normalization,
    normalization_1, ...); here the numbers restart in each model.
    """
    seen: Counter[str] = Counter()
    for layer in model.layers:
        base = re.sub(r"(_\d+)+$", "", layer.name)
        yield (f"{base}_{seen[base]}" if seen[base] else base), layer
        seen[base] += 1
