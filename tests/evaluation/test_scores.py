"""Tests of scores, sums and intervals, against plain loops and scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from attr_extractor.evaluation import figures, scores
from attr_extractor.model import metrics
from attr_extractor.schema import Schema
from tests.evaluation.by_hand import by_hand, contender, measure, measure_both, usual_of

SAME = {
    "score": "score",
    "score_all": "all",
    "most_frequent": "base",
    "accuracy": "right",
    "coverage": "answered",
    "answered_accuracy": "given",
    "exact_match": "exact",
    "micro_precision": "precision",
    "micro_recall": "recall",
    "micro_f1": "f1",
    "applicable": "n",
    "answered_not_applicable": "answered_not_applicable",
}


@pytest.mark.parametrize("samples", ["made_up", "partly_missing"])
def test_figures_match_a_loop_that_ignores_missing_labels(samples, schema, request):
    samples = request.getfixturevalue(samples)
    measured = measure(samples, schema)
    for name in schema.names:
        found, expected = measured["attributes"][name], by_hand(samples, schema, name)
        for ours, theirs in SAME.items():
            assert found[ours] == pytest.approx(expected[theirs], abs=1e-5), (name, ours)
        assert found["no_answer"] == found["applicable"] - found["answered"]
    for ours in ("score", "answered_accuracy", "micro_f1"):
        mean = np.mean([by_hand(samples, schema, name)[SAME[ours]] for name in schema.names])
        assert measured["mean"][ours] == pytest.approx(mean, abs=1e-5)


def test_equation_2_equals_the_metric_that_training_reports(partly_missing, schema):
    logits, labels, _ = partly_missing
    answered = contender(schema).answer(logits)
    found = metrics.agreement(labels, answered.chosen, schema)
    usual = usual_of(partly_missing, schema)
    summed = scores.quantities(schema, labels, answered, usual)
    for key, seen in (("score", "applies"), ("score_all", "known")):
        expected = found.score.numpy() * getattr(found, seen).numpy()
        np.testing.assert_allclose(summed[:, figures.KEYS.index(key)], expected, rtol=1e-6)


def test_figures_per_value_match_a_loop_that_ignores_missing_labels(partly_missing, schema):
    logits, labels, _ = partly_missing
    measured, details = measure_both(partly_missing, schema, 7)
    chosen = contender(schema).answers.chosen(tf.sigmoid(logits)).numpy()
    for name, where in schema.slices.items():
        f1 = []
        for v, row in enumerate(details["attributes"][name]["values"].values(), where.start):
            pairs = [(y, c) for y, c in zip(labels[:, v], chosen[:, v]) if y != -1]
            hits, support = sum(y and c for y, c in pairs), sum(y for y, _ in pairs)
            predicted = sum(c for _, c in pairs)
            assert (row["support"], row["predicted"]) == (support, predicted)
            assert row["precision"] == pytest.approx(hits / predicted, abs=1e-5)
            assert row["recall"] == pytest.approx(hits / support, abs=1e-5)
            f1.append(2 * hits / (support + predicted))
            assert row["f1"] == pytest.approx(f1[-1], abs=1e-5)
        assert measured["attributes"][name]["macro_f1"] == pytest.approx(np.mean(f1), abs=1e-5)


def complete(made_up, schema):
    """Without a missing label."""
    logits, labels, products = made_up
    return logits, np.maximum(labels, 0), products


def test_figures_equal_scikit_learn_on_complete_labels(made_up, schema):
    logits, labels, _ = samples = complete(made_up, schema)
    measured, details = measure_both(samples, schema)
    chosen = contender(schema).answers.chosen(tf.sigmoid(logits)).numpy()
    for name, where in schema.slices.items():
        truth, answered, found = labels[:, where], chosen[:, where], measured["attributes"][name]
        for average in ("micro", "macro"):
            rates = sklearn.metrics.precision_recall_fscore_support(
                truth, answered, average=average, zero_division=0
            )
            for key, expected in zip(("precision", "recall", "f1"), rates):
                assert found[f"{average}_{key}"] == pytest.approx(expected, abs=1e-5)
            expected = sklearn.metrics.average_precision_score(
                truth, logits[:, where], average=average
            )
            off = abs(found[f"{average}_average_precision"] - expected)
            assert off <= found["average_precision_error"] + 1e-5 and off < 0.005
        applies = truth.any(axis=1)
        accuracy = sklearn.metrics.accuracy_score(truth[applies], answered[applies])
        assert found["exact_match"] == pytest.approx(accuracy, abs=1e-5)
        eq2 = sklearn.metrics.jaccard_score(truth, answered, average="samples", zero_division=1)
        assert found["score_all"] == pytest.approx(eq2, abs=1e-5)
        per_value = sklearn.metrics.precision_recall_fscore_support(
            truth, answered, average=None, zero_division=0
        )
        rows = details["attributes"][name]["values"]
        assert list(rows) == schema[name].values
        for row, *expected in zip(rows.values(), *per_value):
            ours = [row["precision"], row["recall"], row["f1"], row["support"]]
            assert ours == pytest.approx(expected, abs=1e-5)


def test_an_attribute_with_a_value_that_never_occurs_has_its_macro_figures_over_the_others(
    made_up, schema
):
    logits, labels, products = complete(made_up, schema)
    labels = labels.copy()
    where = schema.slices["closure"]
    labels[:, where.stop - 1] = 0
    measured, details = measure_both((logits, labels, products), schema)
    chosen = contender(schema).answers.chosen(tf.sigmoid(logits)).numpy()[:, where]
    expected = sklearn.metrics.f1_score(
        labels[:, where], chosen, labels=[0, 1], average="macro", zero_division=0
    )
    assert measured["attributes"]["closure"]["macro_f1"] == pytest.approx(expected, abs=1e-5)
    row = details["attributes"]["closure"]["values"]["drawstring"]
    assert (row["support"], row["recall"], row["average_precision"]) == (0, None, None)
    assert row["predicted"] > 0 and row["precision"] == 0


def test_the_result_does_not_depend_on_the_batch_size(made_up, schema):
    assert measure(made_up, schema, 7) == measure(made_up, schema, 200)


def test_near_duplicates_are_excluded_by_photo(made_up, schema):
    logits, labels, products = made_up  # the first 50 products have a second photo, 150 to 199
    similar = {("p3", 0), ("p7", 1), ("p8", 0), ("p8", 1), ("p120", 0), ("p120", 1), ("other", 0)}
    unlike = np.setdiff1d(np.arange(200), [3, 157, 8, 158, 120])
    measured = measure(made_up, schema, 7, similar)
    block = measured.pop("without_near_duplicates")
    assert measured == measure(made_up, schema, 7)
    assert (block["photos"], block["left_out"]) == (195, 5)
    assert block["mean"].keys() == measured["mean"].keys()
    frequent = {n: a["most_frequent_value"] for n, a in measured["attributes"].items()}
    rest = (logits[unlike], labels[unlike], [products[i] for i in unlike])
    expected = [by_hand(rest, schema, name, frequent[name]) for name in schema.names]
    for ours, theirs in [("score", "score"), ("most_frequent", "base"), ("accuracy", "right")]:
        mean = np.mean([attribute[theirs] for attribute in expected])
        assert block["mean"][ours] == pytest.approx(mean, abs=1e-5)
        assert block["mean"][ours] != measured["mean"][ours]
    low, high = block["mean"]["interval"]
    assert low < block["mean"]["score"] < high


def test_excluding_no_photo_keeps_the_figures_and_excluding_all_gives_no_score(made_up, schema):
    block = measure(made_up, schema, near_duplicates=set())["without_near_duplicates"]
    assert block == {"photos": 200, "left_out": 0, "mean": measure(made_up, schema)["mean"]}
    all_photos = {(f"p{i}", k) for i in range(150) for k in (0, 1)}
    block = measure(made_up, schema, near_duplicates=all_photos)["without_near_duplicates"]
    assert (block["photos"], block["left_out"], block["mean"]["score"]) == (0, 200, None)
    json.dumps(block, allow_nan=False)


def test_intervals_agree_with_an_ordinary_bootstrap_over_products(made_up, schema):
    logits, labels, products = made_up
    where = schema.slices["category"]
    applies = (labels[:, where] == 1).any(axis=1)
    p = 1 / (1 + np.exp(-logits[:, where]))
    right = (p.max(axis=1) > 0.5) & (labels[np.arange(200), where.start + p.argmax(axis=1)] == 1)
    groups = [[i for i, x in enumerate(products) if x == product] for product in set(products)]
    generator = np.random.default_rng(1)
    means = []
    for _ in range(2000):
        rows = np.concatenate([groups[g] for g in generator.integers(0, len(groups), len(groups))])
        rows = rows[applies[rows]]
        means.append(right[rows].mean())
    expected = np.percentile(means, [2.5, 97.5])
    found = measure(made_up, schema)["attributes"]["category"]["interval"]
    np.testing.assert_allclose(found, expected, atol=0.015)


def test_photos_of_a_product_have_the_same_weights_in_any_order():
    first = figures.bootstrap_weights(["a", "b", "a"])
    np.testing.assert_array_equal(first[:, 0], first[:, 2])
    assert (first[:, 0] != first[:, 1]).any()
    np.testing.assert_array_equal(figures.bootstrap_weights(["b"])[:, 0], first[:, 1])
    assert abs(first.mean() - 1) < 0.1


def test_an_attribute_without_a_known_value_is_not_measured(made_up, schema):
    logits, labels, products = made_up
    labels = labels.copy()
    labels[:, schema.slices["color"]] = -1
    measured = measure((logits, labels, products), schema)
    assert measured["attributes"]["color"]["score"] is None
    assert measured["mean"]["attributes_measured"] == len(schema.names) - 1


def test_a_split_without_any_known_value_is_valid_json_without_numbers(made_up, schema):
    logits, labels, products = made_up
    measured = measure((logits, np.full_like(labels, -1), products), schema)
    assert measured["mean"]["score"] is None and measured["mean"]["interval"] is None
    json.dumps(measured, allow_nan=False)


def test_accuracy_covers_photos_where_the_attribute_applies_and_the_best_label_is_known():
    text = """
    name: t
    category: kind
    attributes:
      - {name: kind, values: [a, b]}
      - {name: color, values: [red, blue, green], exclusive: false}
    """
    logits = np.float32([[2, 1, 0, 5, 1], [0, 3, 9, 5, 1], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]])
    labels = np.int8(
        [
            [1, 0, 0, 1, 1],  # both right
            [1, 0, 0, 1, 0],  # both wrong
            [-1, -1, 0, 0, 0],  # kind missing, color does not apply
            [0, 1, 1, 0, -1],  # kind right, the best color is not known
        ]
    )
    made_up = logits, labels, ["p", "q", "r", "s"]
    found = measure(made_up, Schema.parse(text, "test"))
    accuracies = {name: a["accuracy"] for name, a in found["attributes"].items()}
    assert accuracies == pytest.approx({"kind": 2 / 3, "color": 1 / 2}, abs=1e-5)
    assert found["mean"]["accuracy"] == pytest.approx(7 / 12, abs=1e-5)
