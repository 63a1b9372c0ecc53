"""Equation 2, compared with Python sets and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from attr_extractor.model import metrics
from attr_extractor.schema import Schema


def equation_2(labels: np.ndarray, answers: np.ndarray, schema: Schema):
    """Compute |Y and P| / |Y or P| per sample and attribute with sets; NaN if missing."""
    scores = np.full([len(labels), len(schema.attributes)], np.nan)
    for b in range(len(labels)):
        for t, where in enumerate(schema.slices.values()):
            known = {v for v in range(where.start, where.stop) if labels[b, v] != -1}
            if not known:
                continue
            truth = {v for v in known if labels[b, v] == 1}
            answered = {v for v in known if answers[b, v]}
            union = truth | answered
            scores[b, t] = len(truth & answered) / len(union) if union else 1.0
    return scores


def random_batch(schema: Schema, seed: int, size: int = 40):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, [size, schema.num_values]).astype(np.int8)
    answers = generator.random([size, schema.num_values]) < 0.4
    for where in schema.slices.values():
        labels[generator.random(size) < 0.3, where] = -1
        labels[generator.random(size) < 0.2, where] = 0
    return labels, answers


def test_agreement_equals_equation_2_with_sets(schema):
    for seed in range(5):
        labels, answers = random_batch(schema, seed)
        agreement = metrics.agreement(labels, answers, schema)
        expected = equation_2(labels, answers, schema)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(agreement.known, known)
        np.testing.assert_allclose(agreement.score.numpy()[known], expected[known], rtol=1e-6)


def test_both_empty_counts_one_and_does_not_apply(schema):
    labels = np.zeros([1, schema.num_values], np.int8)
    answers = np.zeros([1, schema.num_values], bool)
    agreement = metrics.agreement(labels, answers, schema)
    assert (agreement.score.numpy() == 1).all()
    assert agreement.known.numpy().all() and not agreement.applies.numpy().any()


def test_a_missing_label_is_neither_known_nor_a_negative(schema):
    labels = np.full([1, schema.num_values], -1, np.int8)
    answers = np.ones([1, schema.num_values], bool)
    agreement = metrics.agreement(labels, answers, schema)
    assert not agreement.known.numpy().any() and not agreement.applies.numpy().any()


def test_an_answer_with_a_missing_label_is_ignored(schema):
    labels = np.full([1, schema.num_values], -1, np.int8)
    where = schema.slices["color"]
    labels[0, where] = [1, -1, -1]
    answers = np.zeros([1, schema.num_values], bool)
    answers[0, where] = [True, True, False]
    t = schema.index["color"]
    assert metrics.agreement(labels, answers, schema).score.numpy()[0, t] == 1.0


def test_agreement_equals_scikit_learn_on_complete_labels(schema):
    labels, answers = random_batch(schema, 9)
    labels = np.abs(labels)
    scores = metrics.agreement(labels, answers, schema).score.numpy()
    for t, where in enumerate(schema.slices.values()):
        expected = jaccard_score(
            labels[:, where], answers[:, where], average="samples", zero_division=1.0
        )
        assert scores[:, t].mean() == pytest.approx(expected, rel=1e-6)


def test_mean_per_attribute_does_not_depend_on_the_batches():
    generator = np.random.default_rng(0)
    sums = generator.random([5, 3]).astype(np.float32)
    counts = np.array([[1, 0, 2]] * 5, np.float32)
    metric = metrics.MeanPerAttribute(3, name="m")
    for s, c in zip(sums, counts):
        metric.update_state(s, c)
    expected = sums.sum(axis=0) / counts.sum(axis=0).clip(1)
    np.testing.assert_allclose(metric.per_attribute().numpy()[[0, 2]], expected[[0, 2]], rtol=1e-6)
    assert np.isnan(metric.per_attribute().numpy()[1])
    assert float(metric.result()) == pytest.approx(expected[[0, 2]].mean(), rel=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0.0
