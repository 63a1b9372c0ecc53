"""Tests of heat maps as pictures: position in the photo, overlay and captions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from attr_extractor.evaluation.explain import heat_map
from attr_extractor.records import pixels


@pytest.mark.parametrize("square", ["squeeze", "pad", "crop"])
@pytest.mark.parametrize(("height", "width"), [(90, 60), (60, 90), (70, 70)])
def test_heat_is_mapped_back_to_its_position_in_the_photo(square, height, width):
    photo = np.zeros([height, width, 3], np.uint8)
    photo[30:45, 25:40] = 255  # the heat is this square, as the model sees it
    seen = pixels.to_model_size(photo, 48, square).numpy()[..., 0].astype(np.float32)
    if square == "pad":  # white as well
        seen[pixels.to_model_size(0 * photo, 48, square).numpy()[..., 0] == 255] = 0
    heat = heat_map.on_photo(seen, (height, width), square)
    assert heat.shape == (height, width) and heat.dtype == np.float32
    assert heat[32:43, 27:38].min() > 0.7
    far = heat.copy()
    far[26:49, 21:44] = 0
    assert far.max() < 0.05


def test_cropped_parts_have_no_heat():
    heat = heat_map.on_photo(np.ones([4, 4]), (20, 30), "crop")
    assert (heat[:, 5:25] == 1).all() and not heat[:, :5].any() and not heat[:, 25:].any()


def test_the_maximum_heat_is_1_and_zero_heat_stays_zero():
    heat = np.zeros([4, 4], np.float32)
    assert not heat_map.on_photo(heat, (9, 9), "squeeze").any()
    heat[1, 2] = 1e-6
    placed = heat_map.on_photo(heat, (40, 40), "squeeze")
    assert placed.max() == 1 and placed.min() == 0
    assert np.unravel_index(placed.argmax(), placed.shape) == pytest.approx((14, 24), abs=2)


def test_an_overlay_keeps_the_photo_where_heat_is_zero():
    photo = np.random.default_rng(0).integers(0, 256, [8, 6, 3], dtype=np.uint8)
    heat = np.zeros([8, 6], np.float32)
    heat[2, 3] = 1
    drawn = heat_map.overlay(photo, heat)
    assert drawn.dtype == np.uint8
    changed = (drawn != photo).any(-1)
    assert changed[2, 3] and changed.sum() == 1
    red = np.array([220, 30, 20])
    np.testing.assert_allclose(drawn[2, 3], 0.35 * photo[2, 3] + 0.65 * red, atol=0.5)


def test_a_caption_is_below_the_picture_and_small_pictures_are_enlarged():
    picture = np.full([300, 250, 3], 7, np.uint8)
    captioned = np.asarray(heat_map.with_caption(picture, ["v-neck", "0.9"]))
    assert (captioned[:300] == 7).all() and captioned.shape[0] > 300
    assert (captioned[300:] == 0).any()  # letters
    assert heat_map.with_caption(picture[:60, :80], []).size[0] == heat_map.WIDTH


def test_pictures_are_arranged_in_rows():
    pictures = [Image.new("RGB", (5, 4), (i, 0, 0)) for i in range(5)]
    page = np.asarray(heat_map.side_by_side(pictures, 4))
    assert page.shape == (8, 20, 3)
    assert page[0, ::5, 0].tolist() == [0, 1, 2, 3] and page[4, 0, 0] == 4
