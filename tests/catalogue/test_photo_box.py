"""Tests of product boxes: their coordinates, the crop, and invalid boxes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from attr_extractor.catalogue import photos
from attr_extractor.catalogue.photos import Box, PhotoError
from tests.catalogue.drawn_photos import LARGE, assert_close, file_of, smooth, stored
from tests.catalogue.test_photos import TURNED_BY_HAND, with_orientation

# Cells


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["", "", "", ""], None),
        (["", " ", "", "\t"], None),
        ([], None),
        (["0", "0", "10", "20"], (0, 0, 10, 20)),
        (["-3.5", " 4 ", "1e2", "4.25"], (-3.5, 4, 100, 4.25)),
    ],
)
def test_four_cells_are_a_box_and_empty_cells_are_not(cells, expected):
    assert photos.parse_box(cells) == expected


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "2", "3", ""],
        ["", "", "", "4"],
        ["1", "2", "3", "four"],
        ["1", "2", "3", "4,5"],
        ["1", "2", "nan", "4"],
        ["1", "2", "inf", "4"],
        ["-inf", "2", "3", "4"],
        ["3", "2", "3", "4"],  # no width
        ["1", "4", "3", "2"],  # bottom above top
        ["1", "2", "3"],
        ["1", "2", "3", "4", "5"],
        ["1|", "2|", "3|", "4|"],
    ],
)
def test_invalid_boxes_have_a_reason(cells: list[str]):
    with pytest.raises(PhotoError) as caught:
        photos.parse_box(cells)
    assert str(caught.value) == photos.BOX_MALFORMED


# Pixels


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED_BY_HAND)
def test_a_box_is_in_pixels_of_the_upright_photo(orientation: int, kind: str):
    data = with_orientation(orientation, kind)
    upright = TURNED_BY_HAND[orientation](np.asarray(smooth()))
    assert_close(stored(data, LARGE, Box(5, 20, 40, 45)), upright[20:45, 5:40], 4)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(5.7, 20.2, 39.1, 44.9), slice(20, 45), slice(5, 40)),  # whole pixels, outwards
        (Box(-9, -1e9, 20, 30), slice(0, 30), slice(0, 20)),
        (Box(50, 40, 1e300, 77.7), slice(40, 48), slice(50, 64)),
        (Box(-1, -1, 65, 49), slice(None), slice(None)),
        (Box(56, 40, 64, 48), slice(40, 48), slice(56, 64)),  # the smallest
    ],
)
def test_a_box_is_clipped_to_the_photo(box: Box, rows: slice, columns: slice):
    assert_close(stored(file_of(smooth(), "PNG"), LARGE, box), np.asarray(smooth())[rows, columns])


def test_the_raw_size_is_that_of_the_whole_photo():
    photo = photos.store(file_of(smooth(480, 640), "JPEG"), 64, Box(100, 100, 420, 300))
    assert (photo.raw_width, photo.raw_height) == (640, 480)
    assert (photo.width, photo.height) == (102, 64)  # 320 * 64 / 200 = 102.4


def test_a_box_keeps_transparency_and_16_bits():
    image = smooth()
    image.putalpha(Image.fromarray(np.full([48, 64], 51, np.uint8)))
    white = 255 - (255 - np.asarray(smooth())[8:40, 8:40].astype(float)) / 5
    assert_close(stored(file_of(image, "PNG"), LARGE, Box(8, 8, 40, 40)), white)
    ramp = np.tile(np.linspace(0, 65535, 64), (48, 1)).astype(np.uint16)
    found = stored(file_of(Image.fromarray(ramp), "PNG"), LARGE, Box(8, 8, 40, 40))
    assert_close(found, np.repeat(ramp[8:40, 8:40, None] / 257, 3, -1))


@pytest.mark.parametrize("side", [70, 127, 128, 200, 256, 520, 1030])
def test_reduced_jpeg_decoding_keeps_enough_pixels_of_the_box(side: int):
    """The whole photo of 1100 x 1300 would be decoded at an eighth for 64 pixels."""
    draw = np.random.default_rng(side)
    grid = draw.integers(0, 256, [1300 * 8 // side, 1100 * 8 // side, 3], np.uint8)
    image = Image.fromarray(grid).resize((1100, 1300), Image.Resampling.BICUBIC)
    data = file_of(image, "JPEG", quality=95, subsampling=0)
    found = stored(data, 64, Box(30, 50, 30 + side, 50 + side))
    assert found.shape == (64, 64, 3)  # decoded at too small a fraction it would be smaller
    inside = image.crop((30, 50, 30 + side, 50 + side))
    expected = np.asarray(inside.resize((64, 64), Image.Resampling.BICUBIC))
    assert_close(found, expected, 6)


@pytest.mark.parametrize(
    "box",
    [
        Box(64, 0, 90, 48),  # beside
        Box(-20, 0, 0, 48),
        Box(0, 48, 64, 99),  # below
        Box(1e5, 1e5, 2e5, 2e5),
        Box(57, 0, 90, 48),  # 7 pixels of it inside
        Box(0, 0, 64, 7.5),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_box_outside_the_photo_has_a_reason(box: Box, kind: str):
    with pytest.raises(PhotoError) as caught:
        photos.store(file_of(smooth(), kind), LARGE, box)
    assert str(caught.value) == photos.BOX_OUTSIDE
