"""Risk-coverage curves: coverage and accuracy of the best value over confidence cut-offs."""

from __future__ import annotations

from typing import Any

import numpy as np

from attr_extractor.evaluation.totals import number

# a value is answered if its score is above the cut-off
CUT_OFFS = np.array([*range(0, 950, 50), 950, 960, 970, 980, 990, 995, 999], np.float32) / 1000


class RiskCoverage:
    """Counts per attribute of samples, and of right answers, between consecutive cut-offs.

    Only samples to which the attribute applies and whose best value has a known label are counted.
    """

    def __init__(self, size: int):
        self.counts = np.zeros([2, size, 1 + len(CUT_OFFS)], np.int64)

    def add(self, confidence: np.ndarray, judged: np.ndarray, right: np.ndarray) -> None:
        """Add [B, T]: the best value's score; whether the sample counts; whether it is right."""
        cut_offs_passed = np.searchsorted(CUT_OFFS, confidence, side="left")  # [B, T]
        for counts, marked in zip(self.counts, (judged, right)):
            row, attribute = np.nonzero(marked)
            np.add.at(counts, (attribute, cut_offs_passed[row, attribute]), 1)

    def curves(self) -> list[dict[str, Any]]:
        """Return `coverage` and `accuracy` per attribute at every cut-off; None if undefined."""
        return [self._curve(counts) for counts in np.moveaxis(self.counts, 1, 0)]

    def pooled(self) -> dict[str, Any]:
        """Return the same curve over the samples of all attributes together."""
        return self._curve(self.counts.sum(axis=1))

    def _curve(self, counts: np.ndarray) -> dict[str, Any]:
        samples, right = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # passed at least k cut-offs
        with np.errstate(invalid="ignore"):
            coverage, accuracy = samples[1:] / samples[0], right[1:] / samples[1:]
        return {
            "coverage": [number(value) for value in coverage],
            "accuracy": [number(value) for value in accuracy],
        }
