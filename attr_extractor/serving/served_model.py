"""The exported SavedModel: decoding, network and post-processing, as named signatures.

  serving_default  image_bytes string [B]                     -> answers
  with_threshold   image_bytes, threshold float32 [B]         -> answers
  tf_example       examples string [B], Examples of records   -> answers
  pixels           pixels uint8 [B, H, W, 3]                  -> answers
  scores           image_bytes        -> scores float32 [B, V], names string [B, V], error, model
  embedding        image_bytes        -> embedding float32 [B, D] of length 1, error, model
  description      rows string [B]    -> model_json, schema_yaml string [B]: the files in assets/
Answers: per attribute `<name>` string [B, K] and `<name>_score` float32 [B, K], and `error`
string [B]. `model` string [B] is the digest in model.json: it identifies the model that computed
each row, independent of the server and of later versions.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import tensorflow as tf

from attr_extractor.config import DataConfig
from attr_extractor.model.answers import Answers
from attr_extractor.model.network import Network
from attr_extractor.records import example
from attr_extractor.serving import fold, raw_photos
from attr_extractor.serving.parts import Parts


class ServedModel(tf.Module):
    """The folded network and its post-processing; `network` maps pixels to scores and embeddings.

    Args:
      parts: number of parts that the network is computed in, see `parts.py`.
      digest: digest of all that determines the answers; returned by the model.
    """

    def __init__(
        self,
        network: Network,
        answers: Answers,
        data: DataConfig,
        assets: list[Path],
        parts: int = 1,
        digest: str = "",
    ):
        super().__init__()
        size = data.image_size
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]
        self._answers = answers
        self._data = data
        self._digest = digest
        self._texts = {path.name: path.read_text(encoding="utf-8") for path in assets}
        self.digest = tf.function(lambda: tf.constant(digest)).get_concrete_function()
        self._pixels = tf.TensorSpec([None, size, size, 3], tf.uint8, "pixels")
        folded = fold.fold(network)
        run = Parts(folded, parts) if parts > 1 else functools.partial(folded, training=False)

        def forward(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits, features = run(pixels)
            return network.scores_of(logits), tf.math.l2_normalize(features, axis=1)

        # uint8 [B, H, W, 3] -> scores float32 [B, V], embedding float32 [B, D]
        # one concrete function for all signatures: its constants, the kernels, are stored once
        self.network = tf.function(forward).get_concrete_function(self._pixels)
        # TensorFlow's variables, not the Keras model: servers do not read Keras' metadata, and a
        # Session, as in TF Serving, would leave Keras 3's own variables uninitialised
        self.weights = self.network.variables

    def signatures(self) -> dict[str, Any]:
        """Return the concrete functions by signature name."""
        image_bytes = tf.TensorSpec([None], tf.string, "image_bytes")
        threshold = tf.TensorSpec([None], tf.float32, "threshold")
        examples = tf.TensorSpec([None], tf.string, "examples")
        rows = tf.TensorSpec([None], tf.string, "rows")
        specs = {
            "serving_default": (self._from_files, [image_bytes]),
            "with_threshold": (self._with_threshold, [image_bytes, threshold]),
            "tf_example": (self._from_examples, [examples]),
            "pixels": (self._from_pixels, [self._pixels]),
            "scores": (self._scores, [image_bytes]),
            "embedding": (self._embedding, [image_bytes]),
            "description": (self._description, [rows]),
        }
        return {
            name: tf.function(function).get_concrete_function(*inputs)
            for name, (function, inputs) in specs.items()
        }

    def _from_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, error = self._read(image_bytes)
        return self._answer(pixels, error)

    def _with_threshold(self, image_bytes: tf.Tensor, threshold: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, error = self._read(image_bytes)
        return self._answer(pixels, error, threshold[:, tf.newaxis])

    def _from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        photo = {"image/encoded": example.FEATURES["image/encoded"]}
        return self._from_files(tf.io.parse_example(examples, photo)["image/encoded"])

    def _from_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(pixels, tf.fill([tf.shape(pixels)[0]], ""))

    def _scores(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, error = self._read(image_bytes)
        scores, _ = self.network(pixels)
        # repeat the names for each photo: all outputs of a signature must have the same rows
        names = tf.broadcast_to(self._answers.schema.value_names, tf.shape(scores))
        return {"scores": scores, "names": names, "error": error, "model": self._model(error)}

    def _embedding(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, error = self._read(image_bytes)
        _, embedding = self.network(pixels)
        return {"embedding": embedding, "error": error, "model": self._model(error)}

    def _description(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the model's description; the values of `rows` are not used."""
        return {
            "model_json": tf.fill(tf.shape(rows), self._texts.get("model.json", "")),
            "schema_yaml": tf.fill(tf.shape(rows), self._texts.get("schema.yaml", "")),
        }

    def _model(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.fill(tf.shape(rows)[:1], self._digest)

    def _read(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return raw_photos.read_batch(image_bytes, self._data.image_size, self._data.square)

    def _answer(
        self, pixels: tf.Tensor, error: tf.Tensor, threshold: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        scores, _ = self.network(pixels)  # [B, V]
        chosen = self._answers.chosen(scores, threshold)  # [B, V]
        chosen &= tf.equal(error, "")[:, tf.newaxis]
        return {**self._answers.strings(scores, chosen), "error": error}
