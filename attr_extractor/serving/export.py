"""A trained run -> a SavedModel that any TF Serving loads and that answers by itself.

Signatures:
  serving_default  image_bytes string [B]                     -> answers
  with_threshold   image_bytes, threshold float32 [B]         -> answers
  pixels           pixels uint8 [B, H, W, 3]                  -> answers
  scores           image_bytes                                -> scores float32 [B, V], error
Answers: per attribute `<name>` string [B, K] and `<name>_score` float32 [B, K], and `error`
string [B]. Assets: schema.yaml and model.json, all that a client needs to read them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor import files
from attr_extractor.config import Data
from attr_extractor.errors import InputError, make_folder
from attr_extractor.model.answers import Answers
from attr_extractor.model.network import Network
from attr_extractor.serving import raw_photos
from attr_extractor.serving.model_dir import Facts, versions
from attr_extractor.training.run_dir import RunDir

TOLERANCE = 1e-5  # between the reloaded model's scores and the trained model's


class ServedModel(tf.Module):
    """The network and its post-processing, behind named signatures."""

    def __init__(self, network: Network, answers: Answers, data: Data, assets: list[Path]):
        super().__init__()
        self._model = network.flat_scores
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]
        self._answers = answers
        self._data = data

    def signatures(self) -> dict[str, Any]:
        """The concrete functions by signature name."""
        size = self._data.image_size
        image_bytes = tf.TensorSpec([None], tf.string, "image_bytes")
        pixels = tf.TensorSpec([None, size, size, 3], tf.uint8, "pixels")
        threshold = tf.TensorSpec([None], tf.float32, "threshold")
        functions = {
            "serving_default": tf.function(self._from_files).get_concrete_function(image_bytes),
            "with_threshold": tf.function(self._with_threshold).get_concrete_function(
                image_bytes, threshold
            ),
            "pixels": tf.function(self._from_pixels).get_concrete_function(pixels),
            "scores": tf.function(self._scores).get_concrete_function(image_bytes),
        }
        # TensorFlow's variables, not the Keras model: nobody who serves it reads Keras' metadata,
        # and a Session, TF Serving's too, would leave Keras 3's own variables without values
        self.weights = functions["pixels"].variables
        return functions

    def _from_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, error = self._read(image_bytes)
        return self._answer(pixels, error)

    def _with_threshold(self, image_bytes: tf.Tensor, threshold: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, error = self._read(image_bytes)
        return self._answer(pixels, error, threshold[:, tf.newaxis])

    def _from_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(pixels, tf.fill([tf.shape(pixels)[0]], ""))

    def _scores(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, error = self._read(image_bytes)
        return {"scores": self._model(pixels), "error": error}

    def _read(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return raw_photos.read_batch(image_bytes, self._data.image_size, self._data.square)

    def _answer(
        self, pixels: tf.Tensor, error: tf.Tensor, threshold: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        scores = self._model(pixels)  # [B, V]
        chosen = self._answers.chosen(scores, threshold)  # [B, V]
        chosen &= tf.equal(error, "")[:, tf.newaxis]
        return {**self._answers.strings(scores, chosen), "error": error}


def export(run_dir: str | Path, output_dir: str | Path, version: int | None = None) -> Path:
    """Writes `<output_dir>/<version>/`, whole or not at all.

    Args:
      version: by default one more than the highest version there.

    Raises:
      InputError: no trained run there, or the version exists.
      RuntimeError: the reloaded model does not answer as the trained one.
    """
    run = RunDir.read(run_dir)
    output_dir = Path(output_dir)
    if output_dir.is_file():
        raise InputError(f"{output_dir}: is a file; name a folder for the model's versions")
    existing = versions(output_dir)
    version = max(existing, default=0) + 1 if version is None else version
    if version in existing or (output_dir / str(version)).exists():
        raise InputError(f"{output_dir / str(version)}: this version exists; name another")
    thresholds = run.thresholds()
    network = run.load_network(thresholds)
    answers = run.answers(thresholds)
    make_folder(output_dir, "the folder of the model's versions")
    temporary = output_dir / f".{version}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    facts = temporary.with_name(f".{version}.assets")
    facts.mkdir(exist_ok=True)
    try:
        run.schema.write(facts / "schema.yaml")
        files.write_json(
            facts / "model.json",
            Facts(
                name=run.config.name,
                fingerprint=run.schema.fingerprint,
                photo_short_side=run.origin.photo_short_side,
                image_size=run.config.data.image_size,
                square=run.config.data.square,
                thresholds=thresholds,
                gate_by_category=answers.gate_by_category,
            ).model_dump(),
        )
        served = ServedModel(
            network, answers, run.config.data, [facts / "schema.yaml", facts / "model.json"]
        )
        tf.saved_model.save(served, str(temporary), signatures=served.signatures())
        _verify(temporary, network, run.config.data.image_size)
        temporary.rename(output_dir / str(version))
    finally:
        shutil.rmtree(facts, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)
    return output_dir / str(version)


def _verify(path: Path, network: Network, image_size: int) -> None:
    """Holds the reloaded model's scores equal to the trained model's, encoded photos included."""
    generator = np.random.default_rng(0)
    photos = generator.integers(0, 256, [4, image_size, image_size, 3], dtype=np.uint8)
    encoded = tf.stack([tf.io.encode_png(photo) for photo in photos])
    expected = network.flat_scores(photos).numpy()
    found = tf.saved_model.load(str(path)).signatures["scores"](image_bytes=encoded)
    difference = np.abs(found["scores"].numpy() - expected).max()
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the exported model's scores differ from the run's by {difference}")
