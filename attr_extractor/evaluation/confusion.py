"""Which values of exclusive attributes are taken for which: sparse, so 20,000 values are no matter.

At most MAX_PAIRS pairs are kept. Were there more, the rarest go and the others lose as many as
those had (Agarwal et al., "Mergeable Summaries", 2012): a count may then be too low, by `missed` at
most, and never too high.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from attr_extractor.labels import PRESENT
from attr_extractor.schema import Schema

MAX_PAIRS = 200_000
SHOWN = 20  # pairs of an attribute


class Confusions:
    """Counts of (true value, answered value), where they differ; abstentions are none of them."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.counts: Counter[int] = Counter()  # true x V + answered
        self.missed = 0
        exclusive = [attribute.exclusive for attribute in schema.attributes]
        self._exclusive = np.repeat(exclusive, schema.sizes)  # bool [V]

    def add(self, labels: np.ndarray, chosen: np.ndarray) -> None:
        """Adds int8 [B, V] labels and bool [B, V] answered values."""
        keys, counts = np.unique(self.pairs(labels, chosen)[1], return_counts=True)
        self.counts.update(dict(zip(keys.tolist(), counts.tolist())))
        if len(self.counts) > MAX_PAIRS:
            rarest = self.counts.most_common(MAX_PAIRS + 1)[-1][1]
            self.counts = Counter({k: n - rarest for k, n in self.counts.items() if n > rarest})
            self.missed += rarest

    def pairs(self, labels: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [P] twice, of every confusion in a batch: its row, and true x V + answered."""
        true = self._value_of_attribute(labels == PRESENT)
        answered = self._value_of_attribute(chosen)
        wrong = (true >= 0) & (answered >= 0) & (true != answered)
        return np.nonzero(wrong)[0], true[wrong] * self.schema.num_values + answered[wrong]

    def most_confused(self) -> dict[str, list[dict[str, str | int]]]:
        """Per attribute the SHOWN most frequent pairs: `true`, `answered` and `count`."""
        schema = self.schema
        values = [value for attribute in schema.attributes for value in attribute.values]
        pairs: dict[str, list[dict[str, str | int]]] = {name: [] for name in schema.names}
        for key, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            true, answered = divmod(key, schema.num_values)
            found = pairs[schema.names[schema.attribute_of_value[true]]]
            if len(found) < SHOWN:
                found.append({"true": values[true], "answered": values[answered], "count": count})
        return pairs

    def _value_of_attribute(self, marked: np.ndarray) -> np.ndarray:
        """int64 [B, T]: the marked value of each exclusive attribute among the V, -1 for none."""
        row, value = np.nonzero(marked & self._exclusive)
        found = np.full([len(marked), len(self.schema.sizes)], -1, np.int64)
        found[row, self.schema.attribute_of_value[value]] = value
        return found
