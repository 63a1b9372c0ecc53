"""Claims about `evaluation/scores.py` and `bootstrap.py`, against slow loops in NumPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.evaluation import bootstrap, scores
from attr_extractor.model.answers import Answers, default_thresholds


@pytest.fixture(scope="module")
def made_up(schema):
    """200 samples of 150 products, with logits that agree with their labels more often than not."""
    generator = np.random.default_rng(0)
    count = 200
    labels = np.zeros([count, schema.num_values], np.int8)
    for attribute, where in zip(schema.attributes, schema.slices.values()):
        size = len(attribute.values)
        labels[np.arange(count), where.start + generator.integers(0, size, count)] = 1
        labels[generator.random(count) < 0.2, where] = 0  # does not apply
        labels[generator.random(count) < 0.3, where] = -1  # missing
    logits = generator.normal(size=labels.shape) + 2.0 * (labels == 1) - 0.5
    products = [f"p{i % 150}".encode() for i in range(count)]
    return logits.astype(np.float32), labels, products


def batches_of(made_up, size: int):
    logits, labels, products = made_up
    for start in range(0, len(labels), size):
        rows = slice(start, start + size)
        yield {
            "pixels": tf.constant(logits[rows]),  # the "model" below hands them through
            "labels": tf.constant(labels[rows]),
            "product_id": tf.constant(products[rows]),
            "image_index": tf.constant([i // 150 for i in range(len(labels))[rows]], tf.int64),
        }


def measure(made_up, schema, size: int = 32, near_duplicates=None):
    answers = Answers(schema, default_thresholds(schema))
    present = (made_up[1] == 1).sum(axis=0)
    frequent = {n: schema[n].values[np.argmax(present[w])] for n, w in schema.slices.items()}
    baseline = scores.always(schema, frequent)
    batches = batches_of(made_up, size)
    return scores.measure(tf.sigmoid, batches, answers, baseline, near_duplicates)


def by_hand(made_up, schema, name: str, frequent: str | None = None) -> dict[str, float]:
    """Scores of one attribute; `frequent`: the baseline's value, if not these samples' own."""
    logits, labels, _ = made_up
    attribute, where = schema[name], schema.slices[name]
    present = (labels[:, where] == 1).sum(axis=0)
    always = {int(np.argmax(present)) if frequent is None else attribute.values.index(frequent)}
    sums: dict[str, list[float]] = {
        key: [] for key in ("score", "all", "base", "right", "answered")
    }
    for z, y in zip(logits[:, where], labels[:, where]):
        if (y == -1).all():
            continue
        p = 1 / (1 + np.exp(-z))
        answered = {int(v) for v in np.flatnonzero(p > 0.5)}
        if attribute.exclusive and answered:
            answered = {int(np.argmax(p))}
        truth = {int(v) for v in np.flatnonzero(y == 1)}

        def eq2(given: set[int], truth: set[int] = truth) -> float:
            return len(given & truth) / len(given | truth) if given | truth else 1.0

        sums["all"].append(eq2(answered))
        if truth:
            sums["score"].append(eq2(answered))
            sums["base"].append(eq2(always))
            sums["right"].append(float(int(np.argmax(p)) in truth))
            sums["answered"].append(float(bool(answered)))
    return {key: float(np.mean(values)) for key, values in sums.items()} | {"n": len(sums["score"])}


def test_scores_equal_a_slow_loop_that_leaves_missing_labels_out(made_up, schema):
    measured = measure(made_up, schema)
    for name in schema.names:
        found, expected = measured["attributes"][name], by_hand(made_up, schema, name)
        assert found["score"] == pytest.approx(expected["score"], abs=1e-5)
        assert found["score_all"] == pytest.approx(expected["all"], abs=1e-5)
        assert found["most_frequent"] == pytest.approx(expected["base"], abs=1e-5)
        assert found["accuracy"] == pytest.approx(expected["right"], abs=1e-5)
        assert found["coverage"] == pytest.approx(expected["answered"], abs=1e-5)
        assert found["applicable"] == expected["n"]
    mean = np.mean([by_hand(made_up, schema, name)["score"] for name in schema.names])
    assert measured["mean"]["score"] == pytest.approx(mean, abs=1e-5)


def test_the_result_does_not_depend_on_the_batch_size(made_up, schema):
    assert measure(made_up, schema, 7) == measure(made_up, schema, 200)


def test_near_duplicates_are_left_out_photo_by_photo_in_the_same_pass(made_up, schema):
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


def test_leaving_out_nothing_changes_nothing_and_leaving_out_all_leaves_no_score(made_up, schema):
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


def test_photos_of_one_product_draw_the_same_weights_in_any_order():
    first = bootstrap.weights([b"a", b"b", b"a"])
    np.testing.assert_array_equal(first[:, 0], first[:, 2])
    assert (first[:, 0] != first[:, 1]).any()
    np.testing.assert_array_equal(bootstrap.weights([b"b"])[:, 0], first[:, 1])
    assert abs(first.mean() - 1) < 0.1


def test_an_attribute_without_a_known_value_is_not_measured(made_up, schema):
    logits, labels, products = made_up
    labels = labels.copy()
    labels[:, schema.slices["color"]] = -1
    measured = measure((logits, labels, products), schema)
    assert measured["attributes"]["color"]["score"] is None
    assert measured["mean"]["attributes_measured"] == len(schema.names) - 1


def test_always_gives_one_value_of_each_attribute(schema):
    last = {attribute.name: attribute.values[-1] for attribute in schema.attributes}
    chosen = scores.always(schema, last)
    assert [int(np.argmax(chosen[w])) for w in schema.slices.values()] == [1, 2, 2, 2]
    assert chosen.sum() == len(schema.names)


def test_a_split_without_any_known_value_is_valid_json_without_numbers(made_up, schema):
    logits, labels, products = made_up
    measured = measure((logits, np.full_like(labels, -1), products), schema)
    assert measured["mean"]["score"] is None and measured["mean"]["interval"] is None
    json.dumps(measured, allow_nan=False)
