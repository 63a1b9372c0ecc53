"""What a request says of a product besides its photos: known cells and text, read in the graph.

A known cell is `attribute=value`, a string of the request's `known` [B, K], padded with "". Names,
values and synonyms must be spelled as in the schema. A cell that the schema does not know, or a
second value of an exclusive attribute, is an error of its row.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model import evidence
from attr_extractor.model.network import EVIDENCE, Network
from attr_extractor.records import words
from attr_extractor.schema import Schema

_LONGEST = 100  # characters of a cell in an error


class ContextReader(tf.Module):
    """Reads known cells and texts, and computes their evidence."""

    def __init__(self, network: Network):
        super().__init__()
        self._schema, self._names = network.schema, network.context
        self._trust = network.trust
        layer = network.evidence.get_layer(EVIDENCE)
        spelled = _spellings(network.schema)
        self._positions = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                list(spelled), tf.constant(list(spelled.values()), tf.int32)
            ),
            default_value=-1,
        )
        specs = {
            evidence.KNOWN: tf.TensorSpec([None, network.schema.num_values], tf.int8),
            evidence.TEXT: tf.TensorSpec([None, words.WORDS, words.PIECES], tf.int32),
        }
        self._evidence = tf.function(
            lambda *given: network.evidence(dict(zip(self._names, given)))
        ).get_concrete_function(*(specs[name] for name in self._names))
        self._shares = tf.function(layer.shares).get_concrete_function(
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, words.WORDS, words.PIECES], tf.int32),
            tf.TensorSpec([None, None], tf.int32),
        )
        self.weights = self._evidence.variables  # those of TensorFlow, as in ServedModel

    def read(self, known: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the evidence of B products.

        Args:
          known: string [B, K].
          text: string [B].

        Returns:
          float32 [B, V]; string [B]: what is wrong with the known cells, or ""; and int32 [B], the
          position of the known category, or -1. A row with an error has no evidence.
        """
        present, error = self._present(known)
        labels = tf.where(present, tf.constant(PRESENT, tf.int8), tf.constant(MISSING, tf.int8))
        given = {evidence.KNOWN: labels, evidence.TEXT: words.pieces(text)}
        found = self._evidence(*(given[name] for name in self._names))
        of_category = present[:, self._schema.slices[self._schema.category]]
        category = tf.argmax(of_category, axis=1, output_type=tf.int32)
        category = tf.where(tf.reduce_any(of_category, axis=1), category, -1)
        return tf.where(tf.equal(error, "")[:, tf.newaxis], found, 0.0), error, category

    def strongest(
        self, known: tf.Tensor, text: tf.Tensor, value: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the `evidence.STRONGEST` largest shares in the scores of some values.

        Args:
          known: string [B, K]; a cell that is listed twice has two shares.
          text: string [B].
          value: int32 [B, A], positions among the V; -1 for none.

        Returns:
          string [B, A, S]: `attribute=value`, a word in quotes, or "" for none; float32
          of that shape: what each adds to the log-odds of the value, largest first; and string
          [B]: what is wrong with the known cells, or "". A row with an error has no shares.
        """
        _, error = self._present(known)
        position = self._positions.lookup(known)
        position = tf.where(tf.equal(error, "")[:, tf.newaxis], position, -1)
        text = tf.where(tf.equal(error, ""), text, "")
        shares = self._shares(position, words.pieces(text), value)  # [B, A, K + W]
        shares *= tf.gather(tf.constant(self._trust), tf.maximum(value, 0))[..., tf.newaxis]
        _, place = tf.math.top_k(tf.abs(shares), evidence.STRONGEST)  # [B, A, S]
        log_odds = tf.gather(shares, place, batch_dims=2)
        said = words.split(text).to_tensor("", shape=[None, words.WORDS])
        cells = tf.gather(tf.constant(self._schema.value_names), tf.maximum(position, 0))
        names = tf.concat([cells, tf.strings.join(["'", said, "'"])], axis=1)  # [B, K + W]
        named = tf.gather(names, place, batch_dims=1)
        return tf.where(tf.equal(log_odds, 0.0), "", named), log_odds, error

    def _present(self, known: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return bool [B, V] and the errors, string [B]."""
        schema = self._schema
        position = self._positions.lookup(known)  # int32 [B, K], -1 for "" and unknown cells
        rows, values = tf.shape(known)[0], schema.num_values
        # not one-hot: [B, K, V] of a request with many cells would need gigabytes
        flat = tf.where(position < 0, -1, tf.range(rows)[:, tf.newaxis] * values + position)
        told = tf.math.unsorted_segment_max(  # -1 belongs to no segment
            tf.ones([tf.size(flat)], tf.int32), tf.reshape(flat, [-1]), rows * values
        )
        present = tf.reshape(told > 0, [rows, values])  # [B, V]
        unknown = (position < 0) & tf.not_equal(known, "")
        of_attributes = tf.math.unsorted_segment_sum(
            tf.cast(tf.transpose(present), tf.int32),
            schema.attribute_of_value,
            len(schema.attributes),
        )  # [T, B]
        exclusive = tf.constant([[attribute.exclusive] for attribute in schema.attributes])
        names = tf.constant(schema.names)
        of_unknown = _first(unknown, known, "known: no value of this model: ")
        several = tf.transpose((of_attributes > 1) & exclusive)  # [B, T]
        named = tf.broadcast_to(names, tf.shape(several))
        of_several = _first(several, named, "known: several values of an exclusive attribute: ")
        return present, tf.where(tf.equal(of_unknown, ""), of_several, of_unknown)


def _spellings(schema: Schema) -> dict[str, int]:
    """Return the position of each value by `attribute=value` and `attribute=synonym`."""
    spelled: dict[str, int] = {}
    for attribute in schema.attributes:
        start = schema.slices[attribute.name].start
        for synonym, value in attribute.synonyms.items():
            spelled[f"{attribute.name}={synonym}"] = start + attribute.values.index(value)
        for place, value in enumerate(attribute.values, start):
            spelled[f"{attribute.name}={value}"] = place
    return spelled


def _first(marked: tf.Tensor, texts: tf.Tensor, told: str) -> tf.Tensor:
    """Return `told` with the first marked text of each row, string [B]; "" without one.

    Args:
      marked: bool [B, K].
      texts: string [B, K].
    """
    joined = tf.strings.reduce_join(tf.where(marked, tf.strings.join([texts, "\n"]), ""), axis=1)
    first = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")  # valid from here on
    first = tf.strings.regex_replace(first, r"(?s)\n.*", "")
    first = tf.strings.substr(first, 0, _LONGEST, unit="UTF8_CHAR")
    return tf.where(tf.reduce_any(marked, axis=1), tf.strings.join([told, first]), "")


def known_cells(schema: Schema, present: Any) -> list[list[str]]:
    """Return the rows of a request's `known` for bool [B, V], padded to equal length."""
    rows = [[schema.value_names[v] for v in row.nonzero()[0]] for row in present]
    longest = max(map(len, rows), default=0) or 1
    return [row + [""] * (longest - len(row)) for row in rows]
