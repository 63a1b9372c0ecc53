"""Equation 2 by category, to find where the model is weak; needs memory for C x T numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from attr_extractor.evaluation.totals import number
from attr_extractor.schema import Schema

MIN_PHOTOS = 20  # minimum photos of a category listed among the worst
SHOWN = 20


class ByCategory:
    """Sums and counts of equation 2 over the photos of each known category."""

    def __init__(self, schema: Schema):
        self.schema = schema
        size = [len(schema[schema.category].values), len(schema.names)]
        self.photos = np.zeros(size[0], np.int64)
        self.sums, self.counts = np.zeros(size), np.zeros(size, np.int64)  # [C, T]

    def add(self, category: np.ndarray, score: np.ndarray, applies: np.ndarray) -> None:
        """Add a batch.

        Args:
          category: int64 [B], -1 if unknown.
          score: [B, T], equation 2; 0 if the attribute does not apply.
          applies: [B, T], whether the attribute applies.
        """
        known = category >= 0
        np.add.at(self.photos, category[known], 1)
        np.add.at(self.sums, category[known], score[known])
        np.add.at(self.counts, category[known], applies[known].astype(np.int64))

    def scores(self) -> dict[str, dict[str, Any]]:
        """Return `photos` and `score` of each category that has photos, worst first.

        Each category also has `photos` and `score` of its attributes. A category's score is the
        mean over all known labels of its photos, so an attribute with few labels has little weight.
        """
        found: dict[str, dict[str, Any]] = {}
        for c, category in enumerate(self.schema[self.schema.category].values):
            if not self.photos[c]:
                continue
            seen = np.flatnonzero(self.counts[c])
            found[category] = {
                "photos": int(self.photos[c]),
                "score": number(self.sums[c].sum() / self.counts[c].sum()),
                "attributes": {
                    self.schema.names[t]: {
                        "score": number(self.sums[c, t] / self.counts[c, t]),
                        "photos": int(self.counts[c, t]),
                    }
                    for t in seen
                },
            }
        return dict(sorted(found.items(), key=lambda item: item[1]["score"]))


def worst(scores: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the SHOWN lowest-scoring categories among those with at least MIN_PHOTOS photos."""
    enough = [(name, c) for name, c in scores.items() if c["photos"] >= MIN_PHOTOS]
    return [
        {"category": name, "score": c["score"], "photos": c["photos"]} for name, c in enough[:SHOWN]
    ]
