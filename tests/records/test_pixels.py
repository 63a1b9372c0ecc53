"""Tests of `records/pixels.py`: step (b) gives bit-identical pixels everywhere."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.records import pixels

SQUARES = ["squeeze", "pad", "crop"]
SHAPES = [(256, 171), (171, 256), (64, 64), (40, 301), (301, 40), (33, 32), (20, 24)]


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3] with edges and noise: where resizing methods differ."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    stripes = ((x // 3 + y // 5) % 2 * 160)[..., None]
    return (stripes + generator.integers(0, 96, [height, width, 3])).astype(np.uint8)


def jpeg(height: int, width: int, seed: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(photo(height, width, seed)).save(out, "JPEG", quality=92)
    return out.getvalue()


def pillow(array: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR))


def by_hand(array: np.ndarray, size: int, square: str) -> np.ndarray:
    """The three squares, with Pillow's antialiased bilinear resize."""
    height, width = array.shape[:2]
    if square == "squeeze":
        return pillow(array, size, size)
    if square == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return pillow(array[top : top + side, left : left + side], size, size)
    scale = size / max(height, width)
    inner = pillow(array, round(height * scale), round(width * scale))
    result = np.full([size, size, 3], 255, np.uint8)
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    result[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return result


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second.astype(int))


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_equal_pillows_antialiased_bilinear_resize(shape, square: str):
    array = photo(*shape)
    found = pixels.to_model_size(tf.constant(array), 48, square)
    assert found.dtype == tf.uint8 and found.shape == (48, 48, 3)
    apart = difference(found.numpy(), by_hand(array, 48, square))
    assert apart.mean() < 0.3 and apart.max() <= 1  # an exact half: up in Pillow, to even here


def test_the_comparison_detects_a_resize_without_antialiasing():
    array = photo(256, 171)
    aliased = tf.image.resize(array, [48, 48], method="bilinear", antialias=False)
    apart = difference(aliased.numpy().round(), pillow(array, 48, 48))
    assert apart.mean() > 10


def test_pad_keeps_the_aspect_ratio_between_two_white_bands():
    array = np.zeros([60, 20, 3], np.uint8)
    found = pixels.to_model_size(tf.constant(array), 48, "pad").numpy()
    assert (found[:, :16] == 255).all() and (found[:, 32:] == 255).all()
    assert (found[:, 16:32] == 0).all()


def test_crop_keeps_the_centre():
    array = np.zeros([60, 20, 3], np.uint8)
    array[20:40] = 200
    assert (pixels.to_model_size(tf.constant(array), 48, "crop").numpy() == 200).all()


@pytest.mark.parametrize("square", SQUARES)
def test_a_photo_one_pixel_high_becomes_a_square(square: str):
    for shape in ((1, 500), (500, 1), (1, 1)):
        found = pixels.to_model_size(tf.zeros([*shape, 3], tf.uint8), 48, square)
        assert found.shape == (48, 48, 3) and (found.numpy()[23, 23] == 0).all()


def test_a_photo_of_the_model_size_is_unchanged():
    array = photo(48, 48)
    for square in SQUARES:
        assert (pixels.to_model_size(tf.constant(array), 48, square).numpy() == array).all()


@pytest.mark.parametrize("square", SQUARES)
def test_eager_function_and_dataset_give_identical_pixels(square: str):
    encoded = [jpeg(*shape, seed) for seed, shape in enumerate(SHAPES)]

    def read(data: tf.Tensor) -> tf.Tensor:
        return pixels.from_stored(data, 48, square)

    eager = np.stack([read(tf.constant(data)) for data in encoded])
    function = tf.function(read, input_signature=[tf.TensorSpec([], tf.string)])
    in_function = np.stack([function(data) for data in encoded])
    mapped = tf.map_fn(read, tf.constant(encoded), fn_output_signature=tf.uint8)
    dataset = tf.data.Dataset.from_tensor_slices(encoded)
    dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(len(encoded))
    (in_dataset,) = dataset.as_numpy_iterator()
    assert eager.dtype == np.uint8 and eager.shape == (len(SHAPES), 48, 48, 3)
    for other in (in_function, mapped.numpy(), in_dataset):
        assert other.tobytes() == eager.tobytes()


def test_decoding_is_libjpegs_exact_transform():
    encoded = jpeg(64, 48)
    expected = np.asarray(Image.open(io.BytesIO(encoded)))  # Pillow decodes with it as well
    found = pixels.decode_jpeg(tf.constant(encoded)).numpy()
    assert difference(found, expected).max() <= 1


def test_a_grey_jpeg_gets_three_channels():
    out = io.BytesIO()
    Image.fromarray(photo(40, 30)[..., 0]).save(out, "JPEG")
    found = pixels.from_stored(tf.constant(out.getvalue()), 32, "squeeze").numpy()
    assert found.shape == (32, 32, 3) and (found[..., 0] == found[..., 2]).all()
