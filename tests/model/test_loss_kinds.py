"""All kinds of loss, compared with NumPy in float64 and other libraries.

Every kind must mask missing labels, stay finite for huge logits, and add up over replicas.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from attr_extractor.config import LossConfig
from attr_extractor.model.loss import MaskedLoss, effective_number_weights

SIZES = [slice(0, 3), slice(3, 5), slice(5, 9)]  # kind, color, neck
SOFTMAX = np.repeat([True, False, True], [3, 2, 4])
WEIGHTS = np.linspace(0.2, 3.0, 9).astype(np.float32)

KINDS = {
    "cross_entropy": {},
    "focal": {"kind": "focal"},
    "focal, gamma 0": {"kind": "focal", "gamma": 0.0},
    "focal, gamma 0.5": {"kind": "focal", "gamma": 0.5},
    "focal, gamma 0.01": {"kind": "focal", "gamma": 0.01},
    "asymmetric": {"kind": "asymmetric"},
    "asymmetric, gammas 0": {"kind": "asymmetric", "gamma": 0.0},
    "asymmetric, gammas 0.5": {"kind": "asymmetric", "gamma": 0.5, "gamma_present": 0.5},
    "asymmetric, margin 0": {"kind": "asymmetric", "gamma": 0.5, "margin": 0.0},
    "asymmetric, tiny margin": {"kind": "asymmetric", "gamma": 4.0, "margin": 1e-9},
    "asymmetric, mean of observed": {
        "kind": "asymmetric",
        "gamma_present": 1.0,
        "normalize_by": "observed",
        "reduce_values": "mean",
    },
}


@pytest.fixture(params=["sigmoid", "softmax"])
def softmax(request) -> np.ndarray | None:
    return SOFTMAX if request.param == "softmax" else None


@pytest.fixture(params=KINDS)
def equation(request, weighted, softmax) -> MaskedLoss:
    """Return a loss of each kind, with sigmoids or with a softmax over exclusive attributes."""
    return MaskedLoss(weighted, LossConfig(**KINDS[request.param]), softmax, WEIGHTS)


def batch(seed: int, size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels: at most one value of an exclusive attribute, none if it does not apply."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=3, size=[size, 9]).astype(np.float32)
    labels = np.zeros([size, 9], np.int8)
    labels[:, SIZES[1]] = generator.integers(0, 2, [size, 2])
    for where in (SIZES[0], SIZES[2]):
        labels[np.arange(size), where.start + generator.integers(0, where.stop - where.start)] = 1
    labels[0, SIZES[2]] = 0
    for where in SIZES:
        labels[generator.random(size) < 0.4, where] = -1
    labels[1, 3], labels[1, 4] = 1, -1  # a value missing on its own, of an attribute of several
    return logits, labels


def run(equation: MaskedLoss, logits, labels) -> tuple[float, np.ndarray]:
    """Return the total and its gradient with respect to the logits."""
    logits = tf.Variable(tf.cast(logits, tf.float32))
    with tf.GradientTape() as tape:
        total = equation.total(equation.sums(logits, labels), equation.counts(labels))
    return float(total), tape.gradient(total, logits).numpy()


def bracket(config: LossConfig, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the papers' loss of one value, in float64."""
    p = special.expit(z.astype(np.float64))
    if config.kind == "focal":  # Lin et al. 2017, equation 4
        p_t = np.where(y == 1, p, 1 - p)
        return -((1 - p_t) ** config.gamma) * np.log(p_t)
    if config.kind == "asymmetric":  # Ridnik et al. 2021, equations 5 to 7
        p_m = np.maximum(p - config.margin, 0)
        present = -((1 - p) ** config.gamma_present) * np.log(p)
        return np.where(y == 1, present, -(p_m**config.gamma) * np.log(1 - p_m))
    return -np.where(y == 1, np.log(p), np.log(1 - p))


def by_hand(equation: MaskedLoss, logits: np.ndarray, labels: np.ndarray) -> float:
    """Compute equation 1 sample by sample with these losses of values."""
    config, total = equation.config, 0.0
    softmax = np.zeros(9, bool) if equation.softmax is None else equation.softmax
    weights = np.ones(9) if equation.weights is None else equation.weights.astype(np.float64)
    for attribute, where in zip(equation.schema.attributes, SIZES):
        sums = []
        for z, y in zip(logits[:, where].astype(np.float64), labels[:, where]):
            known = y != -1
            if not known.any():
                continue
            terms = bracket(config, z, y)
            if softmax[where].all():
                terms = np.where(y == 1, -special.log_softmax(z), 0.0)
            terms = terms * np.where(y == 1, weights[where], 1.0)
            mean = known.sum() if config.reduce_values == "mean" else 1
            sums.append(terms[known].sum() / mean)
        count = len(logits) if config.normalize_by == "batch" else len(sums)
        total += attribute.weight * (sum(sums) / count if count else 0.0)
    return total


def test_every_kind_equals_its_papers_equation(equation):
    for seed in range(3):
        logits, labels = batch(seed)
        found, _ = run(equation, logits, labels)
        assert found == pytest.approx(by_hand(equation, logits, labels), rel=2e-5)


def test_the_gradient_of_every_kind_is_the_slope_of_its_papers_equation(equation):
    logits, labels = batch(4)
    _, gradient = run(equation, logits, labels)
    for place in [(0, 0), (1, 3), (2, 4), (3, 5), (5, 8), (6, 2)]:
        nudge = np.zeros(logits.shape)
        nudge[place] = 1e-6
        wide = logits.astype(np.float64)
        above, below = (by_hand(equation, wide + sign * nudge, labels) for sign in (1, -1))
        assert gradient[place] == pytest.approx((above - below) / 2e-6, rel=1e-3, abs=1e-5)


def test_nan_and_infinity_under_the_mask_reach_neither_loss_nor_gradient(equation):
    for seed in range(3):
        logits, labels = batch(seed)
        if equation.softmax is not None:
            labels[:, SIZES[0]] = np.where((labels[:, SIZES[0]] < 0).any(1, keepdims=True), -1, 0)
        bad = np.resize([np.nan, np.inf, -np.inf], labels.shape)
        expected, _ = run(equation, np.where(labels < 0, 0.0, logits), labels)
        found, gradient = run(equation, np.where(labels < 0, bad, logits), labels)
        assert found == pytest.approx(expected, rel=1e-6)
        assert np.isfinite(gradient).all() and not gradient[labels < 0].any()


@pytest.mark.parametrize("huge", [17.0, 60.0, 95.0, 104.0, 1e4, 1e36])
def test_huge_logits_give_a_finite_loss_and_finite_gradients(equation, huge):
    labels = np.zeros([2, 9], np.int8)
    labels[0, [0, 3, 5]] = 1
    for sign in (1, -1):
        signs = np.resize([sign, -sign], [2, 9])
        found, gradient = run(equation, huge * signs, labels)
        assert np.isfinite(found) and found >= 0
        assert np.isfinite(gradient).all()


def test_neutral_parameters_give_the_cross_entropy(weighted):
    logits, labels = batch(5)
    plain, slope = run(MaskedLoss(weighted, LossConfig()), logits, labels)
    for same in (
        LossConfig(kind="focal", gamma=0.0),
        LossConfig(kind="asymmetric", gamma=0.0, gamma_present=0.0, margin=0.0),
    ):
        found, gradient = run(MaskedLoss(weighted, same), logits, labels)
        assert found == pytest.approx(plain, rel=1e-6)
        np.testing.assert_allclose(gradient, slope, atol=1e-6)


def test_focal_equals_tensorflow_addons(weighted):
    addons = pytest.importorskip("tensorflow_addons")
    logits, labels = batch(6)
    labels = np.abs(labels)  # nothing missing
    for gamma in (0.5, 2.0, 3.0):
        found = MaskedLoss(weighted, LossConfig(kind="focal", gamma=gamma)).of_values(
            logits, labels
        )
        # their alpha weighs present values by alpha, absent ones by 1 - alpha: by 1/2 each
        theirs = addons.losses.sigmoid_focal_crossentropy(
            labels.astype(np.float32), logits, alpha=0.5, gamma=gamma, from_logits=True
        )
        np.testing.assert_allclose(np.sum(found, -1), 2 * theirs.numpy(), rtol=1e-4, atol=1e-6)


def test_a_softmax_attribute_that_does_not_apply_adds_nothing(weighted):
    equation = MaskedLoss(weighted, LossConfig(), SOFTMAX)
    logits, labels = batch(7)
    labels[:, SIZES[2]] = 0
    losses = equation.of_values(logits, labels).numpy()
    _, gradient = run(equation, logits, labels)
    assert not losses[:, SIZES[2]].any() and not gradient[:, SIZES[2]].any()


def test_a_soft_label_has_the_expected_loss(equation):
    logits, labels = batch(8)
    generator = np.random.default_rng(0)
    y = np.where(labels == -1, -1, generator.random(labels.shape)).astype(np.float32)
    present, absent = (
        equation.of_values(logits, np.where(labels == -1, -1, label).astype(np.int8)).numpy()
        for label in (1, 0)
    )
    expected = np.where(labels == -1, 0, y * present + (1 - y) * absent)
    np.testing.assert_allclose(equation.of_values(logits, y), expected, rtol=1e-5, atol=1e-6)


def test_without_the_mask_every_photo_counts(weighted):
    _, labels = batch(8)
    off = MaskedLoss(weighted, LossConfig(missing="absent", normalize_by="observed"))
    assert off.counts(labels).numpy().tolist() == [7.0] * 3


def test_sums_and_counts_of_two_replicas_add_up_to_one_batch(equation):
    logits, labels = batch(9, size=9)
    labels[:4, SIZES[1]] = -1  # one replica sees no colour at all
    halves = [(logits[rows], labels[rows]) for rows in (slice(0, 4), slice(4, 9))]
    counts = sum(equation.counts(y) for _, y in halves)
    whole, gradient = run(equation, logits, labels)
    assert float(equation.total(sum(equation.sums(z, y) for z, y in halves), counts)) == (
        pytest.approx(whole, rel=1e-6)
    )
    # and a replica's gradient, divided by the counts of all, is its part of the batch's
    z = tf.Variable(logits[:4])
    with tf.GradientTape() as tape:
        part = equation.total(equation.sums(z, labels[:4]), counts)
    np.testing.assert_allclose(tape.gradient(part, z), gradient[:4], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "asymmetric"])
def test_xla_compiles_every_kind_to_the_same_numbers(weighted, kind):
    equation = MaskedLoss(weighted, LossConfig(kind=kind), SOFTMAX, WEIGHTS)
    logits, labels = batch(10)
    plain = equation.sums(logits, labels).numpy()
    compiled = tf.function(equation.sums, jit_compile=True)(tf.constant(logits), labels)
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)


def test_effective_numbers_equal_a_calculation_by_hand(weighted):
    counts = np.array([100, 10, 0, 5, 5, 0, 0, 0, 0])
    found = effective_number_weights(counts, weighted, 0.9)
    assert found.dtype == np.float32
    # Cui et al. 2019: E_n = (1 - 0.9^n) / (1 - 0.9); 1 / E_n, mean 1 over a and b
    a, b = 0.1 / (1 - 0.9**100), 0.1 / (1 - 0.9**10)
    largest = 2 * b / (a + b)  # also of the value without a label, which only soft labels have
    np.testing.assert_allclose(found[:3], [2 * a / (a + b), largest, largest], rtol=1e-6)
    np.testing.assert_allclose(found[3:5], [1.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(found[5:], 1)  # of an attribute never seen


def test_effective_numbers_range_from_equal_weights_to_inverse_frequency(weighted):
    counts = np.array([900, 90, 10, 1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(effective_number_weights(counts, weighted, 1e-9)[:3], 1, rtol=1e-6)
    near_one = effective_number_weights(counts, weighted, 1 - 1e-9)[:3]
    np.testing.assert_allclose(near_one * counts[:3] / near_one[0], counts[0], rtol=1e-4)


def test_class_weights_apply_to_present_values_only(weighted):
    logits, labels = batch(11)
    plain = MaskedLoss(weighted, LossConfig()).of_values(logits, labels).numpy()
    found = MaskedLoss(weighted, LossConfig(), None, WEIGHTS).of_values(logits, labels)
    expected = plain * np.where(labels == 1, WEIGHTS, 1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
