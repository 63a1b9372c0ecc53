"""Temperature scaling, and expected calibration errors.

The logits of each attribute are divided by its temperature (Guo et al., "On Calibration of Modern
Neural Networks", 2017). The temperature minimises the negative log likelihood of the known labels:
binary over the values of a sigmoid attribute, multinomial over the samples that have a value for a
softmax attribute. The negative log likelihood is convex in b = 1 / temperature, and its derivative
is the same expression in both cases: the sum over known values of logit * (score(b) - label).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import interpolate, optimize

from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model.per_attribute import any_value, sum_values
from attr_extractor.model.scoring import Scoring
from attr_extractor.schema import Schema

# One pass sums the derivative at these temperatures; a cubic spline through the sums then gives the
# minimum to within 1e-4 of the temperature (tests/evaluation/test_calibration.py). A minimum
# outside the range is clipped to its end, such as the minimum at 0 of an attribute without errors.
TEMPERATURES = np.geomspace(0.25, 8.0, 49)
BINS = 15  # bins of a reliability diagram, as in Guo et al.


def fit(
    scoring: Scoring, batches: Iterable[dict[str, tf.Tensor]], min_present: int
) -> tuple[np.ndarray, int]:
    """Fit the temperature of every attribute, in one pass.

    Args:
      scoring: the rule from logits to scores, with temperature 1.
      batches: dicts of `logits` float32 [B, V] and `labels` int8 [B, V].
      min_present: minimum number of present labels; an attribute with fewer keeps temperature 1.

    Returns:
      The temperatures, float64 [T], and the number of photos.
    """
    schema = scoring.schema

    @tf.function(reduce_retracing=True)
    def derivatives(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        present, counted = labels == PRESENT, labels != MISSING  # [B, V]
        has_value = tf.gather(any_value(present, schema), schema.attribute_of_value, axis=1)
        counted &= has_value | ~scoring.softmax  # a softmax cannot express "no value"

        def at(scale: tf.Tensor) -> tf.Tensor:
            error = scoring.scores_of(logits * scale) - tf.cast(present, tf.float32)  # [B, V]
            slope = tf.where(counted, logits * error, 0.0)  # [B, V]
            return tf.reduce_sum(sum_values(slope, schema), axis=0)  # [T]

        scales = tf.constant(1 / TEMPERATURES, tf.float32)
        labelled = tf.reduce_sum(sum_values(present, schema), axis=0)  # [T]
        return tf.map_fn(at, scales), labelled  # [M, T], [T]

    slopes = np.zeros([len(TEMPERATURES), len(schema.attributes)])
    labelled = np.zeros(len(schema.attributes))
    photos = 0
    for batch in batches:
        slope, count = derivatives(batch["logits"], batch["labels"])
        slopes += slope.numpy()
        labelled += count.numpy()
        photos += len(batch["labels"])
    fitted = np.array([_root(slope) for slope in slopes.T])
    return np.where(labelled < min_present, 1.0, fitted), photos


def _root(slopes: np.ndarray) -> float:
    """Return the temperature at which the derivative, float [M] at TEMPERATURES, is 0."""
    if slopes[0] <= 0:  # the derivative falls as the temperature rises: no root in the range
        return float(TEMPERATURES[0])
    if slopes[-1] >= 0:
        return float(TEMPERATURES[-1])
    curve = interpolate.CubicSpline(np.log(TEMPERATURES), slopes)
    return float(np.exp(optimize.brentq(curve, *np.log(TEMPERATURES[[0, -1]]))))


class Reliability:
    """Per attribute and bin of the score: count of scores, their sum, and count of right ones."""

    def __init__(self, schema: Schema):
        self.schema = schema
        size = (len(schema.attributes), BINS)
        self.count, self.score, self.right = (np.zeros(size) for _ in range(3))

    def add(self, scores: np.ndarray, labels: np.ndarray, marked: np.ndarray) -> None:
        """Add one batch.

        Args:
          scores: float32 [B, V] in 0 .. 1.
          labels: int8 [B, V]; missing labels are ignored.
          marked: bool [B, V], the scores to count.
        """
        where = marked & (labels != MISSING)
        owner = np.broadcast_to(self.schema.attribute_of_value, scores.shape)[where]
        scores, right = scores[where], labels[where] == PRESENT
        place = owner * BINS + np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        for total, weight in ((self.count, None), (self.score, scores), (self.right, right)):
            total += np.bincount(place, weight, total.size).reshape(total.shape)

    def expected_error(self) -> np.ndarray:
        """Return the expected calibration error of each attribute, float64 [T].

        It is the mean over scores of |share right - mean score| of their bin; NaN if the attribute
        has no known label.
        """
        gaps = np.abs(self.right - self.score).sum(axis=1)
        count = self.count.sum(axis=1)
        return np.divide(gaps, count, out=np.full(len(gaps), np.nan), where=count > 0)

    def diagram(self, name: str) -> dict[str, list[Any]]:
        """Return one attribute's non-empty bins: `score` (mean), `right` (share) and `count`."""
        t = self.schema.index[name]
        filled = self.count[t] > 0
        count = self.count[t][filled]
        return {
            "score": np.round(self.score[t][filled] / count, 5).tolist(),
            "right": np.round(self.right[t][filled] / count, 5).tolist(),
            "count": count.astype(int).tolist(),
        }
