"""The share that each known cell and each word has in a score, in log-odds.

Evidence is a sum over cells and words (model/evidence.py), so the shares are its terms, and no
gradient has to stand for them (`Evidence.shares`). A share of 0.7 doubles the odds of a value.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from attr_extractor import labels
from attr_extractor.catalogue import texts
from attr_extractor.errors import InputError
from attr_extractor.model.evidence import KNOWN, STRONGEST, TEXT
from attr_extractor.model.network import EVIDENCE, Network
from attr_extractor.records import words

SMALLEST = 0.05  # in a text, in log-odds
LONGEST = 60  # characters of a cell or word in a text


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
        self._cells = np.flatnonzero(self._present)
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
        known = tf.constant(self._cells[np.newaxis], tf.int32)
        shares = layer.shares(known, words.pieces(self._text), tf.constant([[value]], tf.int32))
        sources = [schema.value_names[v] for v in self._cells]
        sources += [f"'{word.decode()}'" for word in words.split(self._text)[0].numpy()]
        found = map(Share, sources, (shares[0, 0].numpy() * self._network.trust[value]).tolist())
        return sorted((s for s in found if s.log_odds), key=lambda share: -abs(share.log_odds))


def as_text(shares: Iterable[Share]) -> str:
    """Return the first STRONGEST shares as text: `'jersey' +2.1, category=dress -0.4`.

    A share that is rounded to 0 is left out, and a long word or value is cut.
    """
    shown = itertools.islice((s for s in shares if abs(s.log_odds) >= SMALLEST), STRONGEST)
    return ", ".join(f"{_cut(share.source)} {share.log_odds:+.1f}" for share in shown)


def _cut(source: str) -> str:
    return source if len(source) <= LONGEST else f"{source[: LONGEST - 1]}…"
