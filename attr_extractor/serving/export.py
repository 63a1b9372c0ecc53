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
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from attr_extractor import __version__, files, made_from, storage, working_copy
from attr_extractor.errors import InputError
from attr_extractor.evaluation import model_card
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import example
from attr_extractor.serving import deployment, model_dir
from attr_extractor.serving.model_dir import WARMUP, ModelFacts
from attr_extractor.serving.precision import choose_side
from attr_extractor.serving.served_model import ServedModel
from attr_extractor.serving.verify import trained, verify
from attr_extractor.training import tracking
from attr_extractor.training.run_dir import RunDir

_LEAST_FOR_WEBP = "2.20"  # TensorFlow that is known to have the decoder
_WARMUP_ROWS = (1, 8)


def export(
    run_dir: str | Path,
    output_dir: str | Path,
    version: int | None = None,
    parts: int = 1,
    precision: str = "float32",
    records: str | Path | None = None,
    webp: bool = False,
) -> str | Path:
    """Write `<output_dir>/<version>/` atomically.

    Args:
      version: the version's number; default: one more than the highest in the folder.
      parts: number of parts that the network is computed in, one for each core of a small CPU; see
        `parts.py`.
      precision: "float32", or "bfloat16" for the part of the network in which it does not change
        the answers; see `precision.py`.
      records: photos to compare bfloat16 on; default: the run's records.
      webp: whether the graph reads WebP; older releases of TensorFlow cannot load it then.

    Raises:
      InputError: if there is no trained run, the version exists, this TensorFlow has no decoder of
        WebP, the folder's name is invalid as a model name, bfloat16 changes too many answers, or
        the disk is full.
      TemporaryError: if another program is writing to the folder.
      RuntimeError: if the reloaded model's answers differ from the trained model's.
    """
    if webp and not hasattr(tf.io, "decode_webp"):
        raise InputError(f"--webp: TensorFlow {tf.__version__} has no decoder of WebP")
    run = RunDir.read(run_dir)
    deployment.require_name(Path(output_dir))
    what, versions = "the folder of the model's versions", output_dir
    with working_copy.owned(versions, what, deployment.FOLDER) as output_dir:
        for left in output_dir.glob(".*.tmp"):  # by an interrupted export
            if left.name[1:-4].isdecimal() and left.is_dir():
                shutil.rmtree(left)
        thresholds = run.thresholds()
        network, answers = run.load_network(thresholds), run.answers(thresholds)
        if version is None:
            version = max(model_dir.versions(versions), default=0) + 1
        path = output_dir / str(version)
        exported = storage.join(versions, str(version))
        if storage.exists(exported):
            raise InputError(f"{exported}: this version exists; choose another")
        temporary = output_dir / f".{version}.tmp"
        unfinished = temporary / "version"
        try:
            side = 0
            if precision == "bfloat16":
                side = choose_side(run, network, answers, records)
            facts = describe(run, thresholds, parts, side, webp)
            with storage.writable(path):
                assets = _write_assets(run, facts, temporary / "assets")
            served = ServedModel(network, answers, facts, assets)
            signatures = served.signatures()
            with storage.writable(path):
                tf.saved_model.save(served, str(unfinished), signatures=signatures)
            # bfloat16 was compared with the trained network on photos of the records
            compute = served.network if side else trained(network)
            verify(unfinished, compute, answers, network)
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
    return exported if storage.is_remote(exported) else path


def describe(
    run: RunDir,
    thresholds: Thresholds,
    parts: int = 1,
    bfloat16_side: int = 0,
    webp: bool = False,
) -> ModelFacts:
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
        precision="bfloat16" if bfloat16_side else "float32",
        bfloat16_side=bfloat16_side,
        webp=webp,
        least_tensorflow=_LEAST_FOR_WEBP if webp else "",
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
    """Return made-up rows of an input; photos are noise, and nothing is known of them."""
    shape = [rows, *(side or 1 for side in spec.shape[1:])]  # a product of one photo
    if spec.dtype != tf.string:
        return np.zeros(shape, spec.dtype.as_numpy_dtype)
    if name in ("known", "text"):
        return np.full(shape, b"", object)
    noise = np.random.default_rng(0).integers(0, 256, [short_side, short_side, 3], np.uint8)
    photo = tf.io.encode_jpeg(noise).numpy()
    if name == "examples":
        photo = example.of_photo(photo)
    values = np.empty(shape, object)  # np.full would strip the trailing zeros of bytes
    values.fill(photo)
    return values
