"""Tests of the baselines, which ignore the photo, against plain loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from attr_extractor.evaluation import baselines
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.labels import decode
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from tests.evaluation.by_hand import measure, usual_of
from tests.records.by_hand import labels_of, read_split


def by_category(labels, schema) -> dict[tuple[str, str], str]:
    """Return the most frequent value per category and attribute, the first if tied."""
    counts: dict[tuple[str, str], Counter] = {}
    for row in labels:
        cells = decode(schema, row)
        for name in schema.names:
            for category in cells["category"] or []:
                counts.setdefault((category, name), Counter()).update(cells[name] or [])
    return {
        key: max(schema[key[1]].values, key=lambda value: counts[key][value])
        for key in counts
        if counts[key] and key[1] != "category"
    }


def test_counts_per_category_match_a_loop_over_the_training_photos(built, schema):
    manifest = Manifest.read(built.records)
    usual = MostFrequent.of(schema, manifest.most_frequent("train"))
    batches = dataset.label_batches(built.records, manifest, "train", 7).as_numpy_iterator()
    found = baselines.count(schema, usual, (batch["labels"] for batch in batches))
    expected = by_category(labels_of(read_split(built.records, "train")), schema)
    assert ("shirt", "neck_type") in expected and ("jeans", "neck_type") not in expected
    for c, category in enumerate(schema["category"].values):
        for t, name in enumerate(schema.names):
            place = expected.get((category, name))
            value = schema[name].values[found.by_category[c, t] - schema.slices[name].start]
            assert value == (place or manifest.most_frequent("train")[name]), (category, name)


def test_the_baseline_is_scored_on_the_same_photos_as_the_model(made_up, schema):
    logits, labels, products = made_up
    overall = usual_of(made_up, schema)
    usual = baselines.count(schema, overall, [labels])
    measured = measure(made_up, schema, 7, usual=usual)
    guess = by_category(labels, schema)
    for name in schema.names:
        right = []
        for row in labels:
            cells = decode(schema, row)
            if cells[name]:
                category = (cells["category"] or [""])[0]
                usual_value = measured["attributes"][name]["most_frequent_value"]
                right.append(guess.get((category, name), usual_value) in cells[name])
        found = measured["attributes"][name]
        assert found["most_frequent_given_category"] == pytest.approx(np.mean(right), abs=1e-5)
        assert found["gain_given_category"] == pytest.approx(
            found["score"] - np.mean(right), abs=2e-5
        )
    category = measured["attributes"]["category"]  # is not conditioned on itself
    assert category["most_frequent_given_category"] == category["most_frequent"]


def test_figures_given_the_category_are_none_without_counts_by_category(made_up, schema):
    measured = measure(made_up, schema)
    for block in (measured["mean"], *measured["attributes"].values()):
        assert block["most_frequent_given_category"] is None
        assert block["gain_given_category_interval"] is None
    assert measured["mean"]["attributes_beating_given_category"] == 0
