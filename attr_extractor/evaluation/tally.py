"""Figures per attribute and their means, from the results of a model on batches of photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attr_extractor.evaluation import totals
from attr_extractor.evaluation.average_precision import ScoreHistogram
from attr_extractor.evaluation.totals import KEYS, Totals, number
from attr_extractor.evaluation.value_counts import ValueCounts, macro
from attr_extractor.schema import Schema


@dataclass(frozen=True)
class Batch:
    """Results of one model on B photos."""

    labels: np.ndarray  # int8 [B, V]
    scores: np.ndarray  # float32 [B, V]
    chosen: np.ndarray  # bool [B, V], the answered values
    confidence: np.ndarray  # float32 [B, T], the best value's score
    counted: dict[str, np.ndarray]  # float64 [B, T] for each of totals.KEYS
    draws: np.ndarray  # float64 [R, B], bootstrap weights

    @property
    def sums(self) -> np.ndarray:
        """`counted`, stacked, float64 [B, K, T]."""
        return np.stack([self.counted[key] for key in KEYS], axis=1)

    def rows(self, keep: np.ndarray) -> Batch:
        """Return the photos selected by `keep`, bool [B]."""
        counted = {key: value[keep] for key, value in self.counted.items()}
        parts = (self.labels[keep], self.scores[keep], self.chosen[keep], self.confidence[keep])
        return Batch(*parts, counted, self.draws[:, keep])


class Tally:
    """Sums over batches, for all figures of an attribute."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.totals = Totals(len(schema.names))
        self.values = ValueCounts(schema)
        self.histogram = ScoreHistogram(schema.num_values)

    def add(self, batch: Batch) -> None:
        """Add one batch."""
        self.totals.add(batch.sums, batch.draws)
        self.values.add(batch.labels, batch.chosen, batch.counted["answered"] > 0)
        self.histogram.add(batch.scores, batch.labels)

    def rates(self) -> dict[str, np.ndarray]:
        """Return precision, recall, f1, average_precision and its maximum error, float64 [V]."""
        precision, error = self.histogram.per_value()
        return {**self.values.rates(), "average_precision": precision, "error": error}

    def summary(self, rates: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return `photos`, `mean` and `attributes`, from the result of `rates`."""
        attributes = totals.per_attribute(self.schema, self.totals)
        for name, where in self.schema.slices.items():
            present = self.values.present[where]
            for key in ("precision", "recall", "f1", "average_precision"):
                attributes[name][f"macro_{key}"] = number(macro(rates[key][where], present))
            pooled, error = self.histogram.pooled(where)
            attributes[name]["micro_average_precision"] = number(pooled)
            errors = (error, macro(rates["error"][where], present))
            attributes[name]["average_precision_error"] = number(max(errors))
        mean = totals.mean(attributes, self.totals)
        return {"photos": self.totals.photos, "mean": mean, "attributes": attributes}

    def per_value(self, rates: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
        """Return counts of known labels and rates per attribute and value; None if undefined."""
        counts = {
            "support": self.values.present,
            "predicted": self.values.answered,
            "no_answer": self.values.no_answer,
        }
        return {
            attribute.name: {
                value: {
                    **{key: int(n[place]) for key, n in counts.items()},
                    **{key: number(r[place]) for key, r in rates.items() if key != "error"},
                }
                for place, value in enumerate(
                    attribute.values, self.schema.slices[attribute.name].start
                )
            }
            for attribute in self.schema.attributes
        }
