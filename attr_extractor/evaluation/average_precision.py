"""Average precision of every value in one pass: scores are counted in bins of their logit.

What is computed is the average precision of scores rounded to the bins, in scikit-learn's sense
(equal scores are one step of the curve). How far the exact one can be from it follows from the
same counts. Memory: 8 bytes x BINS for each of the V values, 16 MB for 1,900 and 160 MB for 20,000.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma

from attr_extractor.labels import MISSING

BINS = 1024
# float32 has no score below 1 above a logit of 16.7; below -20 lies a score of 2e-9
_EDGES = 1 / (1 + np.exp(-np.linspace(-20.0, 16.7, BINS - 1)))
_BLOCK = 256  # values whose curves are in memory at a time


class ScoreHistogram:
    """int32 [2, V, BINS]: known labels, absent and present, by the score of their value."""

    def __init__(self, num_values: int):
        self.counts = np.zeros([2, num_values, BINS], np.int32)

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Adds float32 [B, V] scores and int8 [B, V] labels, those that are not missing."""
        known = labels != MISSING
        _, value = np.nonzero(known)
        place = (labels[known], value, np.searchsorted(_EDGES, scores[known], side="right"))
        flat = np.ravel_multi_index(tuple(p.astype(np.int64) for p in place), self.counts.shape)
        np.add.at(self.counts.reshape(-1), flat, 1)  # a place may come twice

    def per_value(self) -> tuple[np.ndarray, np.ndarray]:
        """Average precision of each value and what it may be off by: float64 [V], as below."""
        size = self.counts.shape[1]
        blocks = [self.counts[:, i : i + _BLOCK] for i in range(0, size, _BLOCK)]
        found = [average_precision(absent, present) for absent, present in blocks]
        precision, error = zip(*found)
        return np.concatenate(precision), np.concatenate(error)

    def pooled(self, values: slice) -> tuple[float, float]:
        """Micro average precision: the curve of all values of a slice together; and its error."""
        absent, present = self.counts[:, values].sum(axis=1, dtype=np.int64)
        precision, error = average_precision(absent[np.newaxis], present[np.newaxis])
        return float(precision[0]), float(error[0])


def average_precision(absent: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision from counts by score, lowest bin first.

    A sample that is present counts the precision at its own score. Within a bin of p present and
    n absent samples below a present and c absent ones of higher score, that is anything from
    (a + i) / (a + i + c + n) for its i-th one, all absent ones first, to (a + p) / (a + p + c).

    Args:
      absent: int [N, BINS].
      present: int [N, BINS].

    Returns:
      float64 [N] and the largest possible distance from the exact one, NaN without any present.
    """
    true = np.cumsum(present[:, ::-1], axis=1, dtype=np.int64)  # at this score or above
    false = np.cumsum(absent[:, ::-1], axis=1, dtype=np.int64)
    row, step = np.nonzero(present[:, ::-1])
    p, n = (counts[:, ::-1][row, step].astype(np.float64) for counts in (present, absent))
    t, f = (counts[row, step].astype(np.float64) for counts in (true, false))
    at_bin = p * t / (t + f)
    # the sum over i of 1 / (a + i + f) is a difference of digammas
    lowest = p - f * (digamma(t + f + 1) - digamma(t - p + f + 1))
    highest = p * t / (t + f - n)
    sums = [
        np.bincount(row, weights=weights, minlength=len(present))
        for weights in (p, at_bin, lowest, highest)
    ]
    with np.errstate(invalid="ignore"):
        value, low, high = (s / sums[0] for s in sums[1:])
    return value, np.maximum(value - low, high - value)
