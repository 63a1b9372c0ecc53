"""Equation 1, compared with NumPy written from the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import LossConfig
from attr_extractor.model.loss import MaskedLoss
from attr_extractor.schema import Schema


def equation_1(logits, labels, schema, normalize_by, reduce_values) -> float:
    """Compute equation 1 term by term, in Python floats."""
    result = 0.0
    for attribute, where in zip(schema.attributes, schema.slices.values()):
        total, observed = 0.0, 0
        for z, y in zip(logits[:, where], labels[:, where]):
            terms = []
            for logit, label in zip(z, y):
                if label == -1:
                    continue
                p = 1.0 / (1.0 + math.exp(-float(logit)))
                terms.append(-math.log(p) if label == 1 else -math.log(1.0 - p))
            if terms:
                observed += 1
                total += sum(terms) / (len(terms) if reduce_values == "mean" else 1)
        count = len(logits) if normalize_by == "batch" else observed
        result += attribute.weight * (total / count if count else 0.0)
    return result


def batch(schema: Schema, seed: int, size: int = 7):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=3, size=[size, schema.num_values]).astype(np.float32)
    labels = generator.integers(0, 2, [size, schema.num_values]).astype(np.int8)
    for where in schema.slices.values():
        labels[generator.random(size) < 0.4, where] = -1
    return logits, labels


def value(logits, labels, schema, normalize_by="batch", reduce_values="sum") -> float:
    equation = MaskedLoss(
        schema, LossConfig(normalize_by=normalize_by, reduce_values=reduce_values)
    )
    return float(equation.total(equation.sums(logits, labels), equation.counts(labels)))


@pytest.mark.parametrize("reduce_values", ["sum", "mean"])
@pytest.mark.parametrize("normalize_by", ["batch", "observed"])
def test_loss_equals_equation_1_term_by_term(weighted, normalize_by, reduce_values):
    for seed in range(5):
        logits, labels = batch(weighted, seed)
        expected = equation_1(logits, labels, weighted, normalize_by, reduce_values)
        found = value(logits, labels, weighted, normalize_by, reduce_values)
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_single_missing_value_is_masked(weighted):
    logits, labels = batch(weighted, 1)
    labels[:, 3], labels[:, 4] = 1, -1  # color: red known, blue not
    expected = equation_1(logits, labels, weighted, "batch", "mean")
    assert value(logits, labels, weighted, "batch", "mean") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalize_by", ["batch", "observed"])
def test_all_labels_missing_is_zero_with_zero_gradient(weighted, normalize_by):
    logits, labels = batch(weighted, 2)
    labels[:] = -1
    logits = tf.Variable(logits)
    equation = MaskedLoss(weighted, LossConfig(normalize_by=normalize_by))
    with tf.GradientTape() as tape:
        total = equation.total(equation.sums(logits, labels), equation.counts(labels))
    assert float(total) == 0.0
    assert not np.any(tape.gradient(total, logits).numpy())


def test_values_that_do_not_apply_count_as_absent(weighted):
    logits = np.zeros([4, weighted.num_values], np.float32)
    labels = np.zeros([4, weighted.num_values], np.int8)
    # every value at p = 1/2 costs log 2: 3 + 2.5 * 2 + 0.5 * 4 = 10 of them
    assert value(logits, labels, weighted) == pytest.approx(10 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("huge", [1e4, -1e4, 3e38])
def test_huge_logits_give_a_finite_linear_loss(weighted, huge):
    logits = np.full([1, weighted.num_values], huge, np.float32)
    labels = np.full([1, weighted.num_values], -1, np.int8)
    labels[0, 0] = 0 if huge > 0 else 1  # wrong by |z|
    assert value(logits, labels, weighted) == pytest.approx(abs(huge), rel=1e-6)


def test_bfloat16_logits_are_reduced_in_float32(weighted):
    logits, labels = batch(weighted, 4)
    half = tf.cast(logits, tf.bfloat16)
    expected = equation_1(tf.cast(half, tf.float32).numpy(), labels, weighted, "batch", "sum")
    assert value(half, labels, weighted) == pytest.approx(expected, rel=1e-5)
