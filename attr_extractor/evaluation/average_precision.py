"""Average precision of every value in one pass: scores are counted in bins of their logit.

Within a bin, absent labels are taken to lie evenly among the present ones. How far the exact figure
can be from that at most, in whatever order a bin's scores are, follows from the same counts.
Memory: 8 bytes x BINS for each of the V values, 16 MB for 1,900 and 160 MB for 20,000.
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

    A present sample counts the precision at its own score. In a bin of p present and n absent
    samples, below a present and c absent ones of higher score, that is for its i-th one
    (a + i) / (a + i + c + n (i - 1/2) / p) where they lie evenly, (a + i) / (a + i + c + n) or more
    if all absent ones come first, and (a + p) / (a + p + c) at most, equal scores included.

    Args:
      absent: int [N, BINS].
      present: int [N, BINS].

    Returns:
      float64 [N] and the largest possible distance from the exact one, NaN without any present.
    """
    present, absent = present[:, ::-1], absent[:, ::-1]
    true, false = (np.cumsum(counts, axis=1, dtype=np.int64) for counts in (present, absent))
    place = np.nonzero(present)
    p, n, t, f = (counts[place].astype(np.float64) for counts in (present, absent, true, false))
    a, c = t - p, f - n

    def total(offset: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """The sum of (a + i) / (offset + slope i) over i = 1 .. p."""
        start = offset / slope
        return (p + (a - start) * (digamma(start + p + 1) - digamma(start + 1))) / slope

    evenly = total(a + c - n / p / 2, 1 + n / p)
    lowest, highest = total(a + f, np.ones_like(p)), p * t / (t + c)
    sums = [
        np.bincount(place[0], weights=weights, minlength=len(present))
        for weights in (p, evenly, lowest, highest)
    ]
    with np.errstate(invalid="ignore"):
        value, low, high = (s / sums[0] for s in sums[1:])
    return value, np.maximum(value - low, high - value)
