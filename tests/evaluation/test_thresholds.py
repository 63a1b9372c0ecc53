"""Tests of the choice of thresholds, against brute force on small arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attr_extractor.errors import InputError
from attr_extractor.evaluation import thresholds
from attr_extractor.evaluation.thresholds import GRID, Goal
from attr_extractor.schema import Schema
from tests.evaluation.test_calibrate import made_up

GOALS = ["f1", "equation_2", "precision:0.5", "precision:0.7"]


def scores_and_labels(schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of two digits, so that many equal each other and thresholds."""
    logits, labels = made_up(schema, count=150, sharpness=1.5)
    return np.round(1 / (1 + np.exp(-logits)), 2).astype(np.float32), labels


def counts_of(schema: Schema, scores: np.ndarray, labels: np.ndarray, per_value: bool = False):
    """Count in two blocks."""
    best = np.zeros(labels.shape, bool)
    for where in schema.slices.values():
        best[np.arange(len(labels)), where.start + scores[:, where].argmax(axis=1)] = True
    counts = thresholds.Counts(schema, per_value)
    for rows in (slice(0, 60), slice(60, None)):
        counts.add(scores[rows], labels[rows], best[rows])
    return counts


def benefit(goal: Goal, answers: list[tuple[set[int], set[int]]]) -> float:
    """Return a goal's benefit of (answered, present) per sample with a known label."""
    answered = sum(len(given) for given, _ in answers)
    right = sum(len(given & truth) for given, truth in answers)
    if goal.name == "f1":
        return 2 * right / (answered + sum(len(truth) for _, truth in answers))
    if goal.name == "equation_2":
        return math.fsum(len(g & y) / len(g | y) if g | y else 1.0 for g, y in answers)
    by_luck = sum(
        math.comb(answered, k) * goal.floor**k * (1 - goal.floor) ** (answered - k)
        for k in range(right, answered + 1)
    )
    return answered if by_luck <= 0.05 else 0


def brute_force(goal: Goal, schema: Schema, scores, labels, name: str, value: int | None = None):
    """Return the highest of the best thresholds; `value`: of one value alone."""
    attribute, where = schema[name], schema.slices[name]
    if value is not None:
        where = slice(where.start + value, where.start + value + 1)
    found = []
    for t in GRID:
        answers = []
        for s, y in zip(scores[:, where], labels[:, where]):
            known = {v for v in range(len(y)) if y[v] != -1}
            if not known:
                continue
            given = {v for v in range(len(s)) if s[v] > t}
            if attribute.exclusive and given:
                given = {int(np.argmax(s))}
            answers.append((given & known, {v for v in known if y[v] == 1}))
        found.append(benefit(goal, answers))
    worth = np.round(found, 9)
    return round(float(GRID[np.flatnonzero(worth == worth.max())[-1]]), 3)


@pytest.mark.parametrize("text", GOALS)
@pytest.mark.parametrize("name", ["neck_type", "color"])  # exclusive, and of several values
def test_the_threshold_of_an_attribute_matches_brute_force(schema, text, name):
    scores, labels = scores_and_labels(schema)
    goal = Goal.parse(text)
    found = counts_of(schema, scores, labels).of_attribute(name, goal)
    assert found == brute_force(goal, schema, scores, labels, name)
    assert 0 <= found < 1


@pytest.mark.parametrize("text", ["f1", "precision:0.6"])
@pytest.mark.parametrize("name", ["neck_type", "color"])
def test_the_threshold_of_a_value_matches_brute_force_on_the_value_alone(schema, text, name):
    scores, labels = scores_and_labels(schema)
    goal = Goal.parse(text)
    found = counts_of(schema, scores, labels, per_value=True).of_values(name, goal)
    assert list(found) == schema[name].values
    for v, value in enumerate(schema[name].values):
        assert found[value] == brute_force(goal, schema, scores, labels, name, v)


def test_a_value_with_too_few_labels_has_no_threshold_of_its_own(schema):
    scores, labels = scores_and_labels(schema)
    v = schema.slices["color"].start + 1
    present = np.flatnonzero(labels[:, v] == 1)
    labels[present[9:], v] = -1
    assert list(counts_of(schema, scores, labels, True).of_values("color", Goal("f1"))) == [
        "red",
        "blue",
    ]
    labels[present[9], v] = 1
    assert len(counts_of(schema, scores, labels, True).of_values("color", Goal("f1"))) == 3


def test_a_precision_floor_requires_enough_labels_to_be_reached_without_errors():
    needed = {text: Goal.parse(text).min_present for text in ("precision:0.95", "precision:0.99")}
    assert needed == {"precision:0.95": 59, "precision:0.99": 299}
    assert Goal("f1").min_present == Goal.parse("precision:0.5").min_present == 10
    for text, count in needed.items():
        goal = Goal.parse(text)
        perfect = np.full(len(GRID), float(count))
        assert thresholds.choose(goal, count, perfect, perfect) == 1.0  # all equal: the highest
        assert thresholds.choose(goal, count - 1, perfect - 1, perfect - 1) is None
        assert goal.floor**count <= 0.05 < goal.floor ** (count - 1)


def test_a_precision_floor_that_no_threshold_reaches_gives_no_answers():
    answered = np.linspace(400, 0, len(GRID)).round()
    right = (0.9 * answered).round()
    assert thresholds.choose(Goal("precision", 0.95), 400, answered, right) == 1.0
    found = thresholds.choose(Goal("precision", 0.8), 400, answered, right)
    assert found is not None and found < 0.01


def test_a_goal_applies_to_all_attributes_unless_one_has_its_own(schema):
    goals = thresholds.parse_goals(["equation_2", "color=precision:0.9"], schema, False)
    assert {name: str(goal) for name, goal in goals.items()} == {
        "category": "equation_2",
        "neck_type": "equation_2",
        "color": "precision:0.9",
        "closure": "equation_2",
    }
    assert {str(g) for g in thresholds.parse_goals([], schema, True).values()} == {"f1"}


@pytest.mark.parametrize(
    ("texts", "per_value", "words"),
    [
        (["f2"], False, "--goal: 'f2' is not one of f1, equation_2, precision:0.95"),
        (["precison:0.9"], False, "did you mean 'precision'"),
        (["f1:3"], False, "'f1:3' is not one of"),
        (["precision"], False, "'precision': the precision must be above 0 and below 1"),
        (["precision:high"], False, "above 0 and below 1"),
        (["precision:95"], False, "above 0 and below 1"),
        (["precision:-0.1"], False, "above 0 and below 1"),
        (["precision:nan"], False, "above 0 and below 1"),
        (["colour=f1"], False, "no attribute 'colour'; did you mean 'color'"),
        (["=f1"], False, "no attribute ''"),
        (["f1", "equation_2"], False, "two goals for all attributes"),
        (["color=f1", "color=f1"], False, "two goals for color"),
        (["equation_2"], True, "use --per=attribute"),
    ],
)
def test_an_invalid_goal_is_bad_input(schema, texts, per_value, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        thresholds.parse_goals(texts, schema, per_value)
