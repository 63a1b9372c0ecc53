"""Test `serving/raw_photos/shrink.py` and its twin in catalogue/photos.py, against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.catalogue import photos
from attr_extractor.serving.raw_photos.shrink import shrink

BICUBIC = Image.Resampling.BICUBIC
SIDE = 100
of_graph = tf.function(
    lambda photo: shrink(photo, SIDE),
    input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
    autograph=False,
)


def noise(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(height)
    photo = random.integers(0, 256, [height, width, 3], np.uint8)
    return np.where(random.random([height, width, 1]) < 0.2, 255, photo).astype(np.uint8)


def in_two_passes(photo: np.ndarray) -> np.ndarray:
    """Return Pillow's own resize, rows first, after its means over blocks if it is far smaller."""
    image = Image.fromarray(photo)
    scale = SIDE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    factors = max(1, int(image.width / width / 2)), max(1, int(image.height / height / 2))
    box = (0, 0, image.width / factors[0], image.height / factors[1])
    reduced = image.reduce(factors)
    rows = reduced.resize((width, reduced.height), BICUBIC, (*box[:3], reduced.height))
    return np.asarray(rows.resize((width, height), BICUBIC, (0, 0, width, box[3])))


@pytest.mark.parametrize(
    "size",
    [
        *((101, 100), (100, 101), (101, 101), (150, 100), (131, 203), (203, 131), (399, 400)),
        *((400, 400), (401, 799), (413, 1201), (1201, 413), (903, 1507), (101, 3000), (2000, 1999)),
    ],
)
def test_the_graph_and_the_table_resize_as_pillow_does_in_two_passes(size):
    photo = noise(*size)
    expected = in_two_passes(photo)
    np.testing.assert_array_equal(photos._reduce(Image.fromarray(photo), SIDE), expected)
    np.testing.assert_array_equal(of_graph(photo), expected)


def test_two_passes_differ_from_the_other_order():
    # why the order is written out: releases of Pillow differ in it
    photo = noise(900, 300)
    columns = Image.fromarray(photo).resize((300, 300), BICUBIC)
    assert (np.asarray(columns.resize((SIDE, 300), BICUBIC)) != in_two_passes(photo)).any()


def test_a_photo_of_the_size_or_smaller_stays_as_it_is():
    for size in ((100, 150), (80, 300), (1, 1)):
        np.testing.assert_array_equal(of_graph(noise(*size)), noise(*size))
