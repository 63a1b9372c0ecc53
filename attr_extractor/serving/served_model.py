"""The exported SavedModel: decoding, network and post-processing, as named signatures.

  serving_default   image_bytes string [B]: raw files        -> answers
  with_threshold    image_bytes, threshold float32 [B]       -> answers
  product           image_bytes string [B, P], "" for none   -> answers for all photos of a product
  product_with_box  image_bytes, box int32 [B, P, 4]         -> answers
  tf_example        examples string [B], Examples of records -> answers
  pixels            pixels uint8 [B, H, W, 3]                -> answers
  scores            image_bytes       -> scores float32 [B, V], names string [B, V], error, model
  stored_scores     stored string [B] -> the same for photos as records store them
  embedding         image_bytes       -> embedding float32 [B, D] of length 1, error, model
  with_context      image_bytes string [B, P], known string [B, K], text string [B]      -> answers
  in_context        scores float32 [B, V], known, text -> scores, error, model
  shares            known, text, value int32 [B, A]    -> source, log_odds [B, A, 3], error, model
  description       rows string [B]   -> model_json, schema_yaml string [B]: the files in assets/
`with_context`, `in_context` and `shares` exist if the network reads more than the photo: see
context.py. An attribute's own known cell is left out of its answer; scores given to `in_context`
may be pooled; `shares` names the cells and words that add most to values, given by position.
Answers: per attribute `<name>` string [B, K] and `<name>_score` float32 [B, K], and `error`
string [B]. A box is the left, top, right and bottom edge of the product, zeros for the whole photo.
`model` string [B] is the digest in model.json: it identifies the model that computed each row,
independent of the server and of later versions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Tuple

import tensorflow as tf

from attr_extractor.model.answers import Answers
from attr_extractor.model.network import Network
from attr_extractor.records import example
from attr_extractor.serving import fold, products
from attr_extractor.serving.context import ContextReader
from attr_extractor.serving.model_dir import ModelFacts
from attr_extractor.serving.parts import Parts
from attr_extractor.serving.raw_photos.batch import PhotoReader

Computed = Callable[[tf.Tensor], Tuple[tf.Tensor, tf.Tensor]]  # pixels -> scores, embeddings


def computed(network: Network, parts: int = 1, bfloat16_side: int = 0) -> Computed:
    """Return the folded network as a function.

    Args:
      parts: number of parts that it is computed in, see `parts.py`.
      bfloat16_side: see `fold.fold`.

    Returns:
      uint8 [B, H, W, 3] -> scores float32 [B, V], embeddings float32 [B, D] of length 1.
    """
    folded = fold.fold(network, bfloat16_side)
    run = Parts(folded, parts) if parts > 1 else functools.partial(folded, training=False)

    def compute(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits, features = run(pixels)
        wide = tf.cast(features, tf.float32)
        return network.scores_of(logits), tf.math.l2_normalize(wide, axis=1)

    return compute


class ServedModel(tf.Module):
    """The folded network and its post-processing; `network` maps pixels to scores and embeddings.

    Args:
      facts: contents of model.json: the photo policy, how the network is computed, and the digest
        that the model returns.
      assets: files to copy into the SavedModel, model.json and schema.yaml among them.
    """

    def __init__(self, network: Network, answers: Answers, facts: ModelFacts, assets: list[Path]):
        super().__init__()
        size = facts.image_size
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]
        self._answers = answers
        reader = PhotoReader(facts.photo_short_side, size, facts.square, facts.webp)
        files = tf.TensorSpec([None], tf.string)
        boxes = tf.TensorSpec([None, 4], tf.int32)
        self._read_raw = tf.function(reader.read).get_concrete_function(files, boxes)
        self._read_stored = tf.function(reader.read_stored).get_concrete_function(files)
        self._digest = facts.digest
        self._texts = {path.name: path.read_text(encoding="utf-8") for path in assets}
        self.digest = tf.function(lambda: tf.constant(facts.digest)).get_concrete_function()
        self._pixels = tf.TensorSpec([None, size, size, 3], tf.uint8, "pixels")
        # uint8 [B, H, W, 3] -> scores float32 [B, V], embedding float32 [B, D]
        # one concrete function for all signatures: its constants, the kernels, are stored once
        forward = computed(network, facts.parts, facts.bfloat16_side)
        self.network = tf.function(forward).get_concrete_function(self._pixels)
        self._network = network
        self.context = ContextReader(network) if network.context else None
        # TensorFlow's variables, not the Keras model: servers do not read Keras' metadata, and a
        # Session, as in TF Serving, would leave Keras 3's own variables uninitialised
        self.weights = self.network.variables

    def signatures(self) -> dict[str, Any]:
        """Return the concrete functions by signature name."""
        image_bytes = tf.TensorSpec([None], tf.string, "image_bytes")
        of_products = tf.TensorSpec([None, None], tf.string, "image_bytes")
        box = tf.TensorSpec([None, None, 4], tf.int32, "box")
        threshold = tf.TensorSpec([None], tf.float32, "threshold")
        examples = tf.TensorSpec([None], tf.string, "examples")
        stored = tf.TensorSpec([None], tf.string, "stored")
        rows = tf.TensorSpec([None], tf.string, "rows")
        specs = {
            "serving_default": (self._from_files, [image_bytes]),
            "with_threshold": (self._with_threshold, [image_bytes, threshold]),
            "product": (self._from_products, [of_products]),
            "product_with_box": (self._from_products, [of_products, box]),
            "tf_example": (self._from_examples, [examples]),
            "pixels": (self._from_pixels, [self._pixels]),
            "scores": (self._scores, [image_bytes]),
            "stored_scores": (self._stored_scores, [stored]),
            "embedding": (self._embedding, [image_bytes]),
            "description": (self._description, [rows]),
        }
        if self.context is not None:
            known = tf.TensorSpec([None, None], tf.string, "known")
            text = tf.TensorSpec([None], tf.string, "text")
            scores = tf.TensorSpec([None, self._answers.schema.num_values], tf.float32, "scores")
            specs["with_context"] = (self._with_context, [of_products, known, text])
            specs["in_context"] = (self._in_context, [scores, known, text])
            value = tf.TensorSpec([None, None], tf.int32, "value")
            specs["shares"] = (self._shares, [known, text, value])
        return {
            name: tf.function(function).get_concrete_function(*inputs)
            for name, (function, inputs) in specs.items()
        }

    def _from_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(*self._scored(*self._read(image_bytes)))

    def _with_threshold(self, image_bytes: tf.Tensor, threshold: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, error = self._scored(*self._read(image_bytes))
        return self._answer(scores, error, threshold=threshold[:, tf.newaxis])

    def _from_products(
        self, image_bytes: tf.Tensor, box: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        return self._answer(*self._pooled(image_bytes, box))

    def _pooled(
        self, image_bytes: tf.Tensor, box: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return scores, error and readability of each product, see `products.pool`."""
        if box is None:
            box = tf.zeros(tf.concat([tf.shape(image_bytes), [4]], axis=0), tf.int32)
        where = tf.where(tf.not_equal(image_bytes, ""))  # int64 [N, 2]: product, place of its photo
        files, boxes = tf.gather_nd(image_bytes, where), tf.gather_nd(box, where)
        scores, errors = products.in_chunks(
            lambda part: self._scored(*self._read_raw(files[part], boxes[part])),
            tf.size(files),
            self._answers.schema.num_values,
        )
        return products.pool(scores, errors, where, tf.shape(image_bytes)[0])

    def _with_context(
        self, image_bytes: tf.Tensor, known: tf.Tensor, text: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        scores, error, readable = self._pooled(image_bytes, None)
        evidence, wrong, category = self._context().read(known, text)
        separator = tf.where(tf.equal(error, "") | tf.equal(wrong, ""), "", "; ")
        return self._answer(
            self._network.in_context(scores, evidence),
            tf.strings.join([error, separator, wrong]),
            readable=readable & tf.equal(wrong, ""),
            category=category,
        )

    def _context(self) -> ContextReader:
        assert self.context is not None  # its signatures exist only with it
        return self.context

    def _in_context(
        self, scores: tf.Tensor, known: tf.Tensor, text: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        evidence, error, _ = self._context().read(known, text)
        found = self._network.in_context(scores, evidence)
        return {"scores": found, "error": error, "model": self._model(error)}

    def _shares(self, known: tf.Tensor, text: tf.Tensor, value: tf.Tensor) -> dict[str, tf.Tensor]:
        source, log_odds, error = self._context().strongest(known, text, value)
        model = self._model(error)
        return {"source": source, "log_odds": log_odds, "error": error, "model": model}

    def _from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        photo = {"image/encoded": example.FEATURES["image/encoded"]}
        stored = tf.io.parse_example(examples, photo)["image/encoded"]
        return self._answer(*self._scored(*self._read_stored(stored)))

    def _from_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.shape(pixels)[:1]
        scores, error = self._scored(pixels, tf.fill(rows, ""))
        # no string decides about an answer here: OpenVINO, for one, computes no strings
        return self._answer(scores, error, readable=tf.fill(rows, True))

    def _scores(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._named(*self._scored(*self._read(image_bytes)))

    def _stored_scores(self, stored: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._named(*self._scored(*self._read_stored(stored)))

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

    def _read(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        whole = tf.zeros([tf.size(image_bytes), 4], tf.int32)
        return self._read_raw(image_bytes, whole)

    def _scored(self, pixels: tf.Tensor, error: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scores, _ = self.network(pixels)  # [B, V]
        return scores, error

    def _named(self, scores: tf.Tensor, error: tf.Tensor) -> dict[str, tf.Tensor]:
        # repeat the names for each photo: all outputs of a signature must have the same rows
        names = tf.broadcast_to(self._answers.schema.value_names, tf.shape(scores))
        return {"scores": scores, "names": names, "error": error, "model": self._model(error)}

    def _model(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.fill(tf.shape(rows)[:1], self._digest)

    def _answer(
        self,
        scores: tf.Tensor,
        error: tf.Tensor,
        readable: tf.Tensor | None = None,
        threshold: tf.Tensor | None = None,
        category: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return the answers; none for rows that are not `readable`: by default, with an error."""
        chosen = self._answers.chosen(scores, threshold, category)  # [B, V]
        readable = tf.equal(error, "") if readable is None else readable
        chosen &= readable[:, tf.newaxis]
        return {**self._answers.strings(scores, chosen), "error": error}
