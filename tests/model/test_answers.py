"""Post-processing of scores to answers, compared with the rule in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from attr_extractor.model.answers import Answers, default_thresholds


def scores_of(schema, **given: list[float]) -> np.ndarray:
    """Return float32 [1, V] with the named scores, and 0 for all other values."""
    scores = np.zeros([1, schema.num_values], np.float32)
    for name, values in given.items():
        scores[0, schema.slices[name]] = values
    return scores


def values_of(schema, chosen, name: str) -> list[str]:
    where = schema.slices[name]
    return [v for v, on in zip(schema[name].values, np.asarray(chosen)[0, where]) if on]


def in_python(scores: np.ndarray, schema, thresholds: np.ndarray) -> np.ndarray:
    """Keep values above the threshold; for an exclusive attribute, only the first best of them."""
    chosen = np.zeros(scores.shape, bool)
    for b in range(len(scores)):
        for attribute, where in zip(schema.attributes, schema.slices.values()):
            above = [v for v in range(where.start, where.stop) if scores[b, v] > thresholds[v]]
            if attribute.exclusive and above:
                above = [max(above, key=lambda v: (scores[b, v], -v))]
            chosen[b, above] = True
    return chosen


def test_chosen_values_equal_the_rule_in_python_with_ties_and_thresholds_per_value(schema):
    generator = np.random.default_rng(0)
    scores = np.round(generator.random([200, schema.num_values]), 1).astype(np.float32)
    thresholds = np.round(generator.random(schema.num_values), 1).astype(np.float32)
    chosen = Answers(schema, thresholds).chosen(scores).numpy()
    np.testing.assert_array_equal(chosen, in_python(scores, schema, thresholds))


def test_a_score_equal_to_the_threshold_is_no_answer(schema):
    answers = Answers(schema, default_thresholds(schema))
    chosen = answers.chosen(scores_of(schema, category=[0.5, 0.5], color=[0.5, 0.51, 0.2]))
    assert values_of(schema, chosen, "category") == []
    assert values_of(schema, chosen, "color") == ["green"]


def test_always_answers_the_best_value_if_none_is_above_the_threshold(schema):
    answers = Answers(schema, default_thresholds(schema))
    scores = scores_of(schema, category=[0.1, 0.2], color=[0.6, 0.9, 0.3], neck_type=[0, 0.01, 0])
    chosen = answers.chosen(scores, always=True)
    assert values_of(schema, chosen, "category") == ["jeans"]
    assert values_of(schema, chosen, "color") == ["red", "green"]
    assert values_of(schema, chosen, "neck_type") == ["round neck"]


def test_without_gating_a_category_suppresses_nothing(schema):
    answers = Answers(schema, default_thresholds(schema))
    chosen = answers.chosen(scores_of(schema, category=[0.1, 0.9], neck_type=[0.9, 0, 0]))
    assert values_of(schema, chosen, "neck_type") == ["v-neck"]


def test_a_given_category_excludes_values_even_without_gating(schema):
    answers = Answers(schema, default_thresholds(schema))
    scores = scores_of(schema, neck_type=[0.9, 0, 0], closure=[0.6, 0.7, 0.9])
    chosen = answers.chosen(scores, category=np.array([1], np.int32))
    assert values_of(schema, chosen, "neck_type") == []
    assert values_of(schema, chosen, "closure") == ["zip"]


@pytest.mark.parametrize(
    "category_scores, given, neck, closure",
    [
        ([0.1, 0.9], -1, [], ["zip"]),  # jeans predicted: no neck, no drawstring
        ([0.1, 0.9], 0, ["v-neck"], ["drawstring"]),  # a given shirt beats the predicted jeans
        ([0.9, 0.1], 1, [], ["zip"]),  # given jeans beat the predicted shirt
        ([0.4, 0.4], -1, ["v-neck"], ["drawstring"]),  # no category answered: nothing suppressed
    ],
)
def test_gating_follows_the_given_category_then_the_answered_one(
    schema, category_scores, given, neck, closure
):
    answers = Answers(schema, default_thresholds(schema), gate_by_category=True)
    scores = scores_of(
        schema, category=category_scores, neck_type=[0.9, 0.1, 0.2], closure=[0.6, 0.7, 0.9]
    )
    chosen = answers.chosen(scores, category=np.array([given], np.int32))
    assert values_of(schema, chosen, "neck_type") == neck
    assert values_of(schema, chosen, "closure") == closure


def test_strings_are_sorted_by_score_and_padded(schema):
    answers = Answers(schema, default_thresholds(schema))
    scores = scores_of(schema, category=[0.2, 0.8], color=[0.6, 0.1, 0.9])
    found = answers.strings(scores, answers.chosen(scores))
    assert found["color"].numpy().tolist() == [[b"blue", b"red", b""]]
    np.testing.assert_allclose(found["color_score"], [[0.9, 0.6, 0.0]], atol=1e-6)
    assert found["category"].numpy().tolist() == [[b"jeans"]]
    assert found["neck_type"].numpy().tolist() == [[b""]]
    assert found["neck_type_score"].numpy().tolist() == [[0.0]]
