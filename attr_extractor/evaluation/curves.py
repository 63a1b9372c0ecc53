"""Curves over cut-offs of the score: average precision by value, risk and coverage by attribute.

Scores are counted in bins, in one pass over a split. scikit-learn's `average_precision_score` needs
all scores of a value in memory and sorts them: for each of 1,900 values, each attribute's pooled
values, and again without the near duplicates. It is the reference of the tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import digamma

from attr_extractor.evaluation.figures import number
from attr_extractor.labels import MISSING

BINS = 1024
# above a logit of 16.7 a float32 score rounds to 1; a logit of -20 is a score of 2e-9
_EDGES = 1 / (1 + np.exp(-np.linspace(-20.0, 16.7, BINS - 1)))
_BLOCK = 256  # values whose curves are in memory at the same time
# a value is answered if its score is above the cut-off
CUT_OFFS = np.array([*range(0, 950, 50), 950, 960, 970, 980, 990, 995, 999], np.float32) / 1000


class ScoreHistogram:
    """Counts int32 [2, V, BINS] of known labels, absent and present, by their value's score.

    Within a bin, absent labels are assumed to be spread evenly among the present ones. The maximum
    error of this assumption, over all orders of a bin's scores, follows from the same counts.
    Memory: 8 bytes x BINS for each of the V values, 16 MB for 1,900 and 160 MB for 20,000.
    """

    def __init__(self, num_values: int):
        self.counts = np.zeros([2, num_values, BINS], np.int32)

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add float32 [B, V] scores and int8 [B, V] labels; missing labels are ignored."""
        known = labels != MISSING
        _, value = np.nonzero(known)
        place = (labels[known], value, np.searchsorted(_EDGES, scores[known], side="right"))
        flat = np.ravel_multi_index(tuple(p.astype(np.int64) for p in place), self.counts.shape)
        np.add.at(self.counts.reshape(-1), flat, 1)  # indices may repeat

    def per_value(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the average precision of each value and its maximum error, float64 [V] each."""
        size = self.counts.shape[1]
        blocks = [self.counts[:, i : i + _BLOCK] for i in range(0, size, _BLOCK)]
        precision, error = zip(*(average_precision(*counts) for counts in blocks))
        return np.concatenate(precision), np.concatenate(error)

    def pooled(self, values: slice) -> tuple[float, float]:
        """Return the micro average precision of a slice of values, and its maximum error."""
        absent, present = self.counts[:, values].sum(axis=1, dtype=np.int64)
        precision, error = average_precision(absent[np.newaxis], present[np.newaxis])
        return float(precision[0]), float(error[0])

    def recall_at_precision(self, values: slice, precision: float) -> float:
        """Return the highest recall of a slice of values with at least this precision.

        Over all cut-offs between bins; answers of the lowest bin do not count. 0 if no cut-off
        reaches the precision, NaN if no value is present.
        """
        counts = self.counts[:, values].sum(axis=1, dtype=np.int64)  # [2, BINS]
        false, true = counts[:, :0:-1].cumsum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            reached = true / (true + false) >= precision
            return float(np.where(reached, true, 0).max() / counts[1].sum())


def average_precision(absent: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute average precision from counts by score, lowest bin first.

    Each present sample contributes the precision at its own score. Take a bin of p present and n
    absent samples, with a present and c absent samples of higher score. The i-th present sample
    of the bin contributes (a + i) / (a + i + c + n (i - 1/2) / p) if the absent samples are spread
    evenly, at least (a + i) / (a + i + c + n), if all absent samples come first, and at most
    (a + p) / (a + p + c), equal scores included.

    Args:
      absent: int [N, BINS].
      present: int [N, BINS].

    Returns:
      The average precision, float64 [N], and its maximum error, float64 [N]. Both are NaN if no
      sample is present.
    """
    present, absent = present[:, ::-1], absent[:, ::-1]
    true, false = (np.cumsum(counts, axis=1, dtype=np.int64) for counts in (present, absent))
    place = np.nonzero(present)
    p, n, t, f = (counts[place].astype(np.float64) for counts in (present, absent, true, false))
    a, c = t - p, f - n

    def total(offset: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """Return the sum of (a + i) / (offset + slope i) over i = 1 .. p."""
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


class RiskCoverage:
    """Coverage and accuracy of the best value over cut-offs of its score, by attribute.

    Counts samples, and right answers, between consecutive cut-offs: int64 [2, T, 1 + cut-offs].
    Only samples to which the attribute applies and whose best value has a known label are counted.
    """

    def __init__(self, num_attributes: int):
        self.counts = np.zeros([2, num_attributes, 1 + len(CUT_OFFS)], np.int64)

    def add(self, confidence: np.ndarray, judged: np.ndarray, right: np.ndarray) -> None:
        """Add [B, T]: the best value's score; whether the sample counts; whether it is right."""
        cut_offs_passed = np.searchsorted(CUT_OFFS, confidence, side="left")  # [B, T]
        for counts, marked in zip(self.counts, (judged, right)):
            row, attribute = np.nonzero(marked)
            np.add.at(counts, (attribute, cut_offs_passed[row, attribute]), 1)

    def curves(self) -> list[dict[str, Any]]:
        """Return `coverage` and `accuracy` per attribute at every cut-off; None if undefined."""
        return [_risk_coverage(counts) for counts in np.moveaxis(self.counts, 1, 0)]

    def pooled(self) -> dict[str, Any]:
        """Return the same curve over the samples of all attributes together."""
        return _risk_coverage(self.counts.sum(axis=1))


def _risk_coverage(counts: np.ndarray) -> dict[str, Any]:
    samples, right = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # passed at least k cut-offs
    with np.errstate(invalid="ignore"):
        coverage, accuracy = samples[1:] / samples[0], right[1:] / samples[1:]
    return {
        "coverage": [number(value) for value in coverage],
        "accuracy": [number(value) for value in accuracy],
    }
