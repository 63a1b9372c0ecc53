"""What is known of a product besides its photo, as evidence for the values of its other cells.

By Bayes' rule the log-odds of a value after independent observations are those after the first plus
the weight of evidence of the second (Good 1985):

    log-odds(value | photo, context) = log-odds(value | photo) + evidence(value | context)

The context is the product's filled cells and the words of its text. Their evidence is linear: every
filled value and every word has a vector, and the evidence for a value is the product of its own
vector with the sum of those. Three things follow that a network over all inputs would not give:
without context the answer is the photo's to the bit; the share of each cell and word is known; and
a cell is left out of the evidence for its own attribute, so it never sees itself.
Photo and context are not quite independent given a value, so calibration fits a weight to the sum.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor.labels import PRESENT
from attr_extractor.model.branches import TILE, tile_layout
from attr_extractor.records import words

KNOWN, TEXT = "known", "text"
NAMES = (KNOWN, TEXT)
STRONGEST = 3  # shares that are shown of a score


@keras.utils.register_keras_serializable("attr_extractor")
class Evidence(keras.layers.Layer):
    """Filled cells and words -> evidence in log-odds, float32 [B, V]; 0 where nothing is known.

    Inputs: a list of labels int8 [B, V], of which only present values count, and of
    `words.pieces` int32 [B, W, P]; or one of the two, as `names` says.

    Args:
      sizes: number of values of each attribute, summing to V.
      width: E, numbers of a vector.
      names: inputs, of NAMES.
    """

    def __init__(self, sizes: list[int], width: int, names: list[str], **kwargs: Any):
        super().__init__(**kwargs)
        self.sizes, self.width, self.names = list(sizes), width, list(names)
        self._tile_attribute, self._value_position = tile_layout(self.sizes)
        padded = np.full(len(self._tile_attribute) * TILE, sum(self.sizes), np.int32)
        padded[self._value_position] = np.arange(sum(self.sizes))
        self._value_of_place = padded  # V where a tile has no value

    def build(self, input_shape: Any) -> None:
        values = sum(self.sizes)
        self.for_values = self._vectors("for_values", values, "zeros")
        if KNOWN in self.names:
            self.of_cells = self._vectors("of_cells", values, _normal())
        if TEXT in self.names:
            self.of_pieces = self._vectors("of_pieces", words.BUCKETS, _normal())
        super().build(input_shape)

    def call(self, inputs: Any) -> tf.Tensor:
        given = dict(zip(self.names, inputs if isinstance(inputs, (list, tuple)) else [inputs]))
        told = tf.zeros([1, 1, self.width])
        if TEXT in given:
            told += tf.reduce_sum(self.of_words(given[TEXT]), axis=1)[tf.newaxis]  # [1, B, E]
        if KNOWN in given:
            cells = self._of_attributes(given[KNOWN])  # [T, B, E]
            told += tf.reduce_sum(cells, axis=0, keepdims=True) - cells
            told = tf.gather(told, self._tile_attribute)  # [tiles, B, E]
        evidence = tf.matmul(told, self._tiled(self.for_values), transpose_b=True)
        evidence = tf.transpose(evidence, [1, 0, 2])  # [B, tiles, TILE]
        flat = tf.reshape(evidence, [-1, len(self._value_of_place)])
        return tf.gather(flat, self._value_position, axis=1)  # [B, V]

    def of_words(self, pieces: tf.Tensor) -> tf.Tensor:
        """Return the vector of each word: int32 [B, W, P] -> [B, W, E], 0 where there is none."""
        there = tf.cast(pieces > 0, tf.float32)  # [B, W, P]
        vectors = tf.gather(tf.convert_to_tensor(self.of_pieces), pieces)  # [B, W, P, E]
        sums = tf.reduce_sum(vectors * there[..., tf.newaxis], axis=2)
        return sums / tf.maximum(tf.reduce_sum(there, axis=2, keepdims=True), 1.0)

    def shares(self, known: tf.Tensor, pieces: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Return what each known cell and each word adds to the evidence for some values.

        Args:
          known: positions of known values among the V, int32 [B, K], -1 for none.
          pieces: `words.pieces` int32 [B, W, P].
          values: positions of the values asked for, int32 [B, A], -1 for none.

        Returns:
          float32 [B, A, K + W]: cells, then words. 0 for none, for an input that the layer does
          not read, and for a cell of the value's own attribute.
        """
        owner = tf.constant(np.repeat(np.arange(len(self.sizes)), self.sizes), tf.int32)
        asked = tf.maximum(values, 0)
        direction = tf.gather(tf.convert_to_tensor(self.for_values), asked)  # [B, A, E]
        direction *= tf.cast(values >= 0, tf.float32)[..., tf.newaxis]
        rows, count = tf.unstack(tf.shape(values))
        of_cells = tf.zeros([rows, count, tf.shape(known)[1]])  # [B, A, K]
        of_words = tf.zeros([rows, count, tf.shape(pieces)[1]])  # [B, A, W]
        if KNOWN in self.names:
            place = tf.maximum(known, 0)
            cells = tf.gather(tf.convert_to_tensor(self.of_cells), place)  # [B, K, E]
            of_value, of_cell = tf.gather(owner, asked), tf.gather(owner, place)
            read = tf.not_equal(of_value[..., tf.newaxis], of_cell[:, tf.newaxis])  # [B, A, K]
            read &= (known >= 0)[:, tf.newaxis]
            of_cells = tf.where(read, tf.matmul(direction, cells, transpose_b=True), 0.0)
        if TEXT in self.names:
            of_words = tf.matmul(direction, self.of_words(pieces), transpose_b=True)
        return tf.concat([of_cells, of_words], axis=2)

    def _of_attributes(self, known: tf.Tensor) -> tf.Tensor:
        """Return the sum of the vectors of each attribute's present values, [T, B, E]."""
        present = tf.pad(tf.cast(known == PRESENT, tf.float32), [[0, 0], [0, 1]])  # [B, V + 1]
        present = tf.gather(present, self._value_of_place, axis=1)  # [B, tiles*TILE]
        present = tf.reshape(present, [-1, len(self._tile_attribute), TILE])
        present = tf.transpose(present, [1, 0, 2])  # [tiles, B, TILE]
        sums = tf.matmul(present, self._tiled(self.of_cells))  # [tiles, B, E]
        return tf.math.unsorted_segment_sum(sums, self._tile_attribute, len(self.sizes))

    def _tiled(self, vectors: tf.Variable) -> tf.Tensor:
        """Return vectors [V, E] in tiles [tiles, TILE, E], padded with 0."""
        padded = tf.pad(tf.convert_to_tensor(vectors), [[0, 1], [0, 0]])
        return tf.reshape(tf.gather(padded, self._value_of_place), [-1, TILE, self.width])

    def _vectors(self, name: str, rows: int, initializer: Any) -> tf.Variable:
        return self.add_weight(name=name, shape=[rows, self.width], initializer=initializer)

    def get_config(self) -> dict[str, Any]:
        settings = {"sizes": self.sizes, "width": self.width, "names": self.names}
        return {**super().get_config(), **settings}


@keras.utils.register_keras_serializable("attr_extractor")
class BaseRates(keras.layers.Layer):
    """Adds the log-odds of each value without any evidence, [B, V] -> [B, V]; for training."""

    def build(self, input_shape: Any) -> None:
        self.log_odds = self.add_weight(
            name="log_odds_bias", shape=[int(input_shape[-1])], initializer="zeros"
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self.log_odds


def inputs(num_values: int, names: list[str]) -> dict[str, Any]:
    """Return symbolic inputs by name."""
    symbolic = {}
    if KNOWN in names:
        symbolic[KNOWN] = keras.Input([num_values], dtype="int8", name=KNOWN)
    if TEXT in names:
        symbolic[TEXT] = keras.Input([words.WORDS, words.PIECES], dtype="int32", name=TEXT)
    return symbolic


def _normal() -> Any:
    return keras.initializers.RandomNormal(stddev=0.5)
