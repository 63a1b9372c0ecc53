"""Sums over a split, unweighted and with each replicate's weights, and figures computed from them.

Every figure with an interval is a ratio of two sums per attribute, so one pass over the split
gives the figure and its bootstrap distribution. Memory does not depend on the split:
REPLICATES x 18 x T numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attr_extractor.evaluation import bootstrap
from attr_extractor.schema import Schema

# Quantities summed over samples, per attribute. A sample is known if the attribute has a known
# label, and the attribute applies if it has a value.
KEYS = (
    "known",
    "applies",
    "score",  # equation 2, of samples to which the attribute applies
    "score_all",  # of all known samples
    "most_frequent",
    "most_frequent_all",
    "given_category",
    "exact",
    "best_known",  # the best value's own label is known, and the attribute applies
    "right",  # the best value is present
    "answered",
    "judged",  # answered with a value whose label is known
    "judged_score",
    "answered_not_applicable",
    "hits",  # answered values that are present
    "given",  # answered values whose label is known
    "half_sizes",  # half of given and present together: hits / half_sizes is F1
    "present",
)
RATIOS = {
    "score": ("score", "applies"),
    "score_all": ("score_all", "known"),
    "most_frequent": ("most_frequent", "applies"),
    "most_frequent_all": ("most_frequent_all", "known"),
    "most_frequent_given_category": ("given_category", "applies"),
    "accuracy": ("right", "best_known"),
    "coverage": ("answered", "applies"),
    "answered_accuracy": ("judged_score", "judged"),
    "exact_match": ("exact", "applies"),
    "micro_precision": ("hits", "given"),
    "micro_recall": ("hits", "present"),
    "micro_f1": ("hits", "half_sizes"),
}
GAINS = {"gain": "most_frequent", "gain_given_category": "most_frequent_given_category"}
INTERVALS = ("score", *GAINS, "accuracy", "coverage", "answered_accuracy", "micro_f1")
MACRO = ("macro_precision", "macro_recall", "macro_f1", "macro_average_precision")
MEANS = (*RATIOS, *GAINS, *MACRO, "micro_average_precision")


class Totals:
    """Sums of KEYS per attribute, unweighted and for each bootstrap replicate."""

    def __init__(self, size: int):
        self.photos = 0
        self.once = np.zeros([len(KEYS), size])
        self.resampled = np.zeros([bootstrap.REPLICATES, len(KEYS), size])

    def add(self, sums: np.ndarray, draws: np.ndarray) -> None:
        """Add one batch: sums float64 [B, K, T] in the order of KEYS, weights float64 [R, B]."""
        self.photos += len(sums)
        self.once += sums.sum(axis=0)
        flat = sums.reshape(len(sums), self.once.size)
        self.resampled += (draws @ flat).reshape(self.resampled.shape)

    def count(self, key: str) -> np.ndarray:
        """Return one of the sums that count samples, int64 [T]."""
        return self.once[KEYS.index(key)].astype(np.int64)


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Compute ratios and gains [..., T] from sums [..., K, T]; NaN if nothing was counted."""
    by_key = dict(zip(KEYS, np.moveaxis(sums, -2, 0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {name: by_key[a] / by_key[b] for name, (a, b) in RATIOS.items()}
    return {**found, **{gain: found["score"] - found[base] for gain, base in GAINS.items()}}


def per_attribute(schema: Schema, totals: Totals) -> dict[str, dict[str, Any]]:
    """Return figures, intervals and counts of each attribute; None if nothing was measured."""
    once, drawn = figures(totals.once), figures(totals.resampled)
    attributes: dict[str, dict[str, Any]] = {}
    for t, name in enumerate(schema.names):
        attribute: dict[str, Any] = {}
        for key, values in once.items():
            attribute[key] = number(values[t])
            if key in INTERVALS:
                known = attribute[key] is not None
                attribute[interval_of(key)] = (
                    bootstrap.interval(drawn[key][:, t]) if known else None
                )
        for key in ("applicable", "known", "answered", "answered_not_applicable"):
            attribute[key] = int(totals.count("applies" if key == "applicable" else key)[t])
        attribute["no_answer"] = attribute["applicable"] - attribute["answered"]
        attributes[name] = attribute
    return attributes


def mean(attributes: dict[str, dict[str, Any]], totals: Totals) -> dict[str, Any]:
    """Return means over measured attributes, their intervals, and how many beat each baseline.

    The mean of a figure excludes attributes without it (such as the accuracy of answers, for an
    attribute that was never answered).
    """
    measured = [a for a in attributes.values() if a["score"] is not None]
    once, drawn = figures(totals.once), figures(totals.resampled)

    def beating(gain: str) -> int:
        intervals = [a[interval_of(gain)] for a in measured]
        return sum(interval is not None and interval[0] > 0 for interval in intervals)

    result: dict[str, Any] = {
        "attributes_measured": len(measured),
        "attributes_beating_most_frequent": beating("gain"),
        "attributes_beating_given_category": beating("gain_given_category"),
    }
    for key in MEANS:
        if key in once:  # unrounded, as in a comparison
            has = np.isfinite(once["score"]) & np.isfinite(once[key])
            values = once[key][has].tolist()
        else:
            values = [a[key] for a in measured if a[key] is not None]
        result[key] = number(np.mean(values)) if values else None
        if key in INTERVALS:
            result[interval_of(key)] = bootstrap.interval_of_mean(drawn[key][:, has])
    return result


def interval_of(key: str) -> str:
    """Return the key of a figure's interval; for the score it is `interval`."""
    return "interval" if key == "score" else f"{key}_interval"


def number(value: Any) -> float | None:
    """Return a JSON number with five decimals; None if nothing was measured."""
    return round(float(value), 5) if np.isfinite(value) else None
