"""The bench of augmentation: the same transform both ways, and an honest scale for sharpness."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import AugmentationConfig, Config, DataConfig
from benchmarks import augmentation
from tests.conftest import ROOT

PAPER = Config.read(ROOT / "configs/paper.yaml").augmentation


def test_one_and_five_resamples_put_every_pixel_at_the_same_place():
    x, y = np.meshgrid(np.arange(64.0), np.arange(64.0))  # ramps pass bilinear sampling unchanged
    photos = tf.constant(np.stack([x, y, x + y], -1)[None], tf.float32)
    one, five = (augmentation.move(photos, PAPER, way).numpy() for way in (True, False))
    # near the middle no resample has reached beyond the border
    np.testing.assert_allclose(one[0, 26:38, 26:38], five[0, 26:38, 26:38], atol=2e-3)
    assert np.abs(one[0, 32, 32] - photos[0, 32, 32]).max() > 2


def test_five_resamples_blur_more_than_one():
    photos = tf.constant(augmentation.made_up_photos(48))
    one, five = (
        augmentation.sharpness(augmentation.move(photos, PAPER, way)) for way in (True, False)
    )
    assert five < 0.9 * one < 0.9 * augmentation.sharpness(photos)


def test_a_transform_that_does_nothing_keeps_all_sharpness():
    photos = tf.constant(augmentation.made_up_photos(32))
    still = AugmentationConfig(zoom=0, shift=0, rotation=0, shear=0, flip=0)
    for together in (True, False):
        moved = augmentation.move(photos, still, together)
        np.testing.assert_allclose(moved, photos, atol=1e-3)


def test_sharpness_by_hand():
    photo = tf.constant([[0.0, 4.0], [2.0, 2.0]])[None, :, :, None]
    # down: 2 and 2, right: 4 and 0
    assert augmentation.sharpness(photo) == (2 + 2) / 2


def test_detail_of_made_up_photos_falls_off_as_one_over_frequency():
    photos = augmentation.made_up_photos(64)
    assert photos.shape == (32, 64, 64, 3) and photos.min() >= 0 and photos.max() <= 255
    amplitude = np.abs(np.fft.fft(photos, axis=2)).mean(axis=(0, 1, 3))
    # along a line through the photo the other frequency is summed over: between 1/f and 1/sqrt(f)
    assert 2**0.5 < amplitude[4] / amplitude[8] < 2.1


def test_each_keras_cv_layer_moves_the_photos_within_the_configs_range():
    photos = tf.constant(augmentation.made_up_photos(32))
    layers = augmentation.keras_cv_layers(PAPER.model_copy(update={"flip": 1.0}))
    assert len(layers) == 5
    for layer in layers:
        moved = layer(photos, training=True)
        assert moved.shape == photos.shape
        assert np.abs(moved - photos).mean() > 1
    flip, zoom, shift, rotation, shear = layers
    np.testing.assert_array_equal(flip(photos, training=True), photos[:, :, ::-1])
    assert (zoom.height_lower, zoom.height_upper, zoom.width_factor) == (-0.2, 0.2, None)
    assert (shift.height_upper, shift.width_upper) == (0.2, 0.2)
    assert np.degrees(rotation.upper) == pytest.approx(20) or rotation.upper * 360 == 20
    assert np.degrees(np.arctan(shear.x_factor.upper)) == pytest.approx(16)


def test_all_figures_are_measured():
    config = Config(name="c", data=DataConfig(image_size=32))
    found = augmentation.measure(config, rounds=2)
    assert (found["photos"], found["pixels a side"]) == (32, 32)
    assert all(np.isfinite(value) and value > 0 for value in found.values())


def test_photos_come_from_records_where_they_are_given(built):
    config = Config.read(built.config)
    assert augmentation.measure(config, 1, built.records)["photos"] == 32
