"""Tests of average precision against scikit-learn, and of risk-coverage curves."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from attr_extractor.evaluation.curves import CUT_OFFS, RiskCoverage, ScoreHistogram


def sigmoid(z: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-z))).astype(np.float32)


def exact(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    """Return scikit-learn's average precision of each value, over its known labels."""
    pairs = [(y[y >= 0], s[y >= 0]) for y, s in zip(labels.T, scores.T)]
    return [sklearn.metrics.average_precision_score(y, s) for y, s in pairs]


@pytest.mark.parametrize("spread", [0.01, 1.0, 3.0, 30.0])  # 0.01: few bins; 30: scores of 0 and 1
@pytest.mark.parametrize("frequency", [0.01, 0.5])
def test_average_precision_is_within_its_stated_error(spread, frequency):
    generator = np.random.default_rng(0)
    labels = (generator.random([3000, 300]) < frequency).astype(np.int8)
    labels[generator.random(labels.shape) < 0.3] = -1
    scores = sigmoid(spread * (generator.normal(size=labels.shape) + (labels == 1) - 0.5))
    histogram = ScoreHistogram(300)
    for start in range(0, 3000, 1000):
        histogram.add(scores[start : start + 1000], labels[start : start + 1000])
    found, error = histogram.per_value()
    off = np.abs(found - exact(labels, scores))
    assert (off <= error + 1e-9).all()
    if spread in (1.0, 3.0):
        assert off.max() < 0.03 and off.mean() < 0.001


def test_average_precision_is_exact_if_no_bin_has_two_scores():
    generator = np.random.default_rng(0)
    scores = sigmoid(generator.permutation(np.linspace(-9, 9, 400)).reshape(40, 10))
    labels = (generator.random([40, 10]) < 0.3).astype(np.int8)
    histogram = ScoreHistogram(10)
    histogram.add(scores, labels)
    found, error = histogram.per_value()
    np.testing.assert_allclose(found, exact(labels, scores), rtol=1e-12)
    np.testing.assert_allclose(error, 0, atol=1e-12)
    pooled, _ = histogram.pooled(slice(3, 9))
    part = (labels[:, 3:9], scores[:, 3:9])
    micro = sklearn.metrics.average_precision_score(*part, average="micro")
    assert pooled == pytest.approx(micro, rel=1e-12)


def test_average_precision_of_a_value_that_never_occurs_is_nan():
    histogram = ScoreHistogram(2)
    histogram.add(np.array([[0.5, 0.5]], np.float32), np.array([[0, 1]], np.int8))
    found, error = histogram.per_value()
    assert np.isnan(found[0]) and np.isnan(error[0]) and found[1] == 1


def test_a_score_that_equals_a_cut_off_is_not_above_it():
    risk = RiskCoverage(1)
    at = np.array([[CUT_OFFS[10]], [0.9999]], np.float32)  # 0.5, and above all
    risk.add(at, np.ones([2, 1], bool), np.array([[False], [True]]))
    curve = risk.pooled()
    assert curve["coverage"] == [1.0] * 10 + [0.5] * (len(CUT_OFFS) - 10)
    assert curve["accuracy"] == [0.5] * 10 + [1.0] * (len(CUT_OFFS) - 10)


def test_recall_at_a_precision_is_that_of_scikit_learn_without_values_that_were_not_answered():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 2, [300, 2]).astype(np.int8)
    scores = generator.integers(1, 100, labels.shape) / 100  # a bin for each
    scores = np.where(labels == 1, (scores**0.1).round(2), scores).astype(np.float32)
    scores[generator.random(labels.shape) < 0.3] = 0  # not answered
    labels[:40, 0] = -1
    histogram = ScoreHistogram(2)
    histogram.add(scores[:100], labels[:100])
    histogram.add(scores[100:], labels[100:])
    known = labels != -1
    for precision in (0.8, 0.9):
        p, r, cut_offs = sklearn.metrics.precision_recall_curve(labels[known], scores[known])
        expected = r[:-1][(p[:-1] >= precision) & (cut_offs > 0)].max()
        found = histogram.recall_at_precision(slice(0, 2), precision)
        assert found == pytest.approx(expected) and 0 < found < 1

    silent = ScoreHistogram(2)
    silent.add(np.zeros([5, 2], np.float32), np.tile(np.array([1, 0], np.int8), (5, 1)))
    assert silent.recall_at_precision(slice(0, 1), 0.9) == 0  # all present, none answered
    assert np.isnan(silent.recall_at_precision(slice(1, 2), 0.9))  # none present
