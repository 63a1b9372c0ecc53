"""Label counts and unknown values of one side.

Labels are counted in photos, as in manifest.json. All photos of a product share its labels, so they
are not independent. P-values are therefore based on the effective number (sum w)^2 / sum w^2 of
products with w photos each (Kish, 1965).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from attr_extractor import labels
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema, fold

MOST_SPELLINGS = 100_000  # unknown values that are counted individually


@dataclass
class LabelCounts:
    """Photos by their labels; T attributes, V values."""

    present: np.ndarray  # float64 [V], photos with each value
    states: np.ndarray  # float64 [T, 3], photos: answered, not applicable, missing
    photos: float = 0
    squares: float = 0  # sum over products of their photos squared

    @classmethod
    def zeros(cls, schema: Schema) -> LabelCounts:
        """Create counts of 0."""
        return cls(np.zeros(schema.num_values), np.zeros([len(schema.attributes), 3]))

    @classmethod
    def of_split(cls, manifest: Manifest, split: str, squares: float) -> LabelCounts:
        """Create the counts of a split, from the manifest and the index."""
        held = manifest.splits[split]
        counts = [held.labels[name] for name in manifest.schema.names]
        states = [[c.answered, c.not_applicable, c.missing] for c in counts]
        present = manifest.present(split).astype(np.float64)
        return cls(present, np.array(states, np.float64), held.photos, squares)

    def add(self, schema: Schema, codes: np.ndarray, photos: np.ndarray) -> None:
        """Add R products: labels int8 [R, V], and the number of photos of each, int [R]."""
        weights = photos.astype(np.float64)
        self.present += weights @ (codes == labels.PRESENT)
        self.states += np.tensordot(weights, labels.states(codes, schema.sizes), 1)
        self.photos += weights.sum()
        self.squares += (weights**2).sum()

    @property
    def scale(self) -> float:
        """Effective products per photo, at most 1."""
        return self.photos / self.squares


@dataclass
class UnknownValues:
    """Cells of one attribute with a value that is not in the schema."""

    cells: int = 0
    spellings: Counter[str] = field(default_factory=Counter)  # folded
    nearest: dict[str, str] = field(default_factory=dict)  # known value by spelling

    def add(self, cell: str, nearest: str) -> None:
        """Count a cell."""
        self.cells += 1
        spelling = fold(cell)
        if spelling in self.spellings or len(self.spellings) < MOST_SPELLINGS:
            self.spellings[spelling] += 1
            self.nearest[spelling] = nearest
