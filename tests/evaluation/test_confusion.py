"""Tests of confusions, risk-coverage curves and scores by category, against plain loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from attr_extractor.evaluation import confusion, scores
from attr_extractor.evaluation.confusion import Confusions
from attr_extractor.schema import Schema
from tests.evaluation.by_hand import by_hand, measure_both


def loop_over(made_up, schema, name):
    """Yield true values, answered value or None, best value and its score, where `name` applies."""
    logits, labels, _ = made_up
    where, values = schema.slices[name], schema[name].values
    for z, y in zip(logits[:, where], labels[:, where]):
        if (y == 1).any():
            best = int(np.argmax(z))
            truth = [values[v] for v in np.flatnonzero(y == 1)]
            yield (
                truth,
                values[best] if z[best] > 0 else None,
                values[best],
                1 / (1 + np.exp(-z[best])),
            )


def test_confused_pairs_and_abstentions_match_a_loop(made_up, schema):
    _, details = measure_both(made_up, schema, 7)
    for name in ("category", "neck_type", "closure"):
        rows = list(loop_over(made_up, schema, name))
        expected = Counter((t[0], a) for t, a, _, _ in rows if a is not None and t != [a])
        found = details["attributes"][name]["most_confused"]
        assert {(p["true"], p["answered"]): p["count"] for p in found} == expected
        counts = [pair["count"] for pair in found]
        assert counts == sorted(counts, reverse=True) and len(counts) > 1
        none = Counter(t[0] for t, a, _, _ in rows if a is None)
        values = details["attributes"][name]["values"]
        assert {v: row["no_answer"] for v, row in values.items()} == {v: none[v] for v in values}
    assert details["attributes"]["color"]["most_confused"] == []  # several values at once
    assert details["confusion_counts_too_low_by_at_most"] == 0


def test_frequent_pairs_are_kept_above_the_limit_and_the_error_is_bounded(monkeypatch):
    monkeypatch.setattr(confusion, "MAX_PAIRS", 50)
    values = [f"v{i}" for i in range(40)]
    schema = Schema.model_validate(
        {"name": "s", "category": "c", "attributes": [{"name": "c", "values": values}]}
    )
    generator = np.random.default_rng(0)
    confusions, expected = Confusions(schema), Counter()
    eye = np.eye(40, dtype=np.int8)
    for _ in range(60):
        true = np.where(generator.random(32) < 0.5, 3, generator.integers(0, 40, 32))
        answered = np.where(true == 3, 7, generator.integers(0, 40, 32))
        confusions.add(eye[true], eye[answered] == 1)
        expected.update((f"v{t}", f"v{a}") for t, a in zip(true, answered) if t != a)
        assert len(confusions.counts) <= 50
    first = confusions.most_confused()["c"][0]
    assert (first["true"], first["answered"]) == ("v3", "v7")
    assert 0 < confusions.missed < 100
    for key, count in confusions.counts.items():
        exact = expected[(f"v{key // 40}", f"v{key % 40}")]
        assert exact - confusions.missed <= count <= exact


def test_risk_coverage_curves_match_a_loop(made_up, schema):
    _, details = measure_both(made_up, schema, 7)
    pooled = []
    for name in schema.names:
        rows = list(loop_over(made_up, schema, name))
        pooled += rows
        check_curve(details["attributes"][name]["risk_coverage"], rows, details["cut_offs"])
    check_curve(details["risk_coverage"], pooled, details["cut_offs"])


def check_curve(curve, rows, cut_offs):
    for k, cut_off in enumerate(cut_offs):
        left = [best in truth for truth, _, best, score in rows if score > cut_off]
        assert curve["coverage"][k] == pytest.approx(len(left) / len(rows), abs=1e-5)
        expected = pytest.approx(np.mean(left), abs=1e-5) if left else None
        assert curve["accuracy"][k] == expected


def test_scores_by_category_match_those_of_its_photos_alone(partly_missing, schema, monkeypatch):
    monkeypatch.setattr(scores, "WORST_CATEGORIES", 1)
    logits, labels, products = partly_missing
    measured, details = measure_both(partly_missing, schema, 7)
    worst = list(details["categories"])
    by_hand_scores = []
    for category in worst:
        place = schema.slices["category"].start + schema["category"].values.index(category)
        rows = labels[:, place] == 1
        found = details["categories"][category]
        assert found["photos"] == rows.sum() > scores.MIN_PHOTOS
        alone = (logits[rows], labels[rows], [p for p, r in zip(products, rows) if r])
        total = count = 0
        for name in schema.names:
            expected = by_hand(alone, schema, name)
            assert found["attributes"][name]["score"] == pytest.approx(expected["score"], abs=1e-5)
            assert found["attributes"][name]["photos"] == expected["n"]
            total, count = total + expected["score"] * expected["n"], count + expected["n"]
        by_hand_scores.append(total / count)
        assert found["score"] == pytest.approx(by_hand_scores[-1], abs=1e-5)
    assert by_hand_scores == sorted(by_hand_scores) and len(by_hand_scores) == 2
    shown = [
        {
            "category": worst[0],
            **{k: details["categories"][worst[0]][k] for k in ("score", "photos")},
        }
    ]
    assert measured["worst_categories"] == shown
