"""Figures of every attribute with their confidence intervals: ratios of sums over photos.

Intervals come from a Poisson bootstrap over products, in one pass: every product draws one
Poisson(1) weight per replicate, seeded by its identifier. All photos of a product share these
weights, and the result does not depend on the order of the photos or the size of blocks
(Chamandy et al., "Estimating Uncertainty for Massive Data Streams", 2012). Two models that are
measured on the same photos have the same weights, so the interval of their difference is paired.

Every figure is a ratio of two sums per attribute, so memory does not depend on the split:
REPLICATES x 18 x T numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from attr_extractor.schema import Schema

REPLICATES = 1000
PERCENTILES = (2.5, 97.5)
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
# whether an attribute applies at all: a value is answered if it does, none if it does not
APPLIES = ("applies_accuracy", "applies_balanced_accuracy")
INTERVALS = (
    *("score", *GAINS, "accuracy", "coverage", "answered_accuracy", "micro_f1"),
    *("score_all", *APPLIES),
)
MACRO = ("macro_precision", "macro_recall", "macro_f1", "macro_average_precision")
MEANS = (*RATIOS, *GAINS, *APPLIES, *MACRO, "micro_average_precision")
COMPARED = ("score", "accuracy")  # of two models


def bootstrap_weights(product_ids: Sequence[str], seed: int = 0) -> np.ndarray:
    """Return the weight of each photo's product in each replicate, float64 [R, B]."""
    columns = {}
    for product in set(product_ids):
        digest = hashlib.blake2b(product.encode(), digest_size=8).digest()
        generator = np.random.default_rng([seed, int.from_bytes(digest, "big")])
        columns[product] = generator.poisson(1.0, REPLICATES)
    return np.stack([columns[product] for product in product_ids], axis=1).astype(np.float64)


class Totals:
    """Sums of KEYS per attribute, unweighted and for each bootstrap replicate."""

    def __init__(self, num_attributes: int):
        self.photos = 0
        self.once = np.zeros([len(KEYS), num_attributes])
        self.resampled = np.zeros([REPLICATES, len(KEYS), num_attributes])

    def add(self, quantities: np.ndarray, weights: np.ndarray) -> None:
        """Add quantities float64 [B, K, T] in the order of KEYS, and weights float64 [R, B]."""
        self.photos += len(quantities)
        self.once += quantities.sum(axis=0)
        flat = quantities.reshape(len(quantities), self.once.size)
        self.resampled += (weights @ flat).reshape(self.resampled.shape)

    def count(self, key: str) -> np.ndarray:
        """Return one of the sums that count samples, int64 [T]."""
        return self.once[KEYS.index(key)].astype(np.int64)


def ratios(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Compute ratios and gains [..., T] from sums [..., K, T]; NaN if nothing was counted."""
    by_key = dict(zip(KEYS, np.moveaxis(sums, -2, 0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = {name: by_key[a] / by_key[b] for name, (a, b) in RATIOS.items()}
        other = by_key["known"] - by_key["applies"]  # samples to which the attribute does not apply
        silent = other - by_key["answered_not_applicable"]
        figures["applies_accuracy"] = (by_key["answered"] + silent) / by_key["known"]
        figures["applies_balanced_accuracy"] = (figures["coverage"] + silent / other) / 2
    return {**figures, **{gain: figures["score"] - figures[base] for gain, base in GAINS.items()}}


def per_attribute(schema: Schema, totals: Totals) -> dict[str, dict[str, Any]]:
    """Return figures, intervals and counts of each attribute; None if nothing was measured."""
    once, drawn = ratios(totals.once), ratios(totals.resampled)
    attributes: dict[str, dict[str, Any]] = {}
    for t, name in enumerate(schema.names):
        attribute: dict[str, Any] = {}
        for key, values in once.items():
            attribute[key] = number(values[t])
            if key in INTERVALS:
                known = attribute[key] is not None
                attribute[interval_of(key)] = interval(drawn[key][:, t]) if known else None
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
    once, drawn = ratios(totals.once), ratios(totals.resampled)

    def beating(gain: str) -> int:
        ends_of = [a[interval_of(gain)] for a in measured]
        return sum(ends is not None and ends[0] > 0 for ends in ends_of)

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
            result[interval_of(key)] = interval_of_mean(drawn[key][:, has])
    return result


def differences(
    schema: Schema, totals: Totals, other: Totals, compared: Sequence[str] = COMPARED
) -> dict[str, Any]:
    """Compare two models measured on the same photos.

    Args:
      compared: names of figures, see `ratios`. A mean is over the attributes with a score for which
        both models have the figure.

    Returns:
      `mean` and `attributes`; each has `score`, `interval` and `accuracy` of the other model, then
      `difference`, `difference_interval`, `accuracy_difference`, `accuracy_difference_interval`:
      the first model minus the other.
    """
    once = [ratios(each.once) for each in (totals, other)]
    drawn = [ratios(each.resampled) for each in (totals, other)]
    measured = np.isfinite(once[0]["score"])

    def block(chosen: np.ndarray) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key in compared:
            prefix = "" if key == "score" else f"{key}_"
            both = chosen & np.isfinite(once[0][key]) & np.isfinite(once[1][key])
            (a, b), (a_drawn, b_drawn) = (
                [figures[key][..., both] for figures in pair] for pair in (once, drawn)
            )
            result[key] = number(np.mean(b)) if both.any() else None
            result[interval_of(key)] = interval_of_mean(b_drawn)
            result[f"{prefix}difference"] = number(np.mean(a - b)) if both.any() else None
            result[f"{prefix}difference_interval"] = interval_of_mean(a_drawn - b_drawn)
        return result

    places = np.arange(len(measured))
    return {
        "mean": block(measured),
        "attributes": {
            name: block(measured & (places == t)) for t, name in enumerate(schema.names)
        },
    }


def interval_of(key: str) -> str:
    """Return the key of a figure's interval; for the score it is `interval`."""
    return "interval" if key == "score" else f"{key}_interval"


def interval(replicates: np.ndarray) -> list[float] | None:
    """Return the 95 % percentile interval of float [R]; ignore replicates without a sample."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return None
    return [round(float(x), 5) for x in np.percentile(finite, PERCENTILES)]


def interval_of_mean(replicates: np.ndarray) -> list[float] | None:
    """Return the interval of the mean over attributes of float [R, T]; None if T is 0."""
    drew_some = replicates[np.isfinite(replicates).any(axis=1)]
    return interval(np.nanmean(drew_some, axis=1))


def number(value: Any) -> float | None:
    """Return a JSON number with five decimals; None if nothing was measured."""
    return round(float(value), 5) if np.isfinite(value) else None
