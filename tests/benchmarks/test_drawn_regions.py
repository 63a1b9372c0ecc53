"""Where a drawn photo shows an attribute: another value changes the photo there, and only there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageFilter

from attr_extractor.demo import products
from attr_extractor.demo.photo import DRAWN_VALUES, draw_photo
from attr_extractor.demo.scene import Scene
from attr_extractor.schema import Schema
from benchmarks.drawn_regions import regions
from tests.conftest import ROOT

SCHEMA = Schema.read(ROOT / "configs" / "schemas" / "demo.yaml")


def product_of(category: str) -> products.Product:
    drawn = (products.draw_product(SCHEMA, 3, index) for index in range(1000))
    return next(product for product in drawn if product.values["category"] == (category,))


def grown(region: np.ndarray, pixels: int) -> np.ndarray:
    size = 2 * pixels + 1
    return np.asarray(Image.fromarray(np.uint8(region)).filter(ImageFilter.MaxFilter(size))) > 0


@pytest.mark.parametrize("category", ["t-shirt", "dress", "kurta"])
@pytest.mark.parametrize("attribute", ["neck_type", "sleeve_length"])
@pytest.mark.parametrize("seed", [0, 1])
def test_another_value_changes_the_photo_in_its_region(category, attribute, seed):
    product = product_of(category)
    # worn by a person: what a sleeve does not cover is an arm
    scene = dataclasses.replace(Scene.random(np.random.default_rng(seed)), presence=0.2)
    photos, found = [], []
    for value in DRAWN_VALUES[attribute]:
        values = {**product.values, attribute: (value,)}
        photos.append(np.asarray(draw_photo(values, product.look, scene)).astype(float))
        found.append(regions(values, scene)[attribute])
    assert all((each == found[0]).all() for each in found)  # of the attribute, not of its value
    region = found[0]
    assert region.shape == photos[0].shape[:2] and 0.02 < region.mean() < 0.2
    change = sum(np.abs(photo - photos[0]).sum(-1) for photo in photos[1:])
    # the outline's blurred shadow reaches further, and a kurta's placket begins at the neckline
    assert change[grown(region, 4)].sum() > 0.85 * change.sum()
    assert change[region].mean() > 10 * change[~region].mean()


def test_there_is_no_region_where_the_attribute_does_not_apply():
    scene = Scene.random(np.random.default_rng(0))
    assert regions(product_of("shoes").values, scene) == {}
    assert set(regions(product_of("shirt").values, scene)) == {"sleeve_length"}
