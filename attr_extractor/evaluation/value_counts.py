"""Precision, recall and F1 of every value and attribute, from counts of known labels."""

from __future__ import annotations

import numpy as np

from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.schema import Schema


class ValueCounts:
    """Per value: how often it is present, answered, and both; int64 [V], missing labels left out.

    A sample to which an attribute does not apply is known to have none of its values, so what is
    answered there is wrong (the paper's section 5).
    """

    def __init__(self, schema: Schema):
        self.schema = schema
        self.present = np.zeros(schema.num_values, np.int64)
        self.answered = np.zeros(schema.num_values, np.int64)
        self.hits = np.zeros(schema.num_values, np.int64)
        self.no_answer = np.zeros(schema.num_values, np.int64)  # present, attribute not answered

    def add(self, labels: np.ndarray, chosen: np.ndarray, answered: np.ndarray) -> None:
        """Adds int8 [B, V] labels, bool [B, V] answered values, bool [B, T] answered attributes."""
        present = labels == PRESENT
        self.present += present.sum(axis=0)
        self.answered += (chosen & (labels != MISSING)).sum(axis=0)
        self.hits += (chosen & present).sum(axis=0)
        unanswered = ~answered[:, self.schema.attribute_of_value]  # [B, V]
        self.no_answer += (present & unanswered).sum(axis=0)

    def rates(self) -> dict[str, np.ndarray]:
        """`precision`, `recall`, `f1` float64 [V]; NaN where nothing was answered or present."""
        with np.errstate(invalid="ignore"):
            return {
                "precision": self.hits / self.answered,
                "recall": self.hits / self.present,
                "f1": 2 * self.hits / (self.answered + self.present),
            }


def macro(rates: np.ndarray, present: np.ndarray) -> float:
    """The mean over values with support; 0 where such a value was never answered, NaN without any.

    scikit-learn's macro average with `zero_division=0` over the labels that occur.
    """
    supported = np.nan_to_num(rates[present > 0])
    return float(supported.mean()) if len(supported) else float("nan")
