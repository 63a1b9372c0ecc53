"""Test the appearance figures of drift/photos.py on photos whose figures are known."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from attr_extractor.enrichment.drift.photos import APPEARANCE, appearance


def figures(image: Image.Image) -> dict[str, float]:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=98, subsampling=0)
    return dict(zip(APPEARANCE, appearance(out.getvalue()).tolist()))


def test_appearance_of_photos_of_one_colour():
    grey = figures(Image.new("RGB", (40, 30), (102, 102, 102)))
    assert grey["Brightness"] == pytest.approx(0.4, abs=0.01)
    assert max(grey[k] for k in ("Contrast", "Colour", "Sharpness")) < 0.01
    red = figures(Image.new("RGB", (40, 30), (255, 0, 0)))
    assert red["Brightness"] == pytest.approx(0.299, abs=0.02)
    assert red["Colour"] == pytest.approx(1, abs=0.03)


def test_contrast_and_sharpness_of_stripes():
    stripes = np.zeros([32, 32, 3], np.uint8)
    stripes[:, 16:] = 255
    found = figures(Image.fromarray(stripes))
    assert found["Contrast"] == pytest.approx(0.5, abs=0.02)
    # one step of 1 among 31, across; none down: 1 / 31 / 2, over the contrast
    assert found["Sharpness"] == pytest.approx(1 / 31 / 2 / 0.5, abs=0.01)


def test_each_change_of_a_photo_changes_its_figure():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, [8, 8, 3], np.uint8)).resize((96, 96))
    plain = figures(photo)
    assert figures(photo.filter(ImageFilter.GaussianBlur(3)))["Sharpness"] < plain["Sharpness"]
    assert figures(photo.convert("L").convert("RGB"))["Colour"] < 0.02 < plain["Colour"]
    assert figures(photo.point(lambda v: v // 2))["Brightness"] < 0.6 * plain["Brightness"]


def test_a_photo_of_one_pixel_has_finite_figures():
    assert np.isfinite(list(figures(Image.new("RGB", (1, 1), "teal")).values())).all()
