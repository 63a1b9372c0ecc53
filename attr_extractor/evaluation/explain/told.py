"""The share that each known cell and each word has in a score, in log-odds.

Evidence is a sum over cells and words (model/evidence.py), so the shares are its terms, and no
gradient has to stand for them. A share of 0.7 doubles the odds of a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from attr_extractor import labels
from attr_extractor.catalogue import texts
from attr_extractor.errors import InputError
from attr_extractor.model.evidence import KNOWN, TEXT
from attr_extractor.model.network import EVIDENCE, Network
from attr_extractor.records import words


class Share(NamedTuple):
    """What one cell or word adds to the log-odds of a value."""

    source: str  # `attribute=value`, or the word in quotes
    log_odds: float


class Told:
    """What is known of one product besides its photos."""

    def __init__(self, network: Network, cells: Mapping[str, str], text: str):
        """
        Args:
          cells: the known cells by attribute; several values are separated by |.

        Raises:
          InputError: if a cell is not one of the schema, or the network does not read it.
        """
        for given, name in ((cells, KNOWN), (text, TEXT)):
            if given and name not in network.context:
                raise InputError(f"the run does not read --{name}: train with model.context.{name}")
        for name in cells:
            if name not in network.schema.names:
                raise InputError(f"--known: there is no attribute {name!r}")
        encoded, issues = labels.encode(network.schema, cells)
        for issue in issues:
            raise InputError(f"--known: {issue.attribute}: {issue.cell!r}: {issue.kind}")
        self._network = network
        self._present = encoded == labels.PRESENT  # [V]
        self._text = tf.constant([texts.join([text])])

    def in_context(self, scores: tf.Tensor) -> tf.Tensor:
        """Return the scores of B photos of the product in its context, float32 [B, V]."""
        if self._network.evidence is None:
            return scores
        known = tf.where(self._present, labels.PRESENT, labels.MISSING)[tf.newaxis]
        given = {KNOWN: tf.cast(known, tf.int8), TEXT: words.pieces(self._text)}
        inputs = {name: given[name] for name in self._network.context}
        return self._network.in_context(scores, self._network.evidence(inputs))

    def shares(self, value: int) -> list[Share]:
        """Return the shares in the score of a value, given by its place among the V."""
        if self._network.evidence is None:
            return []
        layer, schema = self._network.evidence.get_layer(EVIDENCE), self._network.schema
        direction = layer.for_values.numpy()[value] * self._network.trust[value]
        found: list[Share] = []
        if KNOWN in self._network.context:
            owner = schema.attribute_of_value
            for v in np.flatnonzero(self._present & (owner != owner[value])):
                share = float(layer.of_cells.numpy()[v] @ direction)
                found.append(Share(schema.value_names[v], share))
        if TEXT in self._network.context:
            said = words.split(self._text)[0].numpy()
            vectors = layer.of_words(words.pieces(self._text))[0].numpy()
            found += [
                Share(f"'{word.decode()}'", float(vector @ direction))
                for word, vector in zip(said, vectors)
            ]
        return sorted(found, key=lambda share: -abs(share.log_odds))
