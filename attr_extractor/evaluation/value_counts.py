"""Precision, recall and F1 of every value and attribute, from counts of known labels."""

from __future__ import annotations

import numpy as np

from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.schema import Schema


class ValueCounts:
    """Counts per value of present, answered, and both, int64 [V]; missing labels are ignored.

    A sample to which an attribute does not apply is known to have none of its values, so any
    answer for it is wrong (the paper's section 5).
    """

    def __init__(self, schema: Schema):
        self.schema = schema
        self.present = np.zeros(schema.num_values, np.int64)
        self.answered = np.zeros(schema.num_values, np.int64)
        self.hits = np.zeros(schema.num_values, np.int64)
        self.no_answer = np.zeros(schema.num_values, np.int64)  # present, attribute not answered

    def add(self, labels: np.ndarray, chosen: np.ndarray, answered: np.ndarray) -> None:
        """Add int8 [B, V] labels, bool [B, V] answered values, bool [B, T] answered attributes."""
        present = labels == PRESENT
        self.present += present.sum(axis=0)
        self.answered += (chosen & (labels != MISSING)).sum(axis=0)
        self.hits += (chosen & present).sum(axis=0)
        unanswered = ~answered[:, self.schema.attribute_of_value]  # [B, V]
        self.no_answer += (present & unanswered).sum(axis=0)

    def rates(self) -> dict[str, np.ndarray]:
        """Return `precision`, `recall`, `f1`, float64 [V]; NaN if the denominator is 0."""
        with np.errstate(invalid="ignore"):
            return {
                "precision": self.hits / self.answered,
                "recall": self.hits / self.present,
                "f1": 2 * self.hits / (self.answered + self.present),
            }


def macro(rates: np.ndarray, present: np.ndarray) -> float:
    """Return the mean over values with support; NaN if there are none.

    A value with support that was never answered counts 0, as in scikit-learn's macro average with
    `zero_division=0` over the labels that occur.
    """
    supported = np.nan_to_num(rates[present > 0])
    return float(supported.mean()) if len(supported) else float("nan")
