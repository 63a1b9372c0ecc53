"""Benchmark of one resample against keras-cv's five layers: time and sharpness of the photos."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.config import AugmentationConfig, Config
from attr_extractor.model import augmentation
from attr_extractor.model.augmentation.affine import compose, resample
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest

PHOTOS = 32


def measure(config: Config, rounds: int = 20, records: str | None = None) -> dict[str, float]:
    """Time both alternately, and compare their sharpness under the same transform.

    Args:
      config: its affine part is measured; both exclude colours.
      records: folder of the records with the photos; if not given, photos are synthetic.

    Returns:
      Medians over the rounds; that of the ratio is over the ratios within a round. Sharpness is the
      mean absolute difference of neighbouring pixels, relative to the original's.
    """
    names = ("zoom", "shift", "rotation", "shear", "flip", "fill_mode")
    affine = AugmentationConfig(**{name: getattr(config.augmentation, name) for name in names})
    size = config.data.image_size
    pixels = _stored(config, records) if records else tf.cast(made_up_photos(size), tf.uint8)
    layers = keras_cv_layers(affine)

    @tf.function
    def ours(seed: tf.Tensor) -> tf.Tensor:
        return augmentation.augment(pixels, affine, seed, config.train.xla_loops)

    @tf.function
    def theirs(seed: tf.Tensor) -> tf.Tensor:
        return functools.reduce(lambda photos, layer: layer(photos, training=True), layers, pixels)

    seconds = np.array(
        [[_time(each, turn) for each in (ours, theirs)] for turn in range(1 + rounds)]
    )[1:]  # the first turn traces
    one, five = np.median(1000 * seconds, axis=0)
    photos = tf.cast(pixels, tf.float32)
    before = sharpness(photos)
    return {
        "photos": len(photos),
        "pixels a side": size,
        "one resample, ms": one,
        "keras-cv's five layers, ms": five,
        "keras-cv / one resample": float(np.median(seconds[:, 1] / seconds[:, 0])),
        "sharpness kept by one resample": sharpness(move(photos, affine, True)) / before,
        "sharpness kept by five": sharpness(move(photos, affine, False)) / before,
    }


def keras_cv_layers(config: AugmentationConfig) -> list[Any]:
    """Return keras-cv's layers with a config's ranges, in the paper's order; each one resamples."""
    import keras_cv  # prints when it is imported

    layers, fill = keras_cv.layers, {"fill_mode": config.fill_mode}
    return [
        layers.RandomFlip("horizontal", rate=config.flip),
        layers.RandomZoom(config.zoom, **fill),
        layers.RandomTranslation(config.shift, config.shift, **fill),
        layers.RandomRotation(config.rotation / 360, **fill),
        layers.RandomShear(x_factor=math.tan(math.radians(config.shear)), **fill),
    ]


def move(photos: tf.Tensor, config: AugmentationConfig, together: bool) -> tf.Tensor:
    """Apply a fixed flip, zoom, shift, rotation and shear to photos.

    Both modes move each pixel to the same place; only the number of resamples differs.

    Args:
      photos: float32 [B, H, W, 3].
      config: each part is applied at half its range.
      together: whether to resample once by the product of the five matrices, or once per matrix.
    """
    batch, height, width = photos.shape[:3]
    parts: list[dict[str, Any]] = [
        {"flip": config.flip > 0},
        {"zoom": 1 - config.zoom / 2},
        {"shift_x": config.shift / 2, "shift_y": config.shift / 2},
        {"rotation": math.radians(config.rotation / 2)},
        {"shear": math.radians(config.shear / 2)},
    ]
    still = {"flip": False, "zoom": 1.0, "shift_x": 0.0, "shift_y": 0.0, "rotation": 0.0}
    matrices = []
    for part in parts:
        each = {**still, "shear": 0.0, **part}
        filled = {name: tf.fill([batch], value) for name, value in each.items()}
        matrices.append(compose(height, width, **filled))  # [B, 3, 3]
    # maps from output to input: the first factor is applied first
    steps = [functools.reduce(tf.matmul, matrices)] if together else matrices
    return functools.reduce(
        lambda moved, matrix: resample(moved, matrix, config.fill_mode), steps, photos
    )


def sharpness(photos: tf.Tensor) -> float:
    """Return the mean absolute difference of neighbouring pixels of float32 [B, H, W, 3]."""
    down, right = (np.diff(photos.numpy(), axis=axis) for axis in (1, 2))
    return float(np.abs(down).mean() + np.abs(right).mean()) / 2


def made_up_photos(size: int, seed: int = 0) -> np.ndarray:
    """Return noise with a spectrum of 1 / frequency, float32 [PHOTOS, size, size, 3] in 0 .. 255.

    The detail of photographs decreases like this on average (Field 1987); white noise would make
    any resample look bad.
    """
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = np.inf  # no mean
    noise = np.random.default_rng(seed).normal(size=[PHOTOS, 3, size, size])
    photos = np.fft.ifft2(np.fft.fft2(noise) / frequency).real
    photos = 128 + 48 * photos / photos.std(axis=(2, 3), keepdims=True)
    return photos.transpose(0, 2, 3, 1).clip(0, 255).astype(np.float32)


def _stored(config: Config, records: str) -> tf.Tensor:
    data = config.data.model_copy(update={"batch_size": PHOTOS})
    batches = dataset.training_batches(records, Manifest.read(records), data, config.train.seed)
    return next(iter(batches))["pixels"]


def _time(call: Callable, turn: int) -> float:
    seed = tf.constant([0, turn])
    start = time.perf_counter()
    call(seed).numpy()  # waits for the device
    return time.perf_counter() - start
