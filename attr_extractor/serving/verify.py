"""Verify the exported SavedModel against the trained network before it becomes a version."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from attr_extractor.model.answers import Answers
from attr_extractor.model.network import POOLED, Network
from attr_extractor.records import example

TOLERANCE = 1e-4  # between scores of the trained model and of the folded one
_PHOTOS = 4


def verify(path: Path, network: Network, answers: Answers, image_size: int) -> None:
    """Run every signature on the same photos, encoded if it takes files, and compare the outputs.

    Raises:
      RuntimeError: if scores, embeddings or answers differ from the trained network's, or the
        graph contains an operation that a stock TF Serving lacks.
    """
    _require_stock_operations(path)
    generator = np.random.default_rng(0)
    size = [_PHOTOS, image_size, image_size, 3]
    photos = generator.integers(0, 256, size, dtype=np.uint8)
    encoded = tf.stack([tf.io.encode_png(photo) for photo in photos])
    signatures = tf.saved_model.load(str(path)).signatures

    found = signatures["scores"](image_bytes=encoded)
    _require_close("scores", found["scores"], network.flat_scores(photos))
    features = keras.Model(network.logits.inputs, network.logits.get_layer(POOLED).output)
    expected = tf.math.l2_normalize(features(photos, training=False), axis=1)
    found_embedding = signatures["embedding"](image_bytes=encoded)["embedding"]
    _require_close("embeddings", found_embedding, expected)

    examples = tf.constant([example.of_photo(photo) for photo in encoded.numpy()])
    # use the SavedModel's own scores: float error cannot then move a score across a threshold
    scores = found["scores"]
    words = answers.strings(scores, answers.chosen(scores))
    limits = tf.fill([_PHOTOS], 0.5)
    at_limits = answers.strings(scores, answers.chosen(scores, limits[:, tf.newaxis]))
    for name, given, expected in (
        ("serving_default", {"image_bytes": encoded}, words),
        ("with_threshold", {"image_bytes": encoded, "threshold": limits}, at_limits),
        ("tf_example", {"examples": examples}, words),
        ("pixels", {"pixels": tf.constant(photos)}, words),
    ):
        _require_answers(name, signatures[name](**given), expected)


def _require_close(what: str, found: tf.Tensor, expected: tf.Tensor) -> None:
    difference = np.abs(np.asarray(found) - np.asarray(expected)).max()
    if not difference <= TOLERANCE:  # true for NaN
        raise RuntimeError(f"the exported model's {what} differ from the run's by {difference}")


def _require_answers(
    name: str, found: dict[str, tf.Tensor], expected: dict[str, tf.Tensor]
) -> None:
    for output, values in expected.items():
        if values.dtype == tf.string:
            if not np.array_equal(found[output], values):
                raise RuntimeError(f"the exported model's {name} differs from the run in {output}")
        else:
            _require_close(f"{name}'s {output}", found[output], values)


def _require_stock_operations(path: Path) -> None:
    """Reject Python ops, and ops that XLA must compile: a stock server has no XLA for CPUs."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    strange = {node.op for node in nodes if "PyFunc" in node.op or ">" in node.op}
    strange |= {node.name for node in nodes if node.attr["_XlaMustCompile"].b}
    strange |= {f.signature.name for f in graph.library.function if f.attr["_XlaMustCompile"].b}
    if strange:
        raise RuntimeError(f"TF Serving does not run {', '.join(sorted(strange))}")
