"""Verify a SavedModel against the trained network, before it becomes a version."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image
from tensorflow.core.protobuf import saved_model_pb2

from attr_extractor.catalogue import photos
from attr_extractor.labels import MISSING, PRESENT, category_of
from attr_extractor.model.answers import Answers
from attr_extractor.model.evidence import KNOWN, STRONGEST, TEXT
from attr_extractor.model.network import EVIDENCE, POOLED, Network
from attr_extractor.records import example, words
from attr_extractor.records.pixels import from_stored
from attr_extractor.schema import Schema
from attr_extractor.serving import model_dir, skew
from attr_extractor.serving.context import known_cells
from attr_extractor.serving.served_model import Computed

TOLERANCE = 1e-4  # between scores of the trained model and of the folded one


def trained(network: Network) -> Computed:
    """Return the function of `ServedModel.network`, computed by the trained network itself."""
    features = keras.Model(network.logits.inputs, network.logits.get_layer(POOLED).output)

    def compute(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        embedding = tf.math.l2_normalize(features(pixels, training=False), axis=1)
        return network.flat_scores(pixels), embedding

    return compute


def verify(path: Path, network: Computed, answers: Answers, told: Network | None = None) -> None:
    """Run every signature on the same photos, encoded if it takes files, and compare the outputs.

    Args:
      network: uint8 [B, H, W, 3] -> the expected scores [B, V] and embeddings [B, D].
      told: the trained network, if it reads more than the photo.

    Raises:
      RuntimeError: if scores, embeddings or answers differ from the network's, the graph does not
        read raw files as a table's photos are read, or it contains an operation that a stock TF
        Serving lacks.
    """
    _require_stock_operations(path)
    model = model_dir.load(path)
    facts, signatures = model.facts, model.signatures
    made_up = _made_up_files(facts.photo_short_side)
    stored = [photos.store(file, facts.photo_short_side).encoded for file in made_up]
    pixels = tf.stack([from_stored(each, facts.image_size, facts.square) for each in stored])
    stored_scores = signatures["stored_scores"](stored=tf.constant(stored))["scores"]
    expected_scores, expected_embedding = network(pixels)
    _require_close("scores", stored_scores, expected_scores)
    measured = skew.measure(model, made_up)
    if not measured.is_small or measured.one_sided:
        raise RuntimeError(
            f"the exported model does not read raw files as a table's photos are read: {measured}"
        )

    files = tf.constant(made_up)
    scores = signatures["scores"](image_bytes=files)["scores"]
    embedding = signatures["embedding"](image_bytes=files)["embedding"]
    _require_close("embeddings", embedding, expected_embedding)
    described = signatures["description"](rows=tf.constant([""]))
    for output, name in (("model_json", "model.json"), ("schema_yaml", "schema.yaml")):
        if described[output].numpy()[0] != (path / "assets" / name).read_bytes():
            raise RuntimeError(f"the exported model's description differs from its {name}")

    # use the SavedModel's own scores: float error cannot then move a score across a threshold
    count = len(stored)
    limits = tf.fill([count], 0.5)
    of_stored = answers.strings(stored_scores, answers.chosen(stored_scores))
    words = answers.strings(scores, answers.chosen(scores))
    at_limits = answers.strings(scores, answers.chosen(scores, limits[:, tf.newaxis]))
    if told is not None and told.context:
        _verify_context(signatures, answers, told, files[:, tf.newaxis], scores)
    examples = tf.constant([example.of_photo(each) for each in stored])
    singles = files[:, tf.newaxis]  # products of one photo
    whole = tf.zeros([count, 1, 4], tf.int32)
    for name, inputs, expected in (
        ("serving_default", {"image_bytes": files}, words),
        ("with_threshold", {"image_bytes": files, "threshold": limits}, at_limits),
        ("product", {"image_bytes": singles}, words),
        ("product_with_box", {"image_bytes": singles, "box": whole}, words),
        ("tf_example", {"examples": examples}, of_stored),
        ("pixels", {"pixels": pixels}, of_stored),
    ):
        _require_answers(name, signatures[name](**inputs), expected)


def _made_up_files(short_side: int) -> list[bytes]:
    """Return noisy photos as phones and shops send them: JPEG and PNG of several sizes, turned."""
    generator = np.random.default_rng(0)
    made = []
    for scale, turn, kind in (
        (0.8, 1, "JPEG"),
        (1.6, 6, "JPEG"),
        (2.9, 3, "JPEG"),
        (5.1, 1, "PNG"),
    ):
        height, width = int(short_side * scale * 1.3), int(short_side * scale)
        coarse = generator.integers(0, 256, [13, 10, 3], np.uint8)
        photo = Image.fromarray(coarse).resize((width, height))
        noise = generator.integers(-20, 21, [height, width, 3])
        photo = Image.fromarray(np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8))
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = turn
        out = io.BytesIO()
        photo.save(out, kind, exif=exif)
        made.append(out.getvalue())
    return made


def _verify_context(
    signatures: Mapping[str, Any],
    answers: Answers,
    network: Network,
    files: tf.Tensor,
    scores: tf.Tensor,
) -> None:
    """Compare the signatures that read known cells and texts; `scores` are those of the files."""
    labels, texts = _made_up_context(answers.schema, len(scores))
    given = {KNOWN: tf.constant(labels), TEXT: words.pieces(tf.constant(texts))}
    evidence = network.evidence({name: given[name] for name in network.context})
    known = known_cells(answers.schema, labels == PRESENT)
    request = {"known": tf.constant(known), "text": tf.constant(texts)}
    found = signatures["in_context"](scores=scores, **request)["scores"]
    _require_close("scores in context", found, network.in_context(scores, evidence))
    category = category_of(labels, answers.schema)
    chosen = answers.chosen(found, category=tf.constant(category, tf.int32))
    answered = signatures["with_context"](image_bytes=files, **request)
    _require_answers("with_context", answered, answers.strings(found, chosen))
    first = [where.start for where in answers.schema.slices.values()]  # a value per attribute
    value = tf.constant([first] * len(labels), tf.int32)
    cells = tf.constant(np.nonzero(labels == PRESENT)[1].reshape([len(labels), -1]), tf.int32)
    shares = network.evidence.get_layer(EVIDENCE).shares(cells, given[TEXT], value)
    shares *= network.trust[first][:, np.newaxis]
    largest = tf.math.top_k(tf.abs(shares), STRONGEST).values
    found = signatures["shares"](value=value, **request)["log_odds"]
    _require_close("shares", tf.abs(found), largest)


def _made_up_context(schema: Schema, count: int) -> tuple[np.ndarray, list[str]]:
    """Return labels int8 [N, V] with one value of every other attribute, and texts."""
    generator = np.random.default_rng(0)
    labels = np.full([count, schema.num_values], MISSING, np.int8)
    for name in schema.names[::2]:
        where = schema.slices[name]
        labels[np.arange(count), generator.integers(where.start, where.stop, count)] = PRESENT
    return labels, [" ".join(schema[name].values[0] for name in schema.names)] * count


def _require_close(what: str, actual: tf.Tensor, expected: tf.Tensor) -> None:
    difference = np.abs(np.asarray(actual) - np.asarray(expected)).max()
    if not difference <= TOLERANCE:  # true for NaN
        raise RuntimeError(f"the exported model's {what} differ from the run's by {difference}")


def _require_answers(
    name: str, actual: Mapping[str, tf.Tensor], expected: Mapping[str, tf.Tensor]
) -> None:
    for output, values in expected.items():
        if values.dtype == tf.string:
            if not np.array_equal(actual[output], values):
                raise RuntimeError(f"the exported model's {name} differs from the run in {output}")
        else:
            _require_close(f"{name}'s {output}", actual[output], values)


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
