"""How far sources are believed: against Bayes' rule by hand, and on simulated sources."""

from __future__ import annotations

import numpy as np
import pytest

from attr_extractor.schema import Schema
from attr_extractor.sources import belief
from attr_extractor.sources.belief import Answers

SCHEMA = """
name: simulated
category: kind
attributes:
  - {name: kind, values: [shirt, jeans]}
  - {name: color, values: [red, green, blue]}
  - {name: closure, values: [zip, button], exclusive: false}
  - {name: neck, values: [v, round], applies_to: [shirt]}
"""
PRODUCTS = 6000
COLOR = slice(2, 5)


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.parse(SCHEMA, "simulated")


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """The seller's labels of all products, int8 [P, 9]."""
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 2, PRODUCTS)
    color = generator.choice(3, PRODUCTS, p=[0.5, 0.3, 0.2])
    neck = np.eye(2, dtype=np.int8)[generator.integers(0, 2, PRODUCTS)] * (kind == 0)[:, None]
    closure = generator.random([PRODUCTS, 2]) < [0.4, 0.2]
    parts = [np.eye(2)[kind], np.eye(3)[color], closure, neck]
    return np.concatenate(parts, axis=1).astype(np.int8)


def source(truth: np.ndarray, right: float, seed: int, sure: tuple = (1.0, 1.0)) -> Answers:
    """A source that is right with a probability, and otherwise says another colour at random."""
    generator = np.random.default_rng(seed)
    labels = np.full(truth.shape, -1, np.int8)
    color = truth[:, COLOR].argmax(axis=1)
    is_right = generator.random(len(truth)) < right
    answer = np.where(is_right, color, (color + generator.integers(1, 3, len(truth))) % 3)
    labels[:, COLOR] = np.eye(3)[answer]
    confidence = np.where(labels == 1, np.where(is_right, *sure)[:, None], np.nan)
    return Answers(labels, confidence.astype(np.float32))


def fitted(schema: Schema, truth: np.ndarray, *sources: Answers) -> belief.Belief:
    names = [f"source {i}" for i in range(len(sources))]
    unknown = np.full(len(truth), -1)
    fold = np.arange(len(truth)) % belief.FOLDS
    return belief.fit(schema, names, truth, sources, unknown, fold)


@pytest.mark.parametrize(
    ("most_classes", "tolerance"),
    [(1000, 0.03), (1, 0.06)],
    ids=["errors of each value", "of all cells"],
)
def test_two_independent_sources_give_bayes_rule(
    schema: Schema, truth: np.ndarray, monkeypatch, most_classes: int, tolerance: float
):
    monkeypatch.setattr(belief, "_MOST_CLASSES", most_classes)
    sources = source(truth, 0.8, 1), source(truth, 0.7, 2)
    found = fitted(schema, truth, *sources)
    probabilities, part = found.probabilities(sources, np.full(PRODUCTS, -1))
    prior = np.array([0.5, 0.3, 0.2])
    for answers in ((0, 0), (0, 1), (2, 2)):
        rows = np.ones(PRODUCTS, bool)
        expected = prior.copy()
        for told, answer, right in zip(sources, answers, (0.8, 0.7)):
            rows &= told.labels[:, COLOR].argmax(axis=1) == answer
            expected *= np.where(np.arange(3) == answer, right, (1 - right) / 2)
        expected /= expected.sum()
        np.testing.assert_allclose(probabilities[rows][0, COLOR], expected, atol=tolerance)
        # and the probabilities are how often the seller says so
        np.testing.assert_allclose(truth[rows][:, COLOR].mean(axis=0), expected, atol=0.05)
    assert part[:, 1].all() and not part[:, [0, 2, 3]].any()
    assert found.attributes["color"].weight > 0.9


def test_a_source_that_repeats_another_adds_nothing(schema: Schema, truth: np.ndarray):
    first = source(truth, 0.75, 1)
    alone, _ = fitted(schema, truth, first).probabilities([first], np.full(PRODUCTS, -1))
    twice = fitted(schema, truth, first, first)
    both, _ = twice.probabilities([first, first], np.full(PRODUCTS, -1))
    assert twice.attributes["color"].weight == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(both[:, COLOR], alone[:, COLOR], atol=0.03)


def test_a_source_that_answers_at_random_is_left_out(schema: Schema, truth: np.ndarray):
    guesses = source(truth, 0.8, 1)
    generator = np.random.default_rng(3)
    guesses.labels[:, COLOR] = np.eye(3)[generator.integers(0, 3, PRODUCTS)]
    [judged] = fitted(schema, truth, guesses).attributes["color"].judged
    assert not judged.used and judged.right == pytest.approx(1 / 3, abs=0.03)
    _, part = fitted(schema, truth, guesses).probabilities([guesses], np.full(PRODUCTS, -1))
    assert not part.any()


def test_confidences_count_as_far_as_they_are_right(schema: Schema, truth: np.ndarray):
    told = source(truth, 0.7, 4, sure=(0.9, 0.6))  # 0.9 is always right, 0.6 always wrong
    found, _ = fitted(schema, truth, told).probabilities([told], np.full(PRODUCTS, -1))
    answer = told.labels[:, COLOR] == 1
    of_answer = found[:, COLOR][answer]
    sure = told.confidence[:, COLOR][answer] > 0.8
    assert of_answer[sure].min() > 0.97 and of_answer[~sure].max() < 0.03
    careless = source(truth, 0.7, 4)  # 1.0 for every answer
    found, _ = fitted(schema, truth, careless).probabilities([careless], np.full(PRODUCTS, -1))
    assert found[:, COLOR][answer].mean() == pytest.approx(0.7, abs=0.02)


def test_systematic_errors_are_learned(schema: Schema, truth: np.ndarray):
    """A source that mistakes every blue for green and is otherwise right."""
    told = source(truth, 1.0, 5)
    blue = truth[:, COLOR][:, 2] == 1
    told.labels[blue, COLOR] = [0, 1, 0]
    found, _ = fitted(schema, truth, told).probabilities([told], np.full(PRODUCTS, -1))
    says_green = told.labels[:, COLOR][:, 1] == 1
    share = truth[says_green][:, COLOR].mean(axis=0)  # 0.3 : 0.2
    np.testing.assert_allclose(found[says_green][0, COLOR], share, atol=0.03)


def test_a_known_category_excludes_values(schema: Schema, truth: np.ndarray):
    told = source(truth, 0.8, 6)
    told.labels[:, 7:] = [1, 0]
    told.confidence[:, 7:] = [1, np.nan]
    jeans = truth[:, 1] == 1
    category = jeans.astype(np.int64)
    fold = np.arange(PRODUCTS) % belief.FOLDS
    found = belief.fit(schema, ["a"], truth, [told], category, fold)
    probabilities, _ = found.probabilities([told], category)
    assert not probabilities[jeans][:, 7:].any()  # jeans have no neck
    of_neck = found.attributes["neck"]
    [judged] = of_neck.judged
    assert judged.cells == (~jeans).sum()  # cells that do not apply are no evidence


def test_values_of_one_attribute_are_judged_one_by_one(schema: Schema, truth: np.ndarray):
    generator = np.random.default_rng(7)
    told = source(truth, 0.8, 8)
    present = truth[:, 5:7] == 1
    answered = np.where(present, generator.random([PRODUCTS, 2]) < [0.9, 0.6], False)
    answered |= ~present & (generator.random([PRODUCTS, 2]) < [0.1, 0.3])
    told.labels[:, 5:7] = answered
    found, _ = fitted(schema, truth, told).probabilities([told], np.full(PRODUCTS, -1))
    for value, prior, hit, alarm in ((0, 0.4, 0.9, 0.1), (1, 0.2, 0.6, 0.3)):
        says = answered[:, value]
        expected = prior * hit / (prior * hit + (1 - prior) * alarm)
        assert found[says, 5 + value].mean() == pytest.approx(expected, abs=0.03)


def test_confidences_of_several_values_count_as_far_as_they_are_right(
    schema: Schema, truth: np.ndarray
):
    closure, generator = slice(5, 7), np.random.default_rng(5)
    labels = np.full(truth.shape, -1, np.int8)
    present = truth[:, closure] == 1
    labels[:, closure] = np.where(present, 1, generator.random(present.shape) < 0.3)
    # a present value is answered with 0.9 in 80 % of the cases, an absent one in 25 %
    high = generator.random(present.shape) < np.where(present, 0.8, 0.25)
    confidence = np.full(truth.shape, np.nan, np.float32)
    confidence[:, closure] = np.where(labels[:, closure] == 1, np.where(high, 0.9, 0.5), np.nan)
    told = Answers(labels, confidence)
    probabilities, _ = fitted(schema, truth, told).probabilities([told], np.full(PRODUCTS, -1))
    for v, prior in enumerate((0.4, 0.2)):
        for is_high, of_present, of_absent in ((True, 0.8, 0.25), (False, 0.2, 0.75)):
            odds = prior / (1 - prior) / 0.3 * of_present / of_absent
            row = np.flatnonzero((labels[:, closure][:, v] == 1) & (high[:, v] == is_high))[0]
            found = probabilities[row, closure][v]
            np.testing.assert_allclose(found, odds / (1 + odds), atol=0.04)
