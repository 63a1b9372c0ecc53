"""Equation 2 over a split, beside "always the most frequent value", missing labels left out.

One pass, memory independent of the split: sums per attribute, and the same sums under the weights
of each bootstrap replicate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.evaluation import bootstrap
from attr_extractor.labels import PRESENT
from attr_extractor.model import metrics
from attr_extractor.model.answers import Answers
from attr_extractor.model.per_attribute import any_value
from attr_extractor.schema import Schema


class Totals:
    """Sums per attribute [T] and per replicate [R, T] of what the scores need."""

    KEYS = ("model", "baseline", "applies", "accuracy")

    def __init__(self, size: int):
        self.photos = 0
        self.once = {key: np.zeros(size) for key in (*self.KEYS, "all", "baseline_all", "known")}
        self.once["answered"] = np.zeros(size)
        self.resampled = {key: np.zeros([bootstrap.REPLICATES, size]) for key in self.KEYS}

    def add(self, values: dict[str, np.ndarray], draws: np.ndarray) -> None:
        """Adds one batch: float [B, T] of every key and its weights, float [R, B]."""
        self.photos += draws.shape[1]
        for key, total in self.once.items():
            total += values[key].sum(axis=0)
        for key, total in self.resampled.items():
            total += draws @ values[key]  # [R, T]


def always(schema: Schema, values: Mapping[str, str]) -> np.ndarray:
    """bool [V]: the answer that gives one value of each attribute to every photo."""
    chosen = np.zeros(schema.num_values, bool)
    for name, where in schema.slices.items():
        chosen[where.start + schema[name].values.index(values[name])] = True
    return chosen


def measure(
    model: Callable[[tf.Tensor], tf.Tensor],
    batches: Iterable[dict[str, tf.Tensor]],
    answers: Answers,
    baseline: np.ndarray,
    near_duplicates: Collection[tuple[str, int]] | None = None,
) -> dict[str, Any]:
    """Scores of a model over batches, also without the photos that resemble a training photo.

    Args:
      model: uint8 [B, H, W, 3] -> scores [B, V].
      baseline: bool [V], the answer that is always given for comparison.
      near_duplicates: product and `image_index` of the photos that resemble a training photo;
        None where that is not known.

    Returns:
      `photos`; `mean` over attributes; `attributes`: per attribute the headline `score` over
      samples to which it applies, its `interval`, the paper's `score_all` over all samples with a
      known label, `most_frequent` (the same headline of the baseline), `gain` over it and
      `gain_interval`, `coverage` (share answered), `accuracy` of the best value, and counts.
      Where `near_duplicates` is given, `without_near_duplicates`: `photos`, how many were
      `left_out`, and their `mean`.
    """
    schema = answers.schema

    @tf.function(reduce_retracing=True)
    def compare(pixels: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = model(pixels)
        chosen = answers.chosen(scores)
        found = metrics.agreement(labels, chosen, schema)
        same = metrics.agreement(labels, tf.broadcast_to(baseline, tf.shape(labels)), schema)
        right = answers.best(scores) & (labels == PRESENT)
        return {
            "applies": found["applies"],
            "known": found["known"],
            "score": found["score"],
            "baseline": same["score"],
            "answered": any_value(chosen, schema),
            "accuracy": any_value(right, schema),
        }

    totals, unlike = Totals(len(schema.attributes)), Totals(len(schema.attributes))
    for batch in batches:
        found = {
            key: value.numpy().astype(np.float64)
            for key, value in compare(batch["pixels"], batch["labels"]).items()
        }
        applies, known = found["applies"], found["known"]
        values = {
            "model": found["score"] * applies,
            "baseline": found["baseline"] * applies,
            "accuracy": found["accuracy"] * applies,
            "answered": found["answered"] * applies,
            "all": found["score"] * known,
            "baseline_all": found["baseline"] * known,
            "applies": applies,
            "known": known,
        }
        products = batch["product_id"].numpy().tolist()
        draws = bootstrap.weights(products)
        totals.add(values, draws)
        if near_duplicates is not None:
            photos = zip(products, batch["image_index"].numpy().tolist())
            keep = np.array([(p.decode(), i) not in near_duplicates for p, i in photos])
            unlike.add({key: value[keep] for key, value in values.items()}, draws[:, keep])
    measured = _summary(schema, totals, baseline)
    if near_duplicates is not None:
        measured["without_near_duplicates"] = {
            "photos": unlike.photos,
            "left_out": totals.photos - unlike.photos,
            "mean": _summary(schema, unlike, baseline)["mean"],
        }
    return measured


def _summary(schema: Schema, totals: Totals, baseline: np.ndarray) -> dict[str, Any]:
    with np.errstate(invalid="ignore", divide="ignore"):
        once = totals.once
        mean = {key: once[key] / once["applies"] for key in (*Totals.KEYS, "answered")}
        mean["all"] = once["all"] / once["known"]
        mean["baseline_all"] = once["baseline_all"] / once["known"]
        drawn = {k: totals.resampled[k] / totals.resampled["applies"] for k in Totals.KEYS}
    gain = drawn["model"] - drawn["baseline"]  # [R, T]
    seen = once["applies"] > 0
    attributes: dict[str, dict[str, Any]] = {}
    for t, attribute in enumerate(schema.attributes):
        where = schema.slices[attribute.name]
        attributes[attribute.name] = {
            "score": _number(mean["model"][t]),
            "interval": bootstrap.interval(drawn["model"][:, t]) if seen[t] else None,
            "most_frequent": _number(mean["baseline"][t]),
            "gain": _number(mean["model"][t] - mean["baseline"][t]),
            "gain_interval": bootstrap.interval(gain[:, t]) if seen[t] else None,
            "accuracy": _number(mean["accuracy"][t]),
            "coverage": _number(mean["answered"][t]),
            "score_all": _number(mean["all"][t]),
            "most_frequent_all": _number(mean["baseline_all"][t]),
            "most_frequent_value": attribute.values[int(np.argmax(baseline[where]))],
            "applicable": int(once["applies"][t]),
            "known": int(once["known"][t]),
        }
    measured = [attributes[name] for t, name in enumerate(schema.names) if seen[t]]

    def average(key: str) -> float | None:
        return _number(np.mean([a[key] for a in measured])) if measured else None

    return {
        "photos": totals.photos,
        "mean": {
            "attributes_measured": len(measured),
            "attributes_beating_most_frequent": sum(a["gain_interval"][0] > 0 for a in measured),
            **{
                key: average(key)
                for key in ("score", "most_frequent", "accuracy", "coverage", "score_all")
            },
            "interval": bootstrap.interval_of_mean(drawn["model"][:, seen]),
            "accuracy_interval": bootstrap.interval_of_mean(drawn["accuracy"][:, seen]),
        },
        "attributes": attributes,
    }


def _number(value: Any) -> float | None:
    """A JSON number; None where nothing was measured."""
    return round(float(value), 5) if np.isfinite(value) else None
