"""Tests of `example_photos.py`: outcomes of answers; photos of confusions, in bounded memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.evaluation import example_photos
from attr_extractor.evaluation.example_photos import AttributeAnswer, ConfusedPhotos
from attr_extractor.schema import Schema


def add(photos: ConfusedPhotos, schema: Schema, name: str, pairs: list, start: int = 0) -> None:
    """Add a grey photo for each pair of true and answered position (None: no answer)."""
    first = schema.slices[name].start
    labels = np.full([len(pairs), schema.num_values], -1, np.int8)
    chosen = np.zeros(labels.shape, bool)
    for row, (true, answered) in enumerate(pairs):
        labels[row, schema.slices[name]] = 0
        labels[row, first + true] = 1
        if answered is not None:
            chosen[row, first + answered] = True
    pixels = np.stack([np.full([128, 128, 3], 20 + 8 * (start + i)) for i in range(len(pairs))])
    batch = {
        "pixels": tf.constant(pixels, tf.uint8),
        "product_id": tf.constant([f"p{start + i}" for i in range(len(pairs))]),
    }
    photos.add(batch, labels, chosen)


def test_only_wrong_answers_have_photos_and_the_first_ones_are_kept(schema):
    photos = ConfusedPhotos(schema)
    add(photos, schema, "neck_type", [(0, 1), (0, 0), (0, None), (1, 0), (0, 1), (2, 1)])
    add(photos, schema, "neck_type", [(0, 1), (0, 1)], start=6)
    kept = photos.of_pair("neck_type", "v-neck", "round neck")
    assert [photo.product_id for photo in kept] == ["p0", "p4", "p6"]
    for photo in kept:
        image = np.asarray(Image.open(io.BytesIO(photo.jpeg)))
        assert image.shape == (96, 96, 3)
        assert abs(image.mean() - (20 + 8 * int(photo.product_id[1:]))) < 3
    assert photos.of_pair("neck_type", "v-neck", "no neck") == []
    assert [p.product_id for p in photos.of_pair("neck_type", "no neck", "round neck")] == ["p5"]


def test_frequent_pairs_stay_if_there_are_too_many_pairs(monkeypatch):
    values = [f"v{i}" for i in range(30)]
    text = f"name: s\ncategory: c\nattributes: [{{name: c, values: [{', '.join(values)}]}}]"
    schema = Schema.parse(text, "test")
    monkeypatch.setattr(example_photos, "MAX_PAIRS", 8)
    photos = ConfusedPhotos(schema)
    for i in range(1, 29):
        add(photos, schema, "c", [(0, 29), (0, 29), (i, i + 1)])
        assert len(photos._photos) <= 8
    assert len(photos.of_pair("c", "v0", "v29")) == 3
    assert sum(bool(photos.of_pair("c", f"v{i}", f"v{i + 1}")) for i in range(1, 29)) < 8


@pytest.mark.parametrize(
    "answered, labelled, outcome",
    [
        (["red"], ["red"], "right"),
        (["red"], ["blue"], "wrong"),
        (["red"], [], "wrong"),
        (["red", "blue"], ["blue"], "partly right"),
        ([], ["blue"], "no answer"),
        ([], [], "right"),
        (["red"], None, "unknown"),
    ],
)
def test_outcome_of_an_answer(answered, labelled, outcome):
    assert AttributeAnswer("color", answered, labelled, 0.5).outcome == outcome


def test_a_value_whose_label_is_missing_does_not_count():
    answer = AttributeAnswer("color", ["red", "blue"], ["blue"], 0.5, frozenset({"red"}))
    assert answer.outcome == "right"
