"""Claims about `confused_photos.py`: the right photos, in bounded memory."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor.evaluation import confused_photos
from attr_extractor.evaluation.confused_photos import ConfusedPhotos
from attr_extractor.schema import Schema


def add(photos: ConfusedPhotos, schema: Schema, name: str, pairs: list, start: int = 0) -> None:
    """One photo for each pair of a true and an answered position (None: no answer); grey by row."""
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


def test_a_confusion_has_its_first_photos_and_right_answers_have_none(schema):
    photos = ConfusedPhotos(schema)
    add(photos, schema, "neck_type", [(0, 1), (0, 0), (0, None), (1, 0), (0, 1), (2, 1)])
    add(photos, schema, "neck_type", [(0, 1), (0, 1)], start=6)
    found = photos.of("neck_type", "v-neck", "round neck")
    assert [photo.product_id for photo in found] == ["p0", "p4", "p6"]
    for photo in found:
        image = np.asarray(Image.open(io.BytesIO(photo.jpeg)))
        assert image.shape == (96, 96, 3)
        assert abs(image.mean() - (20 + 8 * int(photo.product_id[1:]))) < 3
    assert photos.of("neck_type", "v-neck", "no neck") == []
    assert [p.product_id for p in photos.of("neck_type", "no neck", "round neck")] == ["p5"]


def test_of_more_pairs_than_are_kept_the_frequent_ones_stay(monkeypatch):
    values = [f"v{i}" for i in range(30)]
    text = f"name: s\ncategory: c\nattributes: [{{name: c, values: [{', '.join(values)}]}}]"
    schema = Schema.parse(text, "test")
    monkeypatch.setattr(confused_photos, "MAX_PAIRS", 8)
    photos = ConfusedPhotos(schema)
    for i in range(1, 29):
        add(photos, schema, "c", [(0, 29), (0, 29), (i, i + 1)])
        assert len(photos._photos) <= 8
    assert len(photos.of("c", "v0", "v29")) == 3
    assert sum(bool(photos.of("c", f"v{i}", f"v{i + 1}")) for i in range(1, 29)) < 8
