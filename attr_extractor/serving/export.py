"""Export a trained run as a self-contained version folder for any TF Serving.

<output_dir>/<version>/saved_model.pb, variables/   the signatures of served_model.py
<output_dir>/<version>/assets/                      schema.yaml, model.json, the model card
<output_dir>/<version>/assets.extra/                TF Serving's warm-up requests
<output_dir>/deployment/                            configs to run TF Serving on it (deployment.py)

The SavedModel is verified against the trained network before it becomes a version.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import saved_model_pb2

from attr_extractor import __version__, files, made_from, ownership, storage
from attr_extractor.errors import InputError
from attr_extractor.evaluation import model_card
from attr_extractor.model.answers import Answers
from attr_extractor.model.network import POOLED, Network
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import example
from attr_extractor.serving import deployment, model_dir
from attr_extractor.serving.model_dir import WARMUP, ModelFacts
from attr_extractor.serving.served_model import ServedModel
from attr_extractor.training import tracking
from attr_extractor.training.run_dir import RunDir

TOLERANCE = 1e-4  # between scores of the trained model and of the folded one
_VERIFIED_PHOTOS = 4
_WARMUP_ROWS = (1, 8)


def export(
    run_dir: str | Path, output_dir: str | Path, version: int | None = None, parts: int = 1
) -> Path:
    """Write `<output_dir>/<version>/` atomically.

    Args:
      version: the version's number; default: one more than the highest in the folder.
      parts: number of parts that the network is computed in, one for each core of a small CPU; see
        `parts.py`.

    Raises:
      InputError: if there is no trained run, the version exists, the folder's name is invalid as a
        model name, or the disk is full.
      TemporaryError: if another program is writing to the folder.
      RuntimeError: if the reloaded model's answers differ from the trained model's.
    """
    run = RunDir.read(run_dir)
    output_dir = Path(output_dir)
    deployment.require_name(output_dir)
    with ownership.folder(output_dir, "the folder of the model's versions"):
        for left in output_dir.glob(".*.tmp"):  # by an interrupted export
            if left.name[1:-4].isdecimal() and left.is_dir():
                shutil.rmtree(left)
        thresholds = run.thresholds()
        network, answers = run.load_network(thresholds), run.answers(thresholds)
        if version is None:
            version = max(model_dir.versions(output_dir), default=0) + 1
        path = output_dir / str(version)
        if path.exists():
            raise InputError(f"{path}: this version exists; choose another")
        temporary = output_dir / f".{version}.tmp"
        unfinished = temporary / "version"
        try:
            facts = describe(run, thresholds, parts)
            with storage.writable(path):
                assets = _write_assets(run, facts, temporary / "assets")
            served = ServedModel(network, answers, run.config.data, assets, parts, facts.digest)
            signatures = served.signatures()
            with storage.writable(path):
                tf.saved_model.save(served, str(unfinished), signatures=signatures)
            verify(unfinished, network, answers, run.config.data.image_size)
            with storage.writable(path):
                _write_warmup(unfinished, output_dir.resolve().name)
            # before it becomes a version: if the tracker fails, the rerun command exports it again
            with tracking.continued(run) as tracker:
                tracker.log_model(unfinished, output_dir.resolve().name, version)
            with storage.writable(path):
                unfinished.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with storage.writable(output_dir):
            deployment.write_configs(output_dir, parts)
    return path


def describe(run: RunDir, thresholds: Thresholds, parts: int = 1) -> ModelFacts:
    """Return the contents of model.json, with the digest of all that determines the answers."""
    facts = ModelFacts(
        name=run.config.name,
        fingerprint=run.schema.fingerprint,
        photo_short_side=run.origin.photo_short_side,
        image_size=run.config.data.image_size,
        square=run.config.data.square,
        thresholds=thresholds,
        gate_by_category=run.config.answers.gate_by_category,
        parts=parts,
        weights=run.weights_digest,
        network=run.config.model.model_dump(mode="json", exclude={"weights"}),
        trunk_weights=run.trunk_weights,
        records=run.origin.digest,
        release=__version__,
    )
    digest = made_from.description_digest(facts.model_dump())
    return facts.model_copy(update={"digest": digest})


def _write_assets(run: RunDir, facts: ModelFacts, folder: Path) -> list[Path]:
    """Write the version's assets; return the files."""
    folder.mkdir(parents=True)
    run.schema.write(folder / "schema.yaml")
    files.write_json(folder / "model.json", facts.model_dump())
    if any((run.path / name).is_file() for name in (model_card.CARD, model_card.PAGE)):
        # rebuilt: weights or thresholds may have changed since it was written
        card, page = model_card.make_card(run)
        files.write_json(folder / model_card.CARD, card)
        (folder / model_card.PAGE).write_text(page, encoding="utf-8")
    return sorted(folder.iterdir())


def verify(path: Path, network: Network, answers: Answers, image_size: int) -> None:
    """Run every signature on the same photos, encoded if it takes files, and compare the outputs.

    Raises:
      RuntimeError: if scores, embeddings or answers differ from the trained network's, or the
        graph contains an operation that a stock TF Serving lacks.
    """
    _require_stock_operations(path)
    generator = np.random.default_rng(0)
    size = [_VERIFIED_PHOTOS, image_size, image_size, 3]
    photos = generator.integers(0, 256, size, dtype=np.uint8)
    encoded = tf.stack([tf.io.encode_png(photo) for photo in photos])
    signatures = tf.saved_model.load(str(path)).signatures

    scores = signatures["scores"](image_bytes=encoded)["scores"]
    _require_close("scores", scores, network.flat_scores(photos))
    features = keras.Model(network.logits.inputs, network.logits.get_layer(POOLED).output)
    expected = tf.math.l2_normalize(features(photos, training=False), axis=1)
    embedding = signatures["embedding"](image_bytes=encoded)["embedding"]
    _require_close("embeddings", embedding, expected)
    described = signatures["description"](rows=tf.constant([""]))
    for output, name in (("model_json", "model.json"), ("schema_yaml", "schema.yaml")):
        if described[output].numpy()[0] != (path / "assets" / name).read_bytes():
            raise RuntimeError(f"the exported model's description differs from its {name}")

    examples = tf.constant([example.of_photo(photo) for photo in encoded.numpy()])
    # use the SavedModel's own scores: float error cannot then move a score across a threshold
    words = answers.strings(scores, answers.chosen(scores))
    limits = tf.fill([_VERIFIED_PHOTOS], 0.5)
    at_limits = answers.strings(scores, answers.chosen(scores, limits[:, tf.newaxis]))
    for name, inputs, expected in (
        ("serving_default", {"image_bytes": encoded}, words),
        ("with_threshold", {"image_bytes": encoded, "threshold": limits}, at_limits),
        ("tf_example", {"examples": examples}, words),
        ("pixels", {"pixels": tf.constant(photos)}, words),
    ):
        _require_answers(name, signatures[name](**inputs), expected)


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


def _write_warmup(path: Path, name: str) -> None:
    """Write warm-up requests into a version folder: every signature with 1 and with 8 rows.

    TF Serving runs them before it serves the version: the first request of a signature is slow
    because its graph is optimised then. Requires the extra `serving` for TF Serving's protos.

    Args:
      name: the model's name in requests.
    """
    if importlib.util.find_spec("tensorflow_serving") is None:
        logging.warning(
            "the model has no warm-up requests; to add them: pip install 'attr-extractor[serving]'"
        )
        return
    from tensorflow_serving.apis import prediction_log_pb2

    model = model_dir.load(path)
    (path / WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(str(path / WARMUP)) as writer:
        for key, signature in model.signatures.items():
            specs = signature.structured_input_signature[1]
            for rows in _WARMUP_ROWS:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = name
                request.model_spec.signature_name = key
                for given, spec in specs.items():
                    values = _made_up_values(given, spec, rows, model.facts.photo_short_side)
                    request.inputs[given].CopyFrom(tf.make_tensor_proto(values))
                writer.write(log.SerializeToString(deterministic=True))


def _made_up_values(name: str, spec: tf.TensorSpec, rows: int, short_side: int) -> np.ndarray:
    """Return made-up rows of an input; photos are noise."""
    shape = [rows, *spec.shape[1:]]
    if spec.dtype != tf.string:
        return np.zeros(shape, spec.dtype.as_numpy_dtype)
    noise = np.random.default_rng(0).integers(0, 256, [short_side, short_side, 3], np.uint8)
    photo = tf.io.encode_jpeg(noise).numpy()
    if name == "examples":
        photo = example.of_photo(photo)
    # not np.full: it converts bytes to a string dtype and strips trailing zeros
    return np.array([photo] * rows, object)
