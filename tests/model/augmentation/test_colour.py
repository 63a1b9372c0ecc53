"""Colour augmentation, compared with Pillow, keras-cv and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from attr_extractor.config import AugmentationConfig
from attr_extractor.model.augmentation import colour

SIDE = 24


def photos(count: int) -> np.ndarray:
    """Return smooth photos of low contrast, uint8 [count, SIDE, SIDE, 3]."""
    small = np.random.default_rng(0).integers(40, 200, [count, 5, 5, 3], dtype=np.uint8)
    resized = [Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for p in small]
    return np.stack([np.asarray(p) for p in resized])


def run(operation: colour._Operation, strength: float, sign: float = 1.0) -> np.ndarray:
    given = tf.constant(photos(3), tf.float32)
    return operation(given, tf.fill([3], strength), tf.fill([3], sign)).numpy()


def in_pillow(operation) -> np.ndarray:
    return np.stack([np.asarray(operation(Image.fromarray(p))) for p in photos(3)]).astype(float)


def test_auto_contrast_equals_pillows():
    found = run(colour._auto_contrast, 0.5)
    assert np.abs(found - in_pillow(ImageOps.autocontrast)).max() <= 1.0  # Pillow cuts fractions


def test_equalize_equals_keras_cvs_and_nearly_pillows():
    found = run(colour._equalize, 0.5)
    layer = colour.keras_cv_layers().Equalization(colour.RANGE)
    expected = layer.augment_images(tf.constant(photos(3), tf.float32))
    np.testing.assert_array_equal(found, expected)
    # Pillow leaves the brightest level's count out of the step, keras-cv the rarest one's
    assert np.abs(found - in_pillow(ImageOps.equalize)).mean() < 4


def test_a_flat_channel_is_unchanged():
    flat = tf.fill([1, SIDE, SIDE, 3], 77.0)
    for operation in (colour._equalize, colour._auto_contrast):
        np.testing.assert_array_equal(operation(flat, tf.ones([1]), tf.ones([1])), flat)


def test_solarize_adds_and_then_inverts_above_a_threshold():
    expected = photos(3).astype(float) + 0.4 * 110
    expected = np.clip(expected, 0, 255)
    expected = np.where(expected < 0.6 * 255, expected, 255 - expected)
    np.testing.assert_allclose(run(colour._solarize, 0.4), expected, atol=1e-3)


def test_degenerate_equals_pillows_colour_enhancement_below_1():
    expected = in_pillow(lambda p: ImageEnhance.Color(p).enhance(0.7))
    assert np.abs(run(colour._degenerate, 0.3) - expected).max() <= 1.5  # whole levels there


@pytest.mark.parametrize("sign", [-0.5, 0.5])
def test_contrast_and_brightness_go_both_ways(sign):
    given = photos(3).astype(float)
    means = given.mean(axis=(1, 2), keepdims=True)
    expected = np.clip((given - means) * (1 + 0.4 * sign) + means, 0, 255)
    np.testing.assert_allclose(run(colour._contrast, 0.4, sign), expected, atol=1e-2)
    expected = np.clip(given + 255 * 0.4 * sign, 0, 255)
    np.testing.assert_allclose(run(colour._brighten, 0.4, sign), expected, atol=1e-2)


def test_each_photo_has_its_own_operation_and_one_draw_in_eleven_is_idle(monkeypatch):
    def invert(given, _strengths, _signs):
        return 255 - given

    def darken(given, strengths, _signs):
        return given * strengths[:, None, None, None]

    monkeypatch.setattr(colour, "_SPREAD", 0.0)
    monkeypatch.setattr(colour, "_OPERATIONS", [invert, darken])
    given = np.tile(photos(30), [100, 1, 1, 1]).astype(np.float32)
    found = colour.rand_augment(tf.constant(given), 1, 0.3, tf.constant([0, 1])).numpy()
    expected = {"idle": given, "inverted": 255 - given, "darkened": 0.3 * given}
    is_it = {n: np.abs(found - e).max(axis=(1, 2, 3)) < 0.01 for n, e in expected.items()}
    assert (sum(each.astype(int) for each in is_it.values()) == 1).all()
    shares = {name: each.mean() for name, each in is_it.items()}
    assert shares == pytest.approx(
        {"idle": 1 / 11, "inverted": 5 / 11, "darkened": 5 / 11}, abs=0.03
    )


def test_operations_depend_on_the_seed_and_their_number():
    given = tf.constant(photos(64), tf.float32)

    def changed(operations: int, seed: int) -> np.ndarray:
        seeds = tf.constant([seed, 7], tf.int64)
        found = colour.rand_augment(given, operations, 0.5, seeds).numpy()
        assert found.min() >= 0 and found.max() <= 255
        return found

    np.testing.assert_array_equal(changed(0, 0), given)
    np.testing.assert_array_equal(changed(2, 0), changed(2, 0))
    assert np.abs(changed(2, 0) - changed(2, 1)).mean() > 1
    alike = [np.all(changed(n, 0) == given, axis=(1, 2, 3)).sum() for n in (1, 3)]
    assert alike[0] > alike[1]


def test_magnitudes_vary_around_the_given_one(monkeypatch):
    seen = []

    def note(given, strengths, _signs):
        seen.append(strengths)
        return given

    monkeypatch.setattr(colour, "_OPERATIONS", [note])
    given = tf.zeros([4000, 1, 1, 3])
    for magnitude in (0.5, 0.0):
        colour.rand_augment(given, 1, magnitude, tf.constant([0, 2]))
    middle, weak = (np.array(each) for each in seen)
    assert middle.mean() == pytest.approx(0.5, abs=0.02)
    assert middle.std() == pytest.approx(0.15, abs=0.02)
    assert weak.min() == 0 and (weak == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_brightness_shifts_and_contrast_scales_within_the_range():
    given = photos(1)[0]
    batch = tf.constant(given[np.newaxis], tf.float32)
    bright = colour.adjust(batch, AugmentationConfig(brightness=0.3), tf.constant([0, 3])).numpy()
    shifts = (bright - given)[(bright > 0) & (bright < 255)]
    assert shifts.std() < 1e-3 and abs(shifts.mean()) > 1  # one shift for the whole photo
    contrast = colour.adjust(batch, AugmentationConfig(contrast=0.5), tf.constant([0, 3])).numpy()
    mean = given.mean(axis=(0, 1))
    inside = (contrast[0] > 0) & (contrast[0] < 255) & (np.abs(given - mean) > 20)
    ratios = ((contrast[0] - mean) / (given - mean))[inside]
    assert ratios.std() < 1e-3 and abs(ratios.mean() - 1) > 0.02
    for found in (bright, contrast):
        assert found.min() >= 0 and found.max() <= 255
