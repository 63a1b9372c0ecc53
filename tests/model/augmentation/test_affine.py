"""Affine augmentation, compared with Pillow and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.config import AugmentationConfig, Config
from attr_extractor.model.augmentation import affine
from tests.conftest import ROOT

SIDE = 40


def photo(seed: int = 0, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Return a smooth random photo, so interpolation and not noise is compared."""
    small = np.random.default_rng(seed).integers(0, 256, [6, 6, 3], dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def matrix(**changed: float) -> np.ndarray:
    """Return the composed matrix of one photo; parameters not given are neutral."""
    neutral = {"zoom": 1.0, "shift_x": 0.0, "shift_y": 0.0, "rotation": 0.0, "shear": 0.0}
    values = {name: tf.constant([value]) for name, value in {**neutral, **changed}.items()}
    flip = tf.constant([values.pop("flip", None) is not None])
    matrices = affine.compose(tf.constant(SIDE), tf.constant(SIDE), flip=flip, **values)
    return matrices.numpy()[0]


def warp_in_numpy(image: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Interpolate at m @ (x, y, 1) for every output pixel, edges repeated; float64."""
    height, width = image.shape[:2]
    ys, xs = np.mgrid[:height, :width]
    x = np.clip(m[0, 0] * xs + m[0, 1] * ys + m[0, 2], 0, width - 1)
    y = np.clip(m[1, 0] * xs + m[1, 1] * ys + m[1, 2], 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    image = image.astype(np.float64)
    top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
    bottom = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def resample(image: np.ndarray, m: np.ndarray, fill_mode: str = "nearest") -> np.ndarray:
    photos = tf.constant(image[np.newaxis], tf.float32)
    return affine.resample(photos, tf.constant(m[np.newaxis], tf.float32), fill_mode).numpy()[0]


def test_random_maps_equal_a_numpy_warp_pixel_for_pixel():
    config = Config.read(ROOT / "configs/paper.yaml").augmentation
    count = 8
    matrices = affine.random_matrices(
        tf.constant(count), tf.constant(SIDE), tf.constant(SIDE), config, tf.constant([3, 4])
    ).numpy()
    for i in range(count):
        expected = warp_in_numpy(photo(i), matrices[i].astype(np.float64))
        found = resample(photo(i), matrices[i])
        assert np.abs(found - expected).max() < 1.0  # of 255: float32 against float64


def test_resampling_equals_pillows_affine_transform_inside_the_photo():
    m = matrix(rotation=0.2, zoom=0.8, shear=0.1)
    image = Image.fromarray(photo())
    # Pillow reads at pixel centres (x + 0.5, y + 0.5): the same map moved by half a pixel
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    pillow = (half @ m @ np.linalg.inv(half))[:2].ravel()
    expected = np.asarray(
        image.transform(
            image.size, Image.Transform.AFFINE, tuple(pillow), Image.Resampling.BILINEAR
        )
    )
    inside = (slice(8, -8), slice(8, -8))
    difference = np.abs(resample(photo(), m)[inside] - expected[inside].astype(float))
    assert difference.max() <= 2.0 and difference.mean() < 0.6  # Pillow rounds to whole levels


def test_composed_matrix_equals_the_five_matrices_multiplied_by_hand():
    zoom, sx, sy, angle, shear = 1.1, 0.1, -0.2, math.radians(15), math.radians(10)
    centre = (SIDE - 1) / 2
    to_centre = np.array([[1, 0, -centre], [0, 1, -centre], [0, 0, 1]])
    flip_zoom = np.diag([-zoom, zoom, 1])
    sheared = np.array([[1, math.tan(shear), 0], [0, 1, 0], [0, 0, 1]])
    c, s = math.cos(angle), math.sin(angle)
    rotated = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    back = np.array([[1, 0, centre + sx * SIDE], [0, 1, centre + sy * SIDE], [0, 0, 1]])
    expected = back @ rotated @ sheared @ flip_zoom @ to_centre
    found = matrix(zoom=zoom, shift_x=sx, shift_y=sy, rotation=angle, shear=shear, flip=1.0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_flip_mirrors_exactly_and_the_neutral_map_changes_nothing():
    np.testing.assert_array_equal(resample(photo(), matrix()), photo())
    np.testing.assert_allclose(resample(photo(), matrix(flip=1.0)), photo()[:, ::-1], atol=1e-2)


def test_a_quarter_turn_turns_the_photo():
    found = resample(photo(), matrix(rotation=math.pi / 2))
    turned = [np.rot90(photo(), k) for k in (1, 3)]
    assert min(np.abs(found - t).max() for t in turned) < 0.5


def test_a_shift_of_a_tenth_moves_by_a_tenth_of_the_side():
    found = resample(photo(), matrix(shift_x=0.1))
    np.testing.assert_allclose(found[:, :-4], photo()[:, 4:], atol=0.1)


@pytest.mark.parametrize("name, least, most", [("zoom", 0.8, 1.2), ("rotation", -20, 20)])
def test_parameters_fill_their_configured_range_and_stay_in_it(name, least, most):
    off = {"zoom": 0, "shift": 0, "rotation": 0, "shear": 0, "flip": 0}
    config = AugmentationConfig(**{**off, name: {"zoom": 0.2, "rotation": 20}[name]})
    m = affine.random_matrices(
        tf.constant(4000), tf.constant(SIDE), tf.constant(SIDE), config, tf.constant([0, 0])
    ).numpy()
    zoom = np.sqrt(np.linalg.det(m[:, :2, :2]))
    found = zoom if name == "zoom" else np.degrees(np.arctan2(m[:, 1, 0], m[:, 0, 0]))
    assert least - 1e-3 <= found.min() < least + 0.02 * (most - least)
    assert most - 0.02 * (most - least) < found.max() <= most + 1e-3
    assert abs(found.mean() - (least + most) / 2) < 0.02 * (most - least)


def test_half_of_the_photos_are_flipped():
    config = AugmentationConfig(zoom=0, shift=0, rotation=0, shear=0, flip=0.5)
    m = affine.random_matrices(
        tf.constant(4000), tf.constant(SIDE), tf.constant(SIDE), config, tf.constant([0, 1])
    ).numpy()
    assert abs((m[:, 0, 0] < 0).mean() - 0.5) < 0.03


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect", "constant"])
@pytest.mark.parametrize("dtype", [tf.uint8, tf.bfloat16, tf.float32])
def test_the_compiled_loop_equals_tensorflows_op(fill_mode, dtype):
    generator = np.random.default_rng(0)
    photos = tf.cast(generator.integers(0, 256, [4, 30, 41, 3]), dtype)
    # from within the photo to far outside of it, by whole pixels too
    maps = np.tile(np.eye(3, dtype=np.float32), [4, 1, 1])
    maps[0, :2] = [[0.8, -0.5, 9.0], [0.6, 0.9, -7.0]]
    maps[1, :2] = [[2.5, 0.1, -140.0], [-0.2, 3.0, 135.0]]
    maps[2, :2] = [[-1.0, 0.0, 45.0], [0.0, 1.0, -3.0]]
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(photos, tf.float32),
        transforms=maps.reshape([4, 9])[:, :8],
        output_shape=[30, 41],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill_mode.upper(),
    )
    found = affine.resample(photos, tf.constant(maps), fill_mode)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=0.02)  # of 255: places round otherwise
    op = affine.resample(photos, tf.constant(maps), fill_mode, compiled=False)
    np.testing.assert_array_equal(op, expected)
