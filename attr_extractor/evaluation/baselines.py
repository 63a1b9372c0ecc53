"""Baselines that ignore the photo: the most frequent values of the training split.

One baseline is overall, the other is conditioned on the photo's true category.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from attr_extractor.labels import PRESENT
from attr_extractor.schema import Schema


@dataclass(frozen=True)
class MostFrequent:
    """The most frequent value of each attribute in the training photos, as indices among the V."""

    overall: np.ndarray  # int32 [T]
    by_category: np.ndarray | None = None  # int32 [C, T]; None if unknown

    @classmethod
    def of(cls, schema: Schema, values: Mapping[str, str]) -> MostFrequent:
        """Create it from the value of each attribute, without categories."""
        places = [
            where.start + schema[name].values.index(values[name])
            for name, where in schema.slices.items()
        ]
        return cls(np.array(places, np.int32))

    def given_category(self, category: np.ndarray) -> np.ndarray:
        """Return int32 [B, T] for int64 [B]; the overall value if the category is -1."""
        assert self.by_category is not None
        return np.where(category[:, np.newaxis] < 0, self.overall, self.by_category[category])


def count(schema: Schema, overall: MostFrequent, labels: Iterable[np.ndarray]) -> MostFrequent:
    """Add the most frequent value in each category, from batches of labels int8 [B, V].

    The overall value is used if a category has no value, and for the category attribute itself,
    whose true value would otherwise leak. Memory: the pairs of category and value that occur
    together.
    """
    where = schema.slices[schema.category]
    counts = sparse.csr_matrix((where.stop - where.start, schema.num_values), dtype=np.int64)
    for batch in labels:
        present = sparse.csr_matrix(batch == PRESENT, dtype=np.int64)  # [B, V]
        counts += present[:, where].T @ present  # [C, V]
    table = np.tile(overall.overall, (counts.shape[0], 1))  # [C, T]
    for t, (name, values) in enumerate(schema.slices.items()):
        block = counts[:, values].tocsr()
        seen = block.max(axis=1).toarray().ravel() > 0  # [C]
        best = np.asarray(block.argmax(axis=1)).ravel() + values.start
        if name != schema.category:
            table[seen, t] = best[seen]
    return MostFrequent(overall.overall, table)
