"""Confusions between values of exclusive attributes: sparse, so 20,000 values fit in memory.

At most MAX_PAIRS pairs are kept. Above that, the rarest pairs are dropped and their count is
subtracted from the others (Agarwal et al., "Mergeable Summaries", 2012). A count may then be too
low by at most `missed`, and is never too high.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from attr_extractor.labels import PRESENT
from attr_extractor.schema import Schema

MAX_PAIRS = 200_000
SHOWN = 20  # pairs per attribute


class Confusions:
    """Counts of (true value, answered value) that differ; abstentions are not counted."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.counts: Counter[int] = Counter()  # true x V + answered
        self.missed = 0

    def add(self, labels: np.ndarray, chosen: np.ndarray) -> None:
        """Add int8 [B, V] labels and bool [B, V] answered values."""
        keys, counts = np.unique(self.pairs(labels, chosen)[1], return_counts=True)
        self.counts.update(dict(zip(keys.tolist(), counts.tolist())))
        if len(self.counts) > MAX_PAIRS:
            rarest = self.counts.most_common(MAX_PAIRS + 1)[-1][1]
            self.counts = Counter({k: n - rarest for k, n in self.counts.items() if n > rarest})
            self.missed += rarest

    def pairs(self, labels: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return row and true x V + answered of every confusion in a batch, int64 [P] each."""
        true = self._value_of_attribute(labels == PRESENT)
        answered = self._value_of_attribute(chosen)
        wrong = (true >= 0) & (answered >= 0) & (true != answered)
        return np.nonzero(wrong)[0], true[wrong] * self.schema.num_values + answered[wrong]

    def most_confused(self) -> dict[str, list[dict[str, str | int]]]:
        """Return the SHOWN most frequent pairs per attribute: `true`, `answered` and `count`."""
        schema = self.schema
        values = [value for attribute in schema.attributes for value in attribute.values]
        pairs: dict[str, list[dict[str, str | int]]] = {name: [] for name in schema.names}
        for key, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            true, answered = divmod(key, schema.num_values)
            of_attribute = pairs[schema.names[schema.attribute_of_value[true]]]
            if len(of_attribute) < SHOWN:
                of_attribute.append(
                    {"true": values[true], "answered": values[answered], "count": count}
                )
        return pairs

    def _value_of_attribute(self, marked: np.ndarray) -> np.ndarray:
        """Return the index among V of each exclusive attribute's marked value, int64 [B, T].

        The index is -1 if no value is marked.
        """
        row, value = np.nonzero(marked & self.schema.exclusive)
        value_of = np.full([len(marked), len(self.schema.sizes)], -1, np.int64)
        value_of[row, self.schema.attribute_of_value[value]] = value
        return value_of
