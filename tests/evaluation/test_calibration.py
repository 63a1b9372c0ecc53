"""Claims about `evaluation/calibration.py`, against scipy on whole arrays and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special

from attr_extractor.evaluation import calibration
from attr_extractor.model.scoring import Scoring
from attr_extractor.schema import Schema


def scoring_of(schema: Schema, softmax: bool) -> Scoring:
    exclusive = np.repeat([a.exclusive for a in schema.attributes], schema.sizes)
    return Scoring(schema, exclusive & softmax, np.ones(schema.num_values, np.float32))


def made_up(schema: Schema, count: int = 300, sharpness: float = 2.0):
    """Logits and labels of samples; a fifth does not apply, a third is missing."""
    generator = np.random.default_rng(0)
    labels = np.zeros([count, schema.num_values], np.int8)
    for attribute, where in zip(schema.attributes, schema.slices.values()):
        size = len(attribute.values)
        labels[np.arange(count), where.start + generator.integers(0, size, count)] = 1
        labels[generator.random(count) < 0.2, where] = 0
        labels[generator.random(count) < 0.3, where] = -1
    color = schema.slices["color"]
    alone = generator.random([count, 3]) < 0.1  # `unlisted: missing`: of single values
    labels[:, color] = np.where(alone & (labels[:, color] == 0), -1, labels[:, color])
    logits = sharpness * (generator.normal(size=labels.shape) + 1.5 * (labels == 1) - 0.5)
    return logits.astype(np.float32), labels


def batches_of(logits: np.ndarray, labels: np.ndarray, size: int = 64):
    for start in range(0, len(labels), size):
        rows = slice(start, start + size)
        yield {"logits": tf.constant(logits[rows]), "labels": tf.constant(labels[rows])}


def likelihood(b: float, z: np.ndarray, y: np.ndarray, softmax: bool) -> float:
    """Negative log likelihood of one attribute, in float64."""
    z = z.astype(np.float64) * b
    if not softmax:
        return float((np.logaddexp(0, z) - z * (y == 1))[y != -1].sum())
    applies = (y == 1).any(axis=1)
    return -float(special.log_softmax(z[applies], axis=1)[y[applies] == 1].sum())


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("sharpness", [0.6, 2.0, 4.0])
def test_temperatures_are_those_of_scipy_on_whole_arrays_within_1e_4(schema, softmax, sharpness):
    logits, labels = made_up(schema, sharpness=sharpness)
    scoring = scoring_of(schema, softmax)
    fitted, photos = calibration.fit(scoring, batches_of(logits, labels), min_present=10)
    assert photos == len(labels)
    for name, found in zip(schema.names, fitted):
        where = schema.slices[name]
        one = (logits[:, where], labels[:, where], bool(scoring.softmax[where].all()))
        best = optimize.minimize_scalar(
            likelihood, bounds=(1 / 8, 4), args=one, method="bounded", options={"xatol": 1e-9}
        )
        assert 0.3 < found < 7.5
        assert found == pytest.approx(1 / best.x, rel=1e-4)


def test_the_fit_does_not_depend_on_the_batch_size(schema):
    scoring = scoring_of(schema, softmax=True)
    small, large = (
        calibration.fit(scoring, batches_of(*made_up(schema), size), 10)[0] for size in (7, 300)
    )
    np.testing.assert_allclose(small, large, rtol=1e-5)


def test_scores_without_a_mistake_or_without_sense_end_at_the_ends(schema):
    _, labels = made_up(schema)
    right = np.where(labels == 1, 3.0, -3.0).astype(np.float32)
    scoring = scoring_of(schema, softmax=False)
    fitted, _ = calibration.fit(scoring, batches_of(right, labels), 10)
    np.testing.assert_array_equal(fitted, 0.25)
    fitted, _ = calibration.fit(scoring, batches_of(-right, labels), 10)
    np.testing.assert_array_equal(fitted, 8.0)


def test_too_few_labels_leave_the_temperature_at_1(schema):
    logits, labels = made_up(schema)
    where = schema.slices["neck_type"]
    present = np.flatnonzero((labels[:, where] == 1).any(axis=1))
    labels[present[9:], where] = -1
    scoring = scoring_of(schema, softmax=False)
    t = schema.index["neck_type"]
    fitted, _ = calibration.fit(scoring, batches_of(logits, labels), 10)
    assert fitted[t] == 1.0 and (np.delete(fitted, t) != 1.0).all()
    fitted, _ = calibration.fit(scoring, batches_of(logits, labels), 9)
    assert fitted[t] != 1.0


def test_the_calibration_error_is_that_of_a_slow_loop(schema):
    logits, labels = made_up(schema)
    scores = special.expit(logits)
    scores[0, :2] = [0.0, 1.0]
    marked = np.random.default_rng(1).random(labels.shape) < 0.7
    reliability = calibration.Reliability(schema)
    for rows in (slice(0, 100), slice(100, 300)):
        reliability.add(scores[rows], labels[rows], marked[rows])
    for name, found in zip(schema.names, reliability.expected_error()):
        bins: dict[int, list[tuple[float, int]]] = {}
        for i in range(len(labels)):
            for v in range(schema.slices[name].start, schema.slices[name].stop):
                if marked[i, v] and labels[i, v] != -1:
                    place = next(m for m in range(15) if scores[i, v] < (m + 1) / 15 or m == 14)
                    bins.setdefault(place, []).append((float(scores[i, v]), labels[i, v] == 1))
        total = sum(len(content) for content in bins.values())
        gaps = [len(c) / total * abs(np.diff(np.mean(c, axis=0))[0]) for c in bins.values()]
        assert found == pytest.approx(sum(gaps), abs=1e-6)
        diagram = reliability.diagram(name)
        assert diagram["count"] == [len(bins[m]) for m in sorted(bins)]
        means = [np.mean(bins[m], axis=0) for m in sorted(bins)]
        np.testing.assert_allclose(
            np.transpose([diagram["score"], diagram["right"]]), means, atol=1e-5
        )


def test_an_attribute_without_a_known_label_has_no_calibration_error(schema):
    reliability = calibration.Reliability(schema)
    labels = np.full([5, schema.num_values], -1, np.int8)
    reliability.add(np.full(labels.shape, 0.5, np.float32), labels, np.ones(labels.shape, bool))
    assert np.isnan(reliability.expected_error()).all()
    assert reliability.diagram("color") == {"score": [], "right": [], "count": []}
