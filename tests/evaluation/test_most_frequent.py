"""Claims about `evaluation/most_frequent.py`: guesses without a look at the photo."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from attr_extractor.evaluation import most_frequent
from attr_extractor.evaluation.most_frequent import MostFrequent
from attr_extractor.labels import decode
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from tests.evaluation.by_hand import measure, usual_of
from tests.records.by_hand import labels_of, read_split


def by_category(labels, schema) -> dict[tuple[str, str], str]:
    """Per category and attribute the value that most photos have, the first of equal ones."""
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


def test_a_category_has_the_value_that_most_of_its_training_photos_have(built, schema):
    manifest = Manifest.read(built.records)
    usual = MostFrequent.of(schema, manifest.most_frequent("train"))
    batches = dataset.label_batches(built.records, manifest, "train", 7).as_numpy_iterator()
    found = most_frequent.count(schema, usual, (batch["labels"] for batch in batches))
    expected = by_category(labels_of(read_split(built.records, "train")), schema)
    assert ("shirt", "neck_type") in expected and ("jeans", "neck_type") not in expected
    for c, category in enumerate(schema["category"].values):
        for t, name in enumerate(schema.names):
            place = expected.get((category, name))
            value = schema[name].values[found.by_category[c, t] - schema.slices[name].start]
            assert value == (place or manifest.most_frequent("train")[name]), (category, name)


def test_the_guess_is_scored_on_the_same_rows(made_up, schema):
    logits, labels, products = made_up
    overall = usual_of(made_up, schema)
    usual = most_frequent.count(schema, overall, [labels])
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
    category = measured["attributes"]["category"]  # is not told
    assert category["most_frequent_given_category"] == category["most_frequent"]


def test_where_it_is_not_known_the_figure_is_left_out(made_up, schema):
    measured = measure(made_up, schema)
    for block in (measured["mean"], *measured["attributes"].values()):
        assert block["most_frequent_given_category"] is None
        assert block["gain_given_category_interval"] is None
    assert measured["mean"]["attributes_beating_given_category"] == 0
